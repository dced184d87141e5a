import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { CloacinaError, StoreUnavailableError } from '../../core/error.ts';
import { Admission } from './admission.ts';

const patienceMs = 1000;

/** An admission of two at once, with a clock that the test moves. */
function place(t: TestContext): { readonly admission: Admission; readonly advance: (ms: number) => Promise<void> } {
  let now = 5000;
  t.mock.timers.enable({ apis: ['setInterval'] });
  const admission = new Admission(2, patienceMs, 'the database', () => now);
  const advance = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 100) {
      now += 100;
      t.mock.timers.tick(100);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { admission, advance };
}

/** A query that the test answers. */
function asked(
  admission: Admission,
): PromiseWithResolvers<string> & { readonly since: number[]; done: Promise<string> } {
  const answer = Promise.withResolvers<string>();
  const since: number[] = [];
  const done = admission.through(async (at) => {
    since.push(at);
    return answer.promise;
  });
  done.catch(() => undefined); // the rejection is asserted later
  return { ...answer, since, done };
}

describe('admission of queries to the database', () => {
  it('queries are admitted in the order of arrival', async (t) => {
    const { admission, advance } = place(t);
    const all = [1, 2, 3, 4].map(() => asked(admission));
    await advance(100);
    assert.deepEqual(
      all.map(({ since }) => since.length),
      [1, 1, 0, 0],
    );
    all[1]!.resolve('');
    await advance(100);
    assert.deepEqual(
      all.map(({ since }) => since.length),
      [1, 1, 1, 0],
    );
  });

  it('queries wait beyond their patience while others are answered, also by a refusal', async (t) => {
    const { admission, advance } = place(t);
    const first = [1, 2].map(() => asked(admission));
    const rest = Array.from({ length: 10 }, () => asked(admission));
    for (const one of [...first, ...rest].slice(0, 10)) {
      await advance(900);
      one.reject(new CloacinaError('PACKAGE_NOT_FOUND', 'no such package'));
      await assert.rejects(one.done, { code: 'PACKAGE_NOT_FOUND' });
    }
    rest[9]!.resolve('after 9 s');
    assert.equal(await rest[9]!.done, 'after 9 s');
  });

  it('queries fail as unavailable if the database has answered none of them for as long as their patience', async (t) => {
    const { admission, advance } = place(t);
    const [, , third] = [1, 2, 3].map(() => asked(admission));
    await advance(900);
    const fourth = asked(admission);
    await advance(600);
    await assert.rejects(third!.done, {
      code: 'STORE_UNAVAILABLE',
      message: 'the database has not answered for 1000 ms',
    });
    await advance(1000);
    await assert.rejects(fourth.done, { code: 'STORE_UNAVAILABLE' });
    assert.deepEqual([third!.since, fourth.since], [[], []]);
  });

  it('an admitted query has no new patience: its wait without any answer counts', async (t) => {
    const { admission, advance } = place(t);
    const [first, , third] = [1, 2, 3].map(() => asked(admission));
    await advance(900);
    first!.reject(new StoreUnavailableError('away'));
    await assert.rejects(first!.done, { code: 'STORE_UNAVAILABLE' });
    await advance(100);
    assert.deepEqual(third!.since, [5000]);
  });
});
