import { cleanText, maxTextLength } from './text.ts';

/** An error as it is stored and shown. */
export interface TaskError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: TaskError;
}

/** Causes of causes that are kept. */
export const maxCauses = 8;
/** Characters of a name or a code. */
const maxNameLength = 200;
/** Characters of all texts of an error with its causes; one message or stack has 16,384 at most. */
const maxErrorLength = 65_536;

/** Whatever `who` threw, as a stored error; what has no code of its own gets `code`. Bounded, never throws. */
export function toTaskError(thrown: unknown, code: string = 'TASK_FAILED', who: string = 'a task'): TaskError {
  return boundTaskError(convert(thrown, { code, who }, 0));
}

/**
 * The same error within bounds: 8 causes, 65,536 characters in all. Errors that wrap others (a map's item, a child's child)
 * and errors that come from another process would grow without end otherwise; what recurses over causes is safe with these.
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
  readonly who: string;
}

function convert(thrown: unknown, source: Source, depth: number): TaskError {
  const { code, who } = source;
  try {
    if (!(thrown instanceof Error))
      return { name: 'Error', code, message: cleanText(`${who} threw ${describe(thrown)}`) };
    return { ...known(thrown, code), ...causeOf(thrown, source, depth) };
  } catch {
    return { name: 'Error', code, message: `${who} threw a value that cannot be shown` };
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

/** A stored error as one that can be thrown and can be a cause: name, code and stack as they were. */
export function reviveError({ name, code, message, stack, cause }: TaskError): Error {
  const error = new Error(message, cause === undefined ? undefined : { cause: reviveError(cause) });
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, { name, code });
}
