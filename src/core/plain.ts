// Text of packages, inputs and errors reaches terminals. There, control characters move the cursor, erase output and
// set titles; zero-width and bidirectional characters hide or reorder text.

/**
 * Control and format characters (C0, C1, bidi controls, zero width) and Unicode line separators; not line ends and
 * tabs.
 */
const unsafe = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Makes foreign text, such as a description or an error, safe for a terminal: control and invisible characters are
 * escaped as in JSON, `\u001b`. Line ends and tabs stay: see `oneLine` and `indented`.
 */
export function plain(text: string): string {
  return text.replaceAll('\r\n', '\n').replaceAll(unsafe, escaped);
}

/** As `plain`, on one line. */
export function oneLine(text: string): string {
  return plain(text).replaceAll(/\s*[\n\t]\s*/g, ' ');
}

/** As `plain`, with further lines indented, so that none of them can pass for a line of Cloacina's own. */
export function indented(text: string, width = 4): string {
  return plain(text).replaceAll('\n', `\n${' '.repeat(width)}`);
}

/** Makes JSON text safe for a terminal without changing its value. */
export function plainJson(json: string): string {
  return json.replaceAll(unsafe, escaped);
}

/** Escapes each UTF-16 unit, as JSON does. */
function escaped(text: string): string {
  return Array.from({ length: text.length }, (_, at) => {
    return `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`;
  }).join('');
}
