import { isUtf8 } from "node:buffer";

/*
 * Keys, values and headers of Kafka are bytes, and here they are texts. Bytes that are no UTF-8 become low surrogates alone, U+DC80 to
 * U+DCFF, one for each byte: no UTF-8 has them, and they are written as the same bytes again. So two keys are never read as one,
 * an answer finds its sender, and a dead letter is what its record was. Python does the same (PEP 383, surrogateescape).
 */

const escape = 0xdc00;

/** The text of bytes. */
export function textOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString();
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = lengthOf(bytes, at);
    text +=
      length === 0
        ? String.fromCharCode(escape + bytes.readUInt8(at))
        : bytes.toString("utf8", at, at + length);
    at += Math.max(1, length);
  }
  return text;
}

/** How many bytes the character has that begins at a place; 0: none does. */
function lengthOf(bytes: Buffer, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++)
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  return 0;
}

/** The bytes of a text. Another half of a surrogate pair becomes U+FFFD, as everywhere. */
export function bytesOf(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text);
  const parts: Buffer[] = [];
  let plain = "";
  for (const character of text) {
    const code = character.charCodeAt(0);
    if (character.length > 1 || code < escape + 0x80 || code > escape + 0xff) {
      plain += character;
      continue;
    }
    parts.push(Buffer.from(plain), Buffer.of(code - escape));
    plain = "";
  }
  return Buffer.concat([...parts, Buffer.from(plain)]);
}
