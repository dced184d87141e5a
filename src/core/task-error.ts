import { cleanText, maxTextLength } from './text.ts';

/** An error in the form in which it is stored and shown. Absent fields have no value. */
export interface TaskError {
  readonly name: string;
  /** The error's own code, a number as text; TASK_FAILED for an error without one. */
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: TaskError;
  /** Number of causes that are not kept: they came after this error and before `cause`. */
  readonly omittedCauses?: number;
  /** The errors that an AggregateError or a SuppressedError holds, the first 16. */
  readonly errors?: readonly TaskError[];
  /** Number of further `errors` that are not kept. */
  readonly omittedErrors?: number;
  /** Of ERR_ACCESS_DENIED: the missing permission of Node, such as `FileSystemWrite`. */
  readonly permission?: string;
  /** Of ERR_ACCESS_DENIED: the path or other thing that was accessed. */
  readonly resource?: string;
}

/** Maximum number of causes of an error that are kept: the first ones and the root. */
const maxCauses = 8;
/** Maximum number of `errors` of one error that are kept. */
const maxParts = 16;
/** Maximum number of errors that are kept of one error, with its causes, parts, their causes and parts. */
const maxErrors = 64;
/** Maximum number of characters of a name or a code. */
const maxNameLength = 200;
/** Number of characters of a message that every error has room for, whatever the size of the others. */
const surelyKept = 512;
/** Maximum number of characters of all texts of an error with its causes; one message or stack has at most 16,384. */
const maxErrorLength = 65_536;
/** A shorter rest of a stack says nothing. */
const shortestStack = 100;
/** Maximum number of causes that are looked at: a getter can return new ones without end. */
const longestChain = 100_000;

/** The fields of one error, without those that hold other errors. */
export type ErrorHead = Omit<TaskError, 'cause' | 'errors' | 'omittedCauses' | 'omittedErrors'>;

/** Reads errors of any form. */
export interface ErrorReader<T> {
  readonly head: (at: T) => ErrorHead;
  readonly cause: (at: T) => T | undefined;
  readonly parts: (at: T) => readonly T[];
  /** Numbers of causes and parts that were left out before. */
  readonly omitted?: (at: T) => { readonly causes: number; readonly parts: number };
}

type Draft = { -readonly [Field in keyof TaskError]: TaskError[Field] };

/**
 * Converts an error with its causes and parts, bounded: 8 causes, of more the first 7 and the root; 16 parts; 64 errors and
 * 65,536 characters in all. An error that is its own cause is kept once. Recursion over the result is safe.
 */
export function boundErrors<T>(error: T, reader: ErrorReader<T>): TaskError {
  const drafts: Draft[] = [];
  const bounded = draftOf(error, { reader, drafts, above: new Set() }, maxErrors);
  fitTexts(drafts);
  return bounded;
}

/**
 * Bounds a stored error. Errors that wrap other errors (a map's item, a child's child) and errors from another process
 * could otherwise grow without limit.
 */
export function boundTaskError(error: TaskError): TaskError {
  return boundErrors(error, storedErrors);
}

const storedErrors: ErrorReader<TaskError> = {
  head: ({ name, code, message, stack, permission, resource }) => {
    return defined({ name, code, message, stack, permission, resource });
  },
  cause: ({ cause }) => cause,
  parts: ({ errors = [] }) => errors,
  omitted: ({ omittedCauses = 0, omittedErrors = 0 }) => ({ causes: omittedCauses, parts: omittedErrors }),
};

/** Leaves out undefined fields of an error. */
export function defined(head: { readonly [Field in keyof ErrorHead]: ErrorHead[Field] | undefined }): ErrorHead {
  return Object.fromEntries(Object.entries(head).filter(([, value]) => value !== undefined)) as unknown as ErrorHead;
}

interface Drafting<T> {
  readonly reader: ErrorReader<T>;
  /** All errors that are kept, in the order in which they get room for their texts. */
  readonly drafts: Draft[];
  /** The errors that the current one is a part of. */
  readonly above: ReadonlySet<T>;
}

