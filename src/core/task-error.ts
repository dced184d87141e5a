import { isError } from './realms.ts';
import { cleanText, maxTextLength } from './text.ts';

/** An error in the form in which it is stored and shown. */
export interface TaskError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: TaskError;
}

/** Maximum length of the chain of causes that is kept. */
export const maxCauses = 8;
/** Maximum number of characters of a name or a code. */
const maxNameLength = 200;
/** Maximum number of characters of all texts of an error with its causes; one message or stack has at most 16,384. */
const maxErrorLength = 65_536;

/**
 * Converts any thrown value to a stored error; `code` is used for values without a code, `thrower` names the source in
 * messages. Bounded, never throws.
 */
export function toTaskError(thrown: unknown, code: string = 'TASK_FAILED', thrower: string = 'a task'): TaskError {
  return boundTaskError(convert(thrown, { code, thrower }, 0));
}

/**
 * Bounds an error: 8 causes, 65,536 characters in all. Errors that wrap other errors (a map's item, a child's child)
 * and errors from another process could otherwise grow without limit; recursion over causes is safe within these
 * bounds.
 */
export function boundTaskError(error: TaskError): TaskError {
  const levels: TaskError[] = [];
  let left = maxErrorLength;
  const take = (text: string, most?: number): string => {
    const taken = cleanText(text, Math.min(left, most ?? left, maxTextLength));
    left -= taken.length;
    return taken;
  };
  for (let at: TaskError | undefined = error; at !== undefined; at = at.cause) {
    if (levels.length > maxCauses || left <= 0) break;
    const { name, code, message, stack } = at;
    const head = { name: take(name, maxNameLength), code: take(code, maxNameLength), message: take(message) };
    levels.push(stack === undefined ? head : { ...head, stack: take(stack) });
  }
  return levels.reduceRight((cause, level) => ({ ...level, cause }));
}

interface Source {
  readonly code: string;
  readonly thrower: string;
}

function convert(thrown: unknown, source: Source, depth: number): TaskError {
  const { code, thrower } = source;
  try {
    if (!isError(thrown)) return { name: 'Error', code, message: cleanText(`${thrower} threw ${describe(thrown)}`) };
    return { ...known(thrown, code), ...causeOf(thrown, source, depth) };
  } catch {
    return { name: 'Error', code, message: `${thrower} threw a value that cannot be shown` };
  }
}

function known(thrown: Error, code: string): TaskError {
  const own: unknown = Reflect.get(thrown, 'code');
  return {
    name: cleanText(thrown.name),
    code: typeof own === 'string' && own !== '' ? cleanText(own) : code,
    message: cleanText(thrown.message),
    ...(typeof thrown.stack === 'string' ? { stack: cleanText(thrown.stack) } : {}),
  };
}

function causeOf({ cause }: Error, source: Source, depth: number): { readonly cause?: TaskError } {
  return cause === undefined || depth >= maxCauses ? {} : { cause: convert(cause, source, depth + 1) };
}

function describe(thrown: unknown): string {
  try {
    if (typeof thrown === 'string') return JSON.stringify(thrown);
    return typeof thrown === 'object' && thrown !== null ? `an object: ${JSON.stringify(thrown)}` : String(thrown);
  } catch {
    return 'a value that cannot be shown';
  }
}

/** Converts a stored error to one that can be thrown or be a cause: name, code and stack are kept. */
export function reviveError({ name, code, message, stack, cause }: TaskError): Error {
  const error = new Error(message, cause === undefined ? undefined : { cause: reviveError(cause) });
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, { name, code });
}
