/** A time that a client sends, in the document. */
export const documentedTime = {
  oneOf: [{ type: "string", format: "date-time" }, { type: "integer" }],
  description: "ISO 8601 with a time zone, or milliseconds since 1970.",
} as const;

/** What is wrong with a time that is none. */
export const mustBeTime =
  "must be a time: ISO 8601 with a time zone, such as 2026-10-25T02:30:00+02:00, or milliseconds since 1970";

/** Without a time zone a text is no instant: it would be local time of the server. */
const isoPattern = /^(\d{4})-(\d\d)-(\d\d)T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/;

/** A time that a client has sent, in milliseconds since 1970; undefined: it is none. */
export function timeOf(value: unknown): number | undefined {
  if (typeof value === "number")
    return Number.isInteger(value) && !Number.isNaN(new Date(value).getTime()) ? value : undefined;
  const [, year, month, day] = (typeof value === "string" && isoPattern.exec(value)) || [];
  // A date such as the 30th of February would be one of March.
  if (new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() !== Number(day))
    return undefined;
  const time = Date.parse(value as string);
  return Number.isNaN(time) ? undefined : time;
}

/** A time in a query: ISO 8601 with a time zone, or milliseconds since 1970. */
const timeOfText = (text: string): number | undefined => timeOf(/^-?\d+$/.test(text) ? Number(text) : text);

/** The time that a parameter says, which its schema has checked (`isTime`). Nothing happened before 1970. undefined: it says none. */
export const timeIn = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : Math.max(0, timeOfText(text) ?? 0);

/**
 * The keyword of a schema for texts that are times. It is checked together with all else of a query, so that the problems of all
 * parameters are told at once.
 */
export const timeKeyword = {
  keyword: "isTime",
  type: "string" as const,
  schemaType: "boolean" as const,
  errors: true,
  compile: () => {
    const validate: TimeCheck = (text) => {
      if (timeOfText(text) !== undefined) return true;
      const hint = text.includes(" ") ? ". In a URL, a + is written %2B" : "";
      validate.errors = [{ keyword: "isTime", message: `${mustBeTime}${hint}`, params: {} }];
      return false;
    };
    return validate;
  },
};

/** A check that says what is wrong as Ajv takes it. */
interface TimeCheck {
  (text: string): boolean;
  errors?: { keyword: string; message: string; params: object }[];
}
