import { boundIssues } from '../../core/definition/schema.ts';
import type { Issue } from '../../core/error.ts';
import { arrayMembers, isTooDeep, maxJsonDepth } from '../../core/json-text.ts';
import { boundTaskError, maxCauses } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';
import { maxLogBytes } from '../../engine/inline.ts';
import { mapItemsOf } from '../../engine/execution/map-items.ts';

// The bounds of what a guest may send. The code of a package keeps within them where it is honest: `guest.ts` sees to
// that. The host counts once more, before it makes anything of a text, since the channel is open to that code: a guest
// beyond a bound broke the protocol and is ended, and costs its host a look at so many bytes.

/** What one frame may hold. */
export interface FrameBounds {
  readonly headerBytes: number;
  readonly messages: number;
  /** Bytes of the texts of one frame, as of now. */
  readonly bodyBytes: () => number;
}

/** Bytes of what one turn of the event loop gathers for one frame; one text alone may have more. */
export const batchBytes = 8_388_608;
/** The same for headers (UTF-16 units, 3 bytes at most) and messages: below what a reader takes. */
export const batchHeaderLength = 262_144;
export const batchMessages = 4096;

/** Bytes of the header of a frame from a guest. The longest message has 100 issues, all of it escaped: 770 kB. */
export const maxHeaderBytes = 1_048_576;
export const maxMessages = 8192;

/** Bytes of any frame, whoever sends it. */
const maxFrameBytes = 268_435_456;

/** UTF-16 units of all texts of one message: they fill a frame by half at most, at 3 bytes of UTF-8 for one unit. */
export const maxTextLength: number = Math.floor(maxFrameBytes / 6);

/** Characters of the name of a step, as `ctx.step` has it. */
export const maxStepName = 1000;

/** A host may send what it wants: it holds the executions, and a guest that does not trust it has nobody else. */
export const trusted: FrameBounds = {
  headerBytes: maxFrameBytes,
  messages: Infinity,
  bodyBytes: () => maxFrameBytes,
};

/** Throws where a header has more messages than a frame may, before anything is made of it. */
export function checkMessages(header: string, bounds: FrameBounds): void {
  // the shortest is `{}`, so a short header cannot have that many
  if (header.length <= 2 * bounds.messages) return;
  if (arrayMembers(header, bounds.messages) === 'too_many') {
    throw new Error(`a frame of more than ${bounds.messages} messages`);
  }
}

/** Throws where a text has more bytes than it may. */
export function checkBytes(what: string, text: string, limit: number): void {
  if (text.length * 3 <= limit) return;
  const bytes = Buffer.byteLength(text);
  if (bytes > limit) throw new Error(`${what} of ${bytes} bytes; the limit is ${limit}`);
}

/** What is wrong with a text that is to be stored as JSON: it is none, or has too many levels; null where nothing is. */
export function jsonFault(text: string): string | null {
  if (isTooDeep(text)) return `the value from the package has more than ${maxJsonDepth} levels of arrays and objects`;
  return isJson(text) ? null : 'the value from the package is not JSON';
}

/** The same for the items of a map, of which no two are parsed at once. Throws MAP_TOO_LARGE. */
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

/** Data of a line of a log as JSON text. */
export function boundLogData(text: string | undefined): string | null {
  if (text === undefined) return null;
  checkBytes('the data of a log line', text, maxLogBytes);
  return jsonFault(text) === null ? text : JSON.stringify(text);
}

/** An error as a guest sent it, made anew with what an error has, bounded; undefined where it is none. */
export function readTaskError(value: unknown): TaskError | undefined {
  const levels: TaskError[] = [];
  for (let at = value; at !== undefined && levels.length <= maxCauses;) {
    const error = errorAt(at);
    if (error === undefined) return undefined;
    levels.push(error);
    at = Reflect.get(at as object, 'cause');
  }
  if (levels.length === 0) return undefined;
  return boundTaskError(levels.reduceRight((cause, level) => ({ ...level, cause })));
}

function errorAt(value: unknown): TaskError | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { name, code, message, stack } = value as Readonly<Record<string, unknown>>;
  if (typeof name !== 'string' || typeof code !== 'string' || typeof message !== 'string') return undefined;
  if (stack === undefined) return { name, code, message };
  return typeof stack === 'string' ? { name, code, message, stack } : undefined;
}

/** Issues as a guest sent them, made anew, bounded; undefined where they are none. */
export function readIssues(value: unknown): readonly Issue[] | undefined {
  if (!Array.isArray(value) || !value.every(isIssue)) return undefined;
  return boundIssues(value, (issue) => issue);
}

function isIssue(value: unknown): value is Issue {
  if (typeof value !== 'object' || value === null) return false;
  return typeof Reflect.get(value, 'path') === 'string' && typeof Reflect.get(value, 'message') === 'string';
}
