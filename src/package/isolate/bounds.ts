import { boundIssues } from '../../core/definition/schema.ts';
import type { Issue } from '../../core/error.ts';
import { arrayMembers, isTooDeep, maxJsonDepth } from '../../core/json-text.ts';
import { boundErrors, defined } from '../../core/task-error.ts';
import type { ErrorReader, TaskError } from '../../core/task-error.ts';
import { maxLogBytes } from '../../core/foreign/log-data.ts';
import { mapItemsOf } from '../../engine/execution/map-items.ts';

// Bounds of the data that a guest may send. `guest.ts` keeps honest packages within them. The host checks again before
// it parses anything, since the code of the package can write to the channel: a guest beyond a bound broke the protocol
// and is ended, and the bound limits the cost of that check.

/** The limits of one frame. */
export interface FrameBounds {
  readonly headerBytes: number;
  readonly messages: number;
  /** Maximum size of the texts of one frame, bytes; it can change over time. */
  readonly bodyBytes: () => number;
}

/** Size of the texts that one turn of the event loop gathers for one frame, bytes; a single text may be larger. */
export const batchBytes = 8_388_608;
/** The same for headers (UTF-16 units, at most 3 bytes each) and messages: below the limits of a reader. */
export const batchHeaderLength = 262_144;
export const batchMessages = 4096;

/**
 * Maximum size of the header of a frame from a guest, bytes. The longest message has 100 issues, fully escaped: 770 kB.
 */
export const maxHeaderBytes = 1_048_576;
export const maxMessages = 8192;

/** Maximum size of any frame in either direction, bytes. */
const maxFrameBytes = 268_435_456;

/** Maximum length of all texts of one message, UTF-16 units: half a frame at 3 bytes of UTF-8 for one unit. */
export const maxMessageText: number = Math.floor(maxFrameBytes / 6);

/** The bounds of frames from the host: it holds the executions, so a guest must trust it. */
export const trusted: FrameBounds = {
  headerBytes: maxFrameBytes,
  messages: Infinity,
  bodyBytes: () => maxFrameBytes,
};

/** Throws for a header with more messages than a frame may have, before it is parsed. */
export function checkMessages(header: string, bounds: FrameBounds): void {
  // the shortest message is `{}`, so a shorter header cannot have that many
  if (header.length <= 2 * bounds.messages) return;
  if (arrayMembers(header, bounds.messages) === 'too_many') {
    throw new Error(`a frame of more than ${bounds.messages} messages`);
  }
}

export function checkBytes(what: string, text: string, limit: number): void {
  if (text.length * 3 <= limit) return;
  const bytes = Buffer.byteLength(text);
  if (bytes > limit) throw new Error(`${what} of ${bytes} bytes; the limit is ${limit}`);
}

/**
 * Returns the fault of a text that will be stored as JSON: a syntax error or too many levels; null if there is none.
 */
export function jsonFault(text: string): string | null {
  if (isTooDeep(text)) return `the value from the package has more than ${maxJsonDepth} levels of arrays and objects`;
  return isJson(text) ? null : 'the value from the package is not JSON';
}

/** Returns the fault of the items of a map, parsed one at a time. Throws MAP_TOO_LARGE. */
export function itemsFault(text: string, map: string): string | null {
  const items = mapItemsOf(text, map);
  if (items === null) return jsonFault(text);
  if (isTooDeep(text)) return jsonFault(text);
  return items.every(isJson) ? null : 'the value from the package is not JSON';
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Returns the data of a log line as bounded JSON text. */
export function boundLogData(text: string | undefined): string | null {
  if (text === undefined) return null;
  checkBytes('the data of a log line', text, maxLogBytes);
  return jsonFault(text) === null ? text : JSON.stringify(text);
}

/** Rebuilds a guest's error from its known fields, bounded; undefined if it has no such shape. */
export function readTaskError(value: unknown): TaskError | undefined {
  try {
    return boundErrors(value, sentErrors);
  } catch (error) {
    if (error instanceof NoError) return undefined;
    throw error;
  }
}

class NoError extends Error {}

const sentErrors: ErrorReader<unknown> = {
  head: (at) => {
    const { name, code, message, stack, permission, resource } = fieldsOf(at);
    if (typeof name !== 'string' || typeof code !== 'string' || typeof message !== 'string') throw new NoError();
    const own = { stack: textOrNone(stack), permission: textOrNone(permission), resource: textOrNone(resource) };
    return defined({ name, code, message, ...own });
  },
  cause: (at) => fieldsOf(at)['cause'],
  parts: (at) => {
    const { errors = [] } = fieldsOf(at);
    if (!Array.isArray(errors)) throw new NoError();
    return errors;
  },
  omitted: (at) => {
    const { omittedCauses, omittedErrors } = fieldsOf(at);
    return { causes: countOrNone(omittedCauses), parts: countOrNone(omittedErrors) };
  },
};

function fieldsOf(at: unknown): Readonly<Record<string, unknown>> {
  if (typeof at !== 'object' || at === null) throw new NoError();
  return at as Readonly<Record<string, unknown>>;
}

function textOrNone(value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  throw new NoError();
}

function countOrNone(value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new NoError();
}

/** Rebuilds a guest's issues from their known fields, bounded; undefined if they have no such shape. */
export function readIssues(value: unknown): readonly Issue[] | undefined {
  if (!Array.isArray(value) || !value.every(isIssue)) return undefined;
  return boundIssues(value, (issue) => issue);
}

function isIssue(value: unknown): value is Issue {
  if (typeof value !== 'object' || value === null) return false;
  return typeof Reflect.get(value, 'path') === 'string' && typeof Reflect.get(value, 'message') === 'string';
}
