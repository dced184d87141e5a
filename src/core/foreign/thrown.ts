import { messageOf, partsOf } from './error-text.ts';
import { inspected } from './inspected.ts';
import { isError } from './realms.ts';
import { boundErrors, defined } from '../task-error.ts';
import type { ErrorHead, TaskError } from '../task-error.ts';
import { cleanText } from '../text.ts';

/**
 * Converts any thrown value to a stored error; `code` is used for values without a code, `thrower` names the source in
 * messages. Bounded, see `boundErrors`; never throws.
 */
export function toTaskError(thrown: unknown, code: string = 'TASK_FAILED', thrower: string = 'a task'): TaskError {
  return boundErrors(thrown, {
    head: (at) =>
      orElse(() => headOf(at, code, thrower), { name: 'Error', code, message: `${thrower} threw ${hidden}` }),
    cause: (at) => orElse(() => (isError(at) ? at.cause : undefined), undefined),
    parts: (at) => orElse(() => partsOf(at), []),
  });
}

const hidden = 'a value that cannot be shown';

function orElse<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise; // a property of a thrown value may throw in turn
  }
}

function headOf(thrown: unknown, code: string, thrower: string): ErrorHead {
  if (!isError(thrown)) return { name: 'Error', code, message: cleanText(`${thrower} threw ${describe(thrown)}`) };
  const own = ownCode(thrown);
  return defined({
    name: cleanText(thrown.name),
    code: own ?? code,
    message: cleanText(messageOf(thrown)),
    stack: textAt(thrown, 'stack'),
    permission: own === 'ERR_ACCESS_DENIED' ? textAt(thrown, 'permission') : undefined,
    resource: own === 'ERR_ACCESS_DENIED' ? textAt(thrown, 'resource') : undefined,
  });
}

/** Libraries use numbers as well as texts (gRPC, MongoDB); those of a DOMException are of the past, and its name says more. */
function ownCode(thrown: Error): string | undefined {
  const own: unknown = Reflect.get(thrown, 'code');
  if (typeof own === 'string') return own === '' ? undefined : cleanText(own);
  const isOld = Object.prototype.toString.call(thrown) === '[object DOMException]';
  return Number.isSafeInteger(own) && !isOld ? String(own) : undefined;
}

function textAt(thrown: Error, field: string): string | undefined {
  const value: unknown = Reflect.get(thrown, field);
  return typeof value === 'string' && value !== '' ? cleanText(value) : undefined;
}

function describe(thrown: unknown): string {
  if (typeof thrown === 'string') return JSON.stringify(thrown);
  if (typeof thrown !== 'object' || thrown === null) return String(thrown);
  return `an object: ${inspected(thrown)}`;
}
