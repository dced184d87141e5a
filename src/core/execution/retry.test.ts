import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { OptionInvalidError } from '../error.ts';
import { defaultRetry, retryDelay, retrySpec } from './retry.ts';
import { settle } from './settle.ts';

const exact = { ...defaultRetry, jitter: 0 };
const error = { name: 'Error', code: 'TASK_FAILED', message: 'no' };

describe('engine.md, attempts: the policy', () => {
  it('the policy defaults to 3 attempts, exponential from 1s, at most 60s, jitter 25 %', () => {
    assert.deepEqual(retrySpec(undefined, 'retry'), {
      attempts: 3,
      backoff: 'exponential',
      delay: 1000,
      maxDelay: 60_000,
      jitter: 0.25,
      when: false,
    });
    assert.deepEqual(retrySpec({}, 'retry'), defaultRetry);
  });

  it('delays grow exponentially, linearly or not at all, up to maxDelay', () => {
    const delays = (backoff: 'exponential' | 'linear' | 'fixed'): number[] =>
      [1, 2, 3, 4, 7, 100, 2000].map((attempt) => retryDelay({ ...exact, backoff }, attempt, 0.5));
    assert.deepEqual(delays('exponential'), [1000, 2000, 4000, 8000, 60_000, 60_000, 60_000]);
    assert.deepEqual(delays('linear'), [1000, 2000, 3000, 4000, 7000, 60_000, 60_000]);
    assert.deepEqual(delays('fixed'), [1000, 1000, 1000, 1000, 1000, 1000, 1000]);
  });

  it('jitter varies the delay by at most its share, either way', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.double({ min: 0, max: 0.999_999, noNaN: true }),
        (attempt, random) => {
          const base = retryDelay(exact, attempt, random);
          const delay = retryDelay(defaultRetry, attempt, random);
          assert.ok(delay >= Math.floor(base * 0.75) && delay <= Math.ceil(base * 1.25), `${delay} of ${base}`);
        },
      ),
    );
    assert.equal(retryDelay(defaultRetry, 1, 0), 750);
    assert.equal(retryDelay(defaultRetry, 1, 0.5), 1000);
  });

  it('an option that makes no sense is refused by name', () => {
    for (const [retry, option] of [
      [{ attempts: 0 }, 'w.t.retry.attempts'],
      [{ attempts: 1.5 }, 'w.t.retry.attempts'],
      [{ attempts: Number.NaN }, 'w.t.retry.attempts'],
      [{ jitter: 2 }, 'w.t.retry.jitter'],
      [{ jitter: Number.NaN }, 'w.t.retry.jitter'],
      [{ delay: 'soon' }, 'w.t.retry.delay'],
      [{ maxDelay: -1 }, 'w.t.retry.maxDelay'],
      [{ backoff: 'random' as 'fixed' }, 'w.t.retry.backoff'],
    ] as const) {
      assert.throws(
        () => retrySpec(retry, 'w.t.retry'),
        (thrown) => thrown instanceof OptionInvalidError && thrown.option === option,
        option,
      );
    }
  });
});

describe('settle: attempt + outcome + now -> retry at | failed', () => {
  const failure = { error, retryable: true, retryAfter: null };

  it('`attempts` counts all runs, the first included', () => {
    assert.deepEqual(settle(failure, exact, 1, 5000, 0), { status: 'retry', at: 6000, error });
    assert.deepEqual(settle(failure, exact, 2, 5000, 0), { status: 'retry', at: 7000, error });
    assert.deepEqual(settle(failure, exact, 3, 5000, 0), { status: 'failed', error });
  });

  it('a non-retryable error, or a kind without retry, ends the task at once', () => {
    assert.equal(settle({ ...failure, retryable: false }, exact, 1, 0, 0).status, 'failed');
    assert.equal(settle(failure, null, 1, 0, 0).status, 'failed');
  });

  it('RetryAfterError sets the delay, also beyond maxDelay, but adds no attempt', () => {
    assert.deepEqual(settle({ ...failure, retryAfter: 90_000 }, exact, 1, 0, 0), {
      status: 'retry',
      at: 90_000,
      error,
    });
    assert.deepEqual(settle({ ...failure, retryAfter: 0 }, exact, 1, 7, 0), { status: 'retry', at: 7, error });
    assert.equal(settle({ ...failure, retryAfter: 5 }, exact, 3, 0, 0).status, 'failed');
  });
});
