// Text of packages, inputs and errors reaches terminals. There control characters move the cursor, erase what was said
// and set titles, and characters of no width or of the other direction hide text or show it in another order.

/** Control and format characters (C0, C1, bidi controls, zero width), line separators of Unicode; not line ends and tabs. */
const unsafe = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Text that came from elsewhere, such as a description or an error, safe for a terminal: what a terminal would obey or
 * hide is escaped as in JSON, `\u001b`. Line ends and tabs stay: see `oneLine` and `indented`.
 */
export function plain(text: string): string {
  return text.replaceAll('\r\n', '\n').replaceAll(unsafe, escaped);
}

/** The same on one line. */
export function oneLine(text: string): string {
  return plain(text).replaceAll(/\s*[\n\t]\s*/g, ' ');
}

/** The same with its further lines indented, so that none of them can be taken for a line of ours. */
export function indented(text: string, width = 4): string {
  return plain(text).replaceAll('\n', `\n${' '.repeat(width)}`);
}

/** JSON of the same value, safe for a terminal. */
export function plainJson(json: string): string {
  return json.replaceAll(unsafe, escaped);
}

/** By UTF-16 unit, as JSON writes it. */
function escaped(text: string): string {
  return Array.from({ length: text.length }, (_, at) => {
    return `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`;
  }).join('');
}
