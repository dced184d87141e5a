import { messageOf } from './error-text.ts';
import { inspected } from './inspected.ts';
import { stringifyJson } from '../json.ts';
import type { Json } from '../json.ts';
import { isDate, isError } from './realms.ts';
import type { TaskError } from '../task-error.ts';
import { cleanText, maxTextLength } from '../text.ts';
import { toTaskError } from './thrown.ts';

// A log is written when something went wrong: it shows any value, where outputs and steps accept JSON only.

/** Maximum number of log lines of one attempt; later ones are dropped. */
export const maxLogLines = 1000;

/** Maximum size of the data of a log line as JSON, bytes. */
export const maxLogBytes = 65_536;

/** Returns the message and the data (JSON text, or null) of a log line, of any values. */
export function logParts(message: unknown, data: unknown): { readonly message: string; readonly data: string | null } {
  const given = data === undefined ? null : logText(data);
  if (typeof message === 'string') return { message, data: given };
  if (!isError(message)) return { message: shownText(message), data: given };
  return { message: `${message.name}: ${messageOf(message)}`, data: given ?? logText(message) };
}

/**
 * Returns a value as JSON text of at most `maxBytes`. JSON stays as it is. An error becomes its fields, a Date its ISO text,
 * an object with toJSON() the result of that, and anything else that is not JSON becomes text, each where it stands. Too
 * much is cut, member by member. Never throws.
 */
export function logText(value: unknown, maxBytes: number = maxLogBytes): string {
  try {
    return stringifyJson(value, 'data', maxBytes);
  } catch {
    // it is no JSON, or too much of it
  }
  for (const bounds of cuts) {
    const text = textWithin(value, bounds, maxBytes);
    if (text !== null) return text;
  }
  // 6 bytes: an escaped control character
  return JSON.stringify(cleanText(shownText(value, 0), Math.floor((maxBytes - 2) / 6)));
}

interface Bounds {
  /** Maximum number of characters of a text. */
  readonly text: number;
  /** Maximum number of members of an array or an object. */
  readonly members: number;
  /** Maximum number of levels of arrays and objects. */
  readonly levels: number;
}

/** The first that makes the value fit is taken. */
const cuts: readonly Bounds[] = [
  { text: maxTextLength, members: 10_000, levels: 100 },
  { text: 2048, members: 1000, levels: 20 },
  { text: 512, members: 100, levels: 8 },
  { text: 128, members: 20, levels: 4 },
  { text: 40, members: 8, levels: 2 },
];

interface Walk extends Bounds {
  readonly above: object[];
  /** Number of characters that still fit. */
  left: number;
}

class Full extends Error {}

function textWithin(value: unknown, bounds: Bounds, maxBytes: number): string | null {
  try {
    const text = JSON.stringify(shown(value, { ...bounds, above: [], left: maxBytes }));
    return Buffer.byteLength(text) <= maxBytes ? text : null;
  } catch {
    return null; // it is too much, or a part of it throws where none may
  }
}

function shown(value: unknown, walk: Walk): Json {
  switch (typeof value) {
    case 'string':
      return cut(value, walk);
    case 'boolean':
      return spend(value, 5, walk);
    case 'number':
      return Number.isFinite(value) ? spend(value, 1, walk) : cut(String(value), walk);
    case 'object':
      return value === null ? spend(value, 4, walk) : shownObject(value, walk);
    default:
      return cut(inspected(value), walk);
  }
}

function shownObject(value: object, walk: Walk): Json {
  if (walk.above.includes(value)) return cut('[circular]', walk);
  if (walk.above.length >= walk.levels) return cut(Array.isArray(value) ? '[Array]' : '[Object]', walk);
  walk.above.push(value);
  const result = within(value, walk);
  walk.above.pop();
  return result;
}

function within(value: object, walk: Walk): Json {
  if (isDate(value)) return cut(Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString(), walk);
  if (isError(value)) return members(errorFields(toTaskError(value, '', 'code')), walk);
  if (Array.isArray(value)) return items(value, walk);
  if (ArrayBuffer.isView(value)) return cut(inspected(value), walk);
  const own: unknown = Reflect.get(value, 'toJSON');
  if (typeof own === 'function') return afterToJson(value, own, walk);
  const kind = Object.prototype.toString.call(value);
  return kind === '[object Object]' ? members(value, walk) : cut(inspected(value), walk);
}

function afterToJson(value: object, toJson: Function, walk: Walk): Json {
  const json = read(() => Reflect.apply(toJson, value, []) as unknown);
  if (typeof json.value !== 'object' || json.value === null) return shown(json.value, walk);
  return Array.isArray(json.value) ? items(json.value, walk) : members(json.value, walk);
}

/** The fields of a stored error; an empty code stands for none. */
function errorFields({ code, cause, errors, ...fields }: TaskError): object {
  return {
    ...fields,
    ...(code === '' ? {} : { code }),
    ...(cause === undefined ? {} : { cause: errorFields(cause) }),
    ...(errors === undefined ? {} : { errors: errors.map(errorFields) }),
  };
}

function items(list: readonly unknown[], walk: Walk): Json {
  const result: Json[] = [];
  const count = Math.min(list.length, walk.members);
  for (let i = 0; i < count; i++) result.push(shown(list[i], walk));
  if (list.length > count) result.push(cut(`... ${list.length - count} more`, walk));
  return result;
}

function members(value: object, walk: Walk): Json {
  const result: [string, Json][] = [];
  const keys = Object.keys(value);
  for (const key of keys.slice(0, walk.members)) {
    const member = read(() => Reflect.get(value, key) as unknown);
    if (member.value === undefined) continue;
    result.push([cut(key, walk), shown(member.value, walk)]);
  }
  if (keys.length > walk.members) result.push(['...', cut(`${keys.length - walk.members} more`, walk)]);
  return Object.fromEntries(result);
}

/** Reads a property; one that throws has the text of its error. */
function read(get: () => unknown): { readonly value: unknown } {
  try {
    return { value: get() };
  } catch (error) {
    return { value: `[threw: ${messageOf(error)}]` };
  }
}

function cut(text: string, walk: Walk): string {
  const kept = text.length > walk.text ? `${text.slice(0, walk.text)}... (${text.length} characters)` : text;
  return spend(kept, kept.length + 2, walk);
}

function spend<T>(value: T, length: number, walk: Walk): T {
  walk.left -= length;
  if (walk.left < 0) throw new Full();
  return value;
}

function shownText(value: unknown, depth?: number): string {
  try {
    return typeof value === 'string' ? value : inspected(value, depth);
  } catch {
    return 'a value that cannot be shown';
  }
}
