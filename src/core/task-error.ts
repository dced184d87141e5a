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

/** Whatever was thrown, as a stored error; what has no code of its own gets `code`. Bounded, never throws. */
export function toTaskError(thrown: unknown, code: string = 'TASK_FAILED'): TaskError {
  return convert(thrown, code, 0);
}

function convert(thrown: unknown, code: string, depth: number): TaskError {
  try {
    if (!(thrown instanceof Error))
      return { name: 'Error', code, message: cleanText(`a task threw ${describe(thrown)}`) };
    return { ...known(thrown, code), ...causeOf(thrown, code, depth) };
  } catch {
    return { name: 'Error', code, message: 'a task threw a value that cannot be shown' };
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

function causeOf({ cause }: Error, code: string, depth: number): { readonly cause?: TaskError } {
  return cause === undefined || depth >= maxCauses ? {} : { cause: convert(cause, code, depth + 1) };
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
