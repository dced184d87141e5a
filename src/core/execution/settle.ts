import { retryDelay } from './retry.ts';
import type { RetrySpec } from '../definition/spec.ts';
import type { TaskError } from '../task-error.ts';

/**
 * A failed attempt: `retryable` allows another one; `retryAfter` is the delay that the error requested (ms), or null.
 */
export interface AttemptFailure {
  readonly error: TaskError;
  readonly retryable: boolean;
  readonly retryAfter: number | null;
}

export type Settlement =
  | { readonly status: 'retry'; readonly at: number; readonly error: TaskError }
  | { readonly status: 'failed'; readonly error: TaskError };

/**
 * Decides about the next attempt after a failure. `used` counts the attempts charged so far, this one included; null
 * retry means one attempt. `random` is from 0 to below 1.
 */
export function settle(
  failure: AttemptFailure,
  retry: RetrySpec | null,
  used: number,
  now: number,
  random: number,
): Settlement {
  const { error } = failure;
  if (retry === null || !failure.retryable || used >= retry.attempts) return { status: 'failed', error };
  const delay = failure.retryAfter ?? retryDelay(retry, used, random);
  return { status: 'retry', at: now + delay, error };
}
