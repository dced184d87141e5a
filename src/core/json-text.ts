// JSON looked at as text, before any value is made of it: a text that nobody has bounded is counted, not parsed. Nothing
// here recurses, and a fault of the text is left for JSON.parse to find.

/** How many levels of arrays and objects a stored value may have: `[]` has one. Code that recurses is safe below that. */
export const maxJsonDepth = 200;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;

/** Whether a JSON text has more levels than a stored value may have. */
export function isTooDeep(text: string): boolean {
  // a level takes two characters; and most long texts have few brackets, or few levels (1 MiB of objects: 3 ms, half of a parse)
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
 * The texts of the members of a JSON array, without making the array; each member is as valid as the text is. `not_array`
 * where it is none, `too_many` where it has more than `limit` members.
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

/** Where a string ends that begins at `start`; the end of the text where it does not end. */
function endOfString(text: string, start: number): number {
  for (let at = start; ;) {
    at = text.indexOf('"', at + 1);
    if (at === -1) return text.length;
    let before = at - 1;
    while (text.charCodeAt(before) === backslash) before--;
    if ((at - before) % 2 === 1) return at;
  }
}

/** Whether all opening brackets together, those within strings too, are no more than the levels that are allowed. */
function hasFewBrackets(text: string): boolean {
  let count = 0;
  for (const bracket of ['[', '{']) {
    for (let at = text.indexOf(bracket); at !== -1; at = text.indexOf(bracket, at + 1)) {
      if (++count > maxJsonDepth) return false;
    }
  }
  return true;
}
