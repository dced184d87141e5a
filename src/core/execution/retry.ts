import { checkRetry } from '../definition/definition-check.ts';
import type { Retry } from '../definition/definition.ts';
import { durationMs } from '../duration.ts';
import { OptionInvalidError } from '../error.ts';
import type { RetrySpec } from '../definition/spec.ts';

export const defaultRetry: RetrySpec = {
  attempts: 3,
  backoff: 'exponential',
  delay: 1000,
  maxDelay: 60_000,
  jitter: 0.25,
  when: false,
};

/** Fills in the defaults of a retry policy. `place` begins the option's name in errors. Throws OPTION_INVALID. */
export function retrySpec(retry: Retry | undefined, place: string): RetrySpec {
  if (retry === undefined) return defaultRetry;
  checkRetry(retry, place);
  const attempts = retry.attempts ?? defaultRetry.attempts;
  if (!Number.isInteger(attempts) || attempts < 1) {
    throw new OptionInvalidError(`${place}.attempts`, `${attempts} is not a whole number of at least 1`);
  }
  const backoff = retry.backoff ?? defaultRetry.backoff;
  if (!['exponential', 'linear', 'fixed'].includes(backoff)) {
    throw new OptionInvalidError(`${place}.backoff`, `'${backoff}' is not one of exponential, linear, fixed`);
  }
  const jitter = retry.jitter ?? defaultRetry.jitter;
  if (!(jitter >= 0 && jitter <= 1))
    throw new OptionInvalidError(`${place}.jitter`, `${jitter} is not between 0 and 1`);
  return {
    attempts,
    backoff,
    delay: durationMs(retry.delay ?? defaultRetry.delay, `${place}.delay`),
    maxDelay: durationMs(retry.maxDelay ?? defaultRetry.maxDelay, `${place}.maxDelay`),
    jitter,
    when: retry.when !== undefined,
  };
}

/**
 * Returns the milliseconds from the failure of `attempt` (counted from 1) to the next: delay x 2^(attempt - 1), delay x
 * attempt, or delay; at most `maxDelay`; then varied by up to `jitter` of it either way. `random` is from 0 to below 1.
 */
export function retryDelay(retry: RetrySpec, attempt: number, random: number): number {
  const factor =
    retry.backoff === 'exponential' ? 2 ** Math.min(attempt - 1, 60) : retry.backoff === 'linear' ? attempt : 1;
  const base = Math.min(retry.delay * factor, retry.maxDelay);
  return Math.round(base * (1 + retry.jitter * (random * 2 - 1)));
}