/** Drafts an error with its causes and parts; at most `room` errors, at least one. */
function draftOf<T>(error: T, { reader, drafts, above }: Drafting<T>, room: number): Draft {
  const chain = chainOf(error, reader, above);
  const levels = firstAndRoot(chain, reader, Math.min(room, maxCauses + 1)).map(({ at, omitted }) => {
    const draft: Draft = { ...reader.head(at), ...(omitted === 0 ? {} : { omittedCauses: omitted }) };
    drafts.push(draft);
    return { at, draft };
  });
  let left = room - levels.length;
  const within = { reader, drafts, above: new Set(above) };
  for (const { at, draft } of levels) {
    within.above.add(at);
    const parts = reader.parts(at).filter((part) => !within.above.has(part));
    const kept = parts.slice(0, Math.min(maxParts, left));
    const omitted = parts.length - kept.length + (reader.omitted?.(at).parts ?? 0);
    if (omitted > 0) draft.omittedErrors = omitted;
    if (kept.length === 0) continue;
    draft.errors = kept.map((part, i) => {
      const before = drafts.length;
      // each of the later parts has room for itself at least
      const drafted = draftOf(part, within, left - (kept.length - 1 - i));
      left -= drafts.length - before;
      return drafted;
    });
  }
  for (const [i, { draft }] of levels.entries()) if (i + 1 < levels.length) draft.cause = levels[i + 1]!.draft;
  return levels[0]!.draft;
}

/** An error and its causes, each once. */
function chainOf<T>(error: T, reader: ErrorReader<T>, above: ReadonlySet<T>): readonly T[] {
  const chain = new Set([error]);
  for (let at = reader.cause(error); at !== undefined && chain.size < longestChain; at = reader.cause(at)) {
    if (chain.has(at) || above.has(at)) break;
    chain.add(at);
  }
  return [...chain];
}

/** The first errors of a chain and its last, `most` in all, each with the number of those left out after it. */
function firstAndRoot<T>(
  chain: readonly T[],
  reader: ErrorReader<T>,
  most: number,
): readonly { readonly at: T; readonly omitted: number }[] {
  const omittedAfter = (from: number, to: number): number => {
    const earlier = chain.slice(from, to).reduce((sum, at) => sum + (reader.omitted?.(at).causes ?? 0), 0);
    return earlier + (to - from - 1);
  };
  if (chain.length <= most) return chain.map((at, i) => ({ at, omitted: omittedAfter(i, i + 1) }));
  const root = chain.length - 1;
  if (most === 1) return [{ at: chain[0]!, omitted: omittedAfter(0, chain.length) }];
  const first = chain.slice(0, most - 1).map((at, i) => {
    return { at, omitted: omittedAfter(i, i === most - 2 ? root : i + 1) };
  });
  return [...first, { at: chain[root]!, omitted: omittedAfter(root, root + 1) }];
}

/** Cuts the texts of errors, so that all have a name, a code and the beginning of a message; the rest in their order. */
function fitTexts(drafts: readonly Draft[]): void {
  let left = maxErrorLength;
  const take = (text: string, most: number): string => {
    const taken = cleanText(text, Math.min(left, most));
    left -= taken.length;
    return taken;
  };
  const reserved = drafts.map((draft) => {
    draft.name = take(draft.name, maxNameLength);
    draft.code = take(draft.code, maxNameLength);
    const kept = Math.min(draft.message.length, surelyKept);
    left -= kept;
    return kept;
  });
  for (const [i, draft] of drafts.entries()) {
    left += reserved[i]!;
    draft.message = take(draft.message, maxTextLength);
    if (draft.permission !== undefined) draft.permission = take(draft.permission, maxNameLength);
    if (draft.resource !== undefined) draft.resource = take(draft.resource, maxTextLength);
    if (draft.stack === undefined) continue;
    if (left < shortestStack && left < draft.stack.length) delete draft.stack;
    else draft.stack = take(draft.stack, maxTextLength);
  }
}

/**
 * Returns the reason below an error, for a line that shows only its message: the message of the root of its causes, or
 * those of its parts. Null if the message has that text already.
 */
export function reasonBelow(error: TaskError): string | null {
  let root = error;
  while (root.cause !== undefined) root = root.cause;
  const parts = root.errors ?? [];
  const reasons = parts.map((part) => reasonBelow(part) ?? part.message);
  const texts = [...new Set(root === error ? reasons : [root.message, ...reasons])];
  const said = texts.filter((text) => text !== '' && !error.message.includes(text));
  return said.length === 0 ? null : cleanText(said.join('; '), maxReasonLength);
}

/** Maximum number of characters of the reason below an error. */
const maxReasonLength = 1000;

/** Returns the fields of an error that an event has. `rootCause` is the reason below it. */
export function eventFields(error: TaskError): { code: string; message: string; rootCause?: string } {
  const { code, message } = error;
  const rootCause = reasonBelow(error);
  return { code, message, ...(rootCause === null ? {} : { rootCause }) };
}

/** Converts a stored error to one that can be thrown or be a cause: its fields are kept, `errors` in an AggregateError. */
export function reviveError({ stack, cause, errors, message, ...fields }: TaskError): Error {
  const options = cause === undefined ? undefined : { cause: reviveError(cause) };
  const error =
    errors === undefined ? new Error(message, options) : new AggregateError(errors.map(reviveError), message, options);
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, fields);
}
