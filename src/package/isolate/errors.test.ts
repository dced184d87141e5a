import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { callOf, completed, failed, hostOf, open } from '../../testing/isolate-rig.ts';

describe('engine.md, states: the error of a package keeps its fields', () => {
  test('the parts of an AggregateError, the root of its causes and a numeric code come back', async (t) => {
    const { code } = open(
      t,
      `w.task('any', () => Promise.any([Promise.reject(new TypeError('eu: 503')), Promise.reject('us: 504')]));
      w.task('deep', () => {
        let error = new Error('root');
        for (let i = 0; i < 40; i++) error = new Error('because ' + i, { cause: error });
        throw Object.assign(error, { code: 11000 });
      });
      w.task('step', ({ step }) => step('s', () => Promise.any([Promise.reject(new Error('in the step'))])));`,
    );
    const { error: any } = await failed(code.run(callOf('any'), hostOf()));
    assert.equal(any.name, 'AggregateError');
    assert.deepEqual(
      any.errors?.map(({ message }) => message),
      ['eu: 503', 'a task threw "us: 504"'],
    );
    const { error: deep } = await failed(code.run(callOf('deep'), hostOf()));
    assert.equal(deep.code, '11000');
    let last = deep;
    while (last.cause !== undefined) last = last.cause;
    assert.equal(last.message, 'root');
    const { error: step } = await failed(code.run(callOf('step'), hostOf()));
    assert.equal(step.errors?.[0]?.message, 'in the step');
  });
});

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
