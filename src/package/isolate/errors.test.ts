import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { callOf, completed, failed, hostOf, open } from '../../testing/isolate-rig.ts';

describe('engine.md, attempts: retry.when of a package decides, at once or by a promise', () => {
  test('a promise of false and a rejection end the task, and the process lives on', async (t) => {
    const { code, deaths } = open(
      t,
      `const retry = (when) => ({ retry: { when } });
      const fail = () => { throw new Error('card declined'); };
      w.task('no', retry(async () => false), fail);
      w.task('down', retry(async () => { throw new Error('policy service down'); }), fail);
      w.task('yes', retry(async () => true), fail);
      w.task('fine', () => 1);`,
    );
    const retryable: unknown[] = [];
    for (const task of ['no', 'down', 'yes']) {
      const outcome = await failed(code.run(callOf(task), hostOf()));
      assert.equal(outcome.error.message, 'card declined');
      retryable.push(outcome.retryable);
    }
    assert.deepEqual(retryable, [false, false, true]);
    assert.equal(await completed(code.run(callOf('fine'), hostOf())), 1);
    assert.deepEqual(deaths, []);
  });
});
