import type { TaskError } from '../../core/task-error.ts';

/** An error that crossed a process border, as one that can be thrown and can be a cause: name, code and stack as they were. */
export function reviveError({ name, code, message, stack, cause }: TaskError): Error {
  const error = new Error(message, cause === undefined ? undefined : { cause: reviveError(cause) });
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, { name, code });
}
