import type { FastifyInstance } from "fastify";
import { invalid } from "./problems.ts";

/** Levels of nesting in a body. A deeper one could overflow the stack of a recursive reader. */
const maxDepth = 100;

/** Makes JSON the only type of body. It refuses a body that could not be stored and read back unchanged. */
export function acceptOnlyJson(app: FastifyInstance): void {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => {
    // Many clients send a content type with every POST, also with commands that need no body.
    if (body.length === 0) return done(null, undefined);
    let text: string;
    try {
      text = utf8.decode(body as Buffer);
    } catch {
      return done(refusal("is not UTF-8"));
    }
    void parse(request, text, (error, value: unknown) => {
      if (error !== null) return done(refusal(`is not JSON: ${error.message}`));
      const problem = unstorable(value);
      return problem === undefined ? done(null, value) : done(refusal(problem));
    });
  });
}

function refusal(message: string): Error {
  return invalid("the body", [{ path: "", message }]);
}

/** Why a parsed body cannot be stored as JSON. It goes level by level, since recursion could overflow the stack. */
function unstorable(body: unknown): string | undefined {
  let level: unknown[] = [body];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) return `is nested deeper than ${maxDepth} levels`;
    const inner: unknown[] = [];
    for (const value of level) {
      if (typeof value === "number" && !Number.isFinite(value)) return "has a number that is out of range";
      if (typeof value === "object" && value !== null)
        for (const held of Object.values(value)) inner.push(held);
    }
    level = inner;
  }
  return undefined;
}
