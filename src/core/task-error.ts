/** An error as it is stored and shown. */
export interface TaskError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: TaskError;
}

const maxCauses = 8;
const maxText = 16_384;

/** Whatever was thrown, as a stored error; what has no code of its own gets `code`. Bounded, never throws. */
export function toTaskError(thrown: unknown, code: string = 'TASK_FAILED', depth = 0): TaskError {
  if (!(thrown instanceof Error)) return { name: 'Error', code, message: cut(`a task threw ${describe(thrown)}`) };
  const own: unknown = Reflect.get(thrown, 'code');
  const error: { -readonly [K in keyof TaskError]: TaskError[K] } = {
    name: cut(thrown.name),
    code: typeof own === 'string' && own !== '' ? cut(own) : code,
    message: cut(thrown.message),
  };
  if (typeof thrown.stack === 'string') error.stack = cut(thrown.stack);
  if (thrown.cause !== undefined && depth < maxCauses) error.cause = toTaskError(thrown.cause, code, depth + 1);
  return error;
}

function describe(thrown: unknown): string {
  try {
    if (typeof thrown === 'string') return JSON.stringify(thrown);
    return typeof thrown === 'object' && thrown !== null ? `an object: ${JSON.stringify(thrown)}` : String(thrown);
  } catch {
    return 'a value that cannot be shown';
  }
}

function cut(value: unknown): string {
  const clean = String(value).replaceAll('\0', '\u2400').toWellFormed();
  return clean.length > maxText ? `${clean.slice(0, maxText)}...` : clean;
}
