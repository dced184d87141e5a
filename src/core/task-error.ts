import { cleanText } from './text.ts';

/** An error as it is stored and shown. */
export interface TaskError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: TaskError;
}

const maxCauses = 8;

/** Whatever `who` threw, as a stored error; what has no code of its own gets `code`. Bounded, never throws. */
export function toTaskError(thrown: unknown, code: string = 'TASK_FAILED', who: string = 'a task'): TaskError {
  return convert(thrown, { code, who }, 0);
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
