import { CloacinaError, NotSerializableError, PayloadTooLargeError } from './error.ts';
import { isTooDeep, maxJsonDepth } from './json-text.ts';

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };

/** T if T survives JSON; otherwise a type that explains the reason. Accepts interfaces as well as type aliases. */
export type Jsonable<T> = T extends Json | undefined | void
  ? T
  : T extends Date
    ? 'a Date is not JSON: store toISOString() or getTime()'
    : T extends bigint | symbol | ((...args: never[]) => unknown)
      ? 'not JSON'
      : T extends readonly (infer E)[]
        ? readonly Jsonable<E>[]
        : T extends object
          ? { readonly [K in keyof T]: Jsonable<T[K]> }
          : T;

/** Default of the option `maxPayload`, bytes of UTF-8. */
export const defaultMaxPayload = 1_048_576;

/**
 * Returns the JSON text of a value to be stored. `undefined` at the top becomes `null` and undefined properties are
 * left out; nothing else changes. `what` begins the path in errors. Throws NOT_SERIALIZABLE with the path, also beyond
 * 200 levels of depth; PAYLOAD_TOO_LARGE over `maxBytes`.
 */
export function stringifyJson(value: unknown, what: string, maxBytes: number = defaultMaxPayload): string {
  if (value === undefined) return 'null';
  const walk: Walk = { what, keys: [], above: [] };
  const text = write(value, walk);
  // a UTF-16 unit takes 1 to 3 bytes of UTF-8, so most texts are judged by their length alone
  if (text.length > maxBytes || (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes)) {
    throw new PayloadTooLargeError(what, Buffer.byteLength(text), maxBytes);
  }
  return text;
}

/** Parses JSON text of this process; null for absent text. Text of a row is for `storedValue`. */
export function parseJson(text: string | null): Json {
  return text === null ? null : (JSON.parse(text) as Json);
}

/** As `storedJson`, null for absent text. */
export function storedValue(text: string | null, what: string): Json {
  return text === null ? null : (storedJson(text, what) as Json);
}

/**
 * Returns the rows of a list without the damaged ones, which `onDamaged` is told of: one damaged row does not hide the
 * rest. `read` throws ROW_DAMAGED for such a row.
 */
export function undamaged<Row, T>(
  rows: readonly Row[],
  read: (row: Row) => T,
  onDamaged: ((error: CloacinaError) => void) | undefined,
): T[] {
  return rows.flatMap((row) => {
    try {
      return [read(row)];
    } catch (error) {
      if (!(error instanceof CloacinaError) || error.code !== 'ROW_DAMAGED') throw error;
      onDamaged?.(error);
      return [];
    }
  });
}

/** Parses JSON text of a row; `what` names the row in the error. Throws ROW_DAMAGED. */
export function storedJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CloacinaError('ROW_DAMAGED', `${what} is damaged in the database: it is not JSON`, { cause });
  }
}

/** Maximum number of keys of a path in an error; a deeper path adds no information. */
const shownKeys = 20;

/** Position of the check: its path is built only for an error. */
interface Walk {
  readonly what: string;
  readonly keys: (string | number)[];
  readonly above: object[];
}

function write(value: unknown, walk: Walk): string {
  try {
    check(value, walk, false);
    const text = JSON.stringify(value);
    // a getter may have returned another value than the checked one
    if (isTooDeep(text)) refuse(walk, tooDeep);
    return text;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const isLong = /string length/.test(error.message); // more than the 512 MB limit of a V8 string
    throw new NotSerializableError(walk.what, isLong ? 'the value is too large for JSON text' : tooDeep);
  }
}

const tooDeep = `the value has more than ${maxJsonDepth} levels of arrays and objects; store it flat`;

function check(value: unknown, walk: Walk, inArray: boolean): void {
  switch (typeof value) {
    case 'object':
      if (value !== null) checkObject(value, walk);
      return;
    case 'number':
      if (!Number.isFinite(value)) refuse(walk, `${value} is not JSON`);
      return;
    case 'undefined':
      if (inArray) refuse(walk, 'undefined in an array is not JSON; use null');
      return;
    case 'bigint':
      return refuse(walk, 'a BigInt is not JSON; store its toString()');
    case 'function':
    case 'symbol':
      return refuse(walk, `a ${typeof value} is not JSON`);
    default:
  }
}

function checkObject(value: object, walk: Walk): void {
  if (walk.above.includes(value)) refuse(walk, 'a cycle: the value contains itself');
  if (walk.above.length >= maxJsonDepth) refuse(walk, tooDeep);
  checkClass(value, walk);
  walk.above.push(value);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) checkMember(value[i], i, walk, true);
  } else {
    for (const key of Object.keys(value)) checkMember(Reflect.get(value, key), key, walk, false);
    const [symbol] = Object.getOwnPropertySymbols(value);
    if (symbol !== undefined) refuse(walk, `a property named by ${String(symbol)} is not JSON`);
  }
  walk.above.pop();
}

function checkMember(value: unknown, key: string | number, walk: Walk, inArray: boolean): void {
  walk.keys.push(key);
  check(value, walk, inArray);
  walk.keys.pop();
}

function checkClass(value: object, walk: Walk): void {
  const proto: unknown = Object.getPrototypeOf(value);
  if (value instanceof Date) refuse(walk, 'a Date is not JSON; store toISOString() or getTime()');
  if (typeof Reflect.get(value, 'toJSON') === 'function') {
    refuse(walk, 'an object with toJSON() would be stored as something else; call it yourself');
  }
  if (proto === Object.prototype || proto === Array.prototype || proto === null) return;
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (kind !== 'Object' && kind !== 'Array') refuse(walk, `a ${kind} is not JSON`);
}

function refuse(walk: Walk, what: string): never {
  const path = walk.keys.slice(0, shownKeys).map(pathPart).join('');
  throw new NotSerializableError(`${walk.what}${path}${walk.keys.length > shownKeys ? '...' : ''}`, what);
}

function pathPart(key: string | number): string {
  if (typeof key === 'number') return `[${key}]`;
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}

/** Returns the JSON text of a value with sorted object keys: equal values have equal texts. */
export function canonicalJson(value: Json): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}
