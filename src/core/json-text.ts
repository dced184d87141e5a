// Scans JSON as text before it is parsed, since unbounded text must be counted first. Nothing here recurses, and syntax
// errors are left to JSON.parse.

/** Maximum number of levels of arrays and objects in a stored value: `[]` has one. Recursive code is safe below it. */
export const maxJsonDepth = 200;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;

/** Returns true if a JSON text has more levels than a stored value may have. */
export function isTooDeep(text: string): boolean {
  // A level takes two characters, and most long texts have few brackets or few levels (1 MiB of objects: 3 ms, half of
  // a parse).
  if (text.length <= 2 * maxJsonDepth || hasFewBrackets(text)) return false;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === quote) i = endOfString(text, i);
    else if (isOpening(unit) && ++depth > maxJsonDepth) return true;
    else if (isClosing(unit)) depth--;
  }
  return false;
}

/**
 * Returns the texts of the members of a JSON array without building the array; each member is as valid as the text is.
 * `not_array` for another value, `too_many` for more than `limit` members.
 */
export function arrayMembers(text: string, limit: number): string[] | 'not_array' | 'too_many' {
  const whole = text.trim();
  if (!whole.startsWith('[') || !whole.endsWith(']')) return 'not_array';
  const members: string[] = [];
  const last = whole.length - 1;
  let depth = 0;
  let from = 1;
  for (let i = 1; i < last; i++) {
    const unit = whole.charCodeAt(i);
    if (unit === quote) i = endOfString(whole, i);
    else if (isOpening(unit)) depth++;
    else if (isClosing(unit) && --depth < 0) return 'not_array';
    else if (unit === comma && depth === 0) {
      if (members.push(whole.slice(from, i)) >= limit) return 'too_many';
      from = i + 1;
    }
  }
  const rest = whole.slice(from, last);
  if (members.length > 0 || rest.trim() !== '') members.push(rest);
  return members;
}

function isOpening(unit: number): boolean {
  return unit === 0x5b || unit === 0x7b;
}

function isClosing(unit: number): boolean {
  return unit === 0x5d || unit === 0x7d;
}

/**
 * Returns the index of the closing quote of the string that begins at `start`; the length of the text if it is
 * unclosed.
 */
function endOfString(text: string, start: number): number {
  for (let at = start; ;) {
    at = text.indexOf('"', at + 1);
    if (at === -1) return text.length;
    let before = at - 1;
    while (text.charCodeAt(before) === backslash) before--;
    if ((at - before) % 2 === 1) return at;
  }
}

/** Returns true if the number of all opening brackets, those in strings included, is within the allowed levels. */
function hasFewBrackets(text: string): boolean {
  let count = 0;
  for (const bracket of ['[', '{']) {
    for (let at = text.indexOf(bracket); at !== -1; at = text.indexOf(bracket, at + 1)) {
      if (++count > maxJsonDepth) return false;
    }
  }
  return true;
}
