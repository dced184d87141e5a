import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { runInNewContext } from 'node:vm';
import type { AnyWorkflow, ExecutionOutcome, Json, TaskError } from '../src/index.ts';
import { Runner, workflow } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testRunner } from '../src/testing/test-runner.ts';

// Jest, a vm context and an iframe have classes of their own: there `x instanceof Error` is false for every error of Node.

/** Evaluates an expression in another realm. */
function foreign(expression: string): unknown {
  return runInNewContext(`(${expression})`);
}

async function outcomeOf(t: Cleanup, defined: AnyWorkflow): Promise<ExecutionOutcome<Json>> {
  const runner = await testRunner({ workflows: [defined] });
  release(t, () => runner[Symbol.asyncDispose]());
  return runner.finish(await runner.runner.start(defined.name));
}

async function errorOf(t: Cleanup, thrown: unknown): Promise<TaskError> {
  const w = workflow('w');
  w.task('t', { retry: { attempts: 1 } }, () => {
    throw thrown;
  });
  const outcome = await outcomeOf(t, w);
  assert.ok(outcome.status === 'failed' && outcome.error !== null);
  return outcome.error;
}

describe('engine.md, states: values of another realm count as those of this one', () => {
  test('an error keeps its name, code, message, stack and cause', async (t) => {
    const thrown = foreign(
      `Object.assign(new TypeError('from another realm', { cause: new Error('deeper') }), { code: 'E_REALM' })`,
    );
    assert.equal(thrown instanceof Error, false);
    const { name, code, message, stack, cause } = await errorOf(t, thrown);
    assert.deepEqual([name, code, message], ['TypeError', 'E_REALM', 'from another realm']);
    assert.match(stack ?? '', /TypeError: from another realm/);
    assert.equal(cause?.message, 'deeper');
  });

  test('a Date ends a sleep', async (t) => {
    const w = workflow('w');
    const s = w.sleep('s', { until: () => foreign('new Date(Date.UTC(2026, 1, 1))') as Date });
    const outcome = await outcomeOf(t, w.returns(w.task('after', { needs: { s } }, () => 'woken')));
    assert.equal(outcome.status === 'completed' && outcome.output, 'woken');
  });

  test('a Date as an output is refused by its name', async (t) => {
    const w = workflow('w');
    w.task('t', (() => ({ at: foreign('new Date(0)') })) as never);
    const outcome = await outcomeOf(t, w);
    assert.match(outcome.status === 'failed' ? (outcome.error?.message ?? '') : '', /\.at: a Date is not JSON/);
  });

  test('a Date is accepted as startAt, since, from, and as the time of a schedule', async (t) => {
    const w = workflow('w');
    w.task('t', () => 1);
    const { runner, now } = await testRunner({ workflows: [w] });
    release(t, () => runner.close({ drain: 0 }));
    const at = foreign(`new Date(${now.getTime() + 60_000})`) as Date;
    const { id } = await runner.start('w', {}, { startAt: at });
    assert.equal((await runner.executions.get(id)).status, 'waiting');
    const before = foreign(`new Date(${now.getTime() - 1})`) as Date;
    assert.equal((await runner.executions.list({ since: before })).items.length, 1);
    await runner.schedules.add('once', { workflow: 'w', at });
    assert.equal((await runner.schedules.get('once')).next, at.getTime());
    assert.equal((await runner.schedules.preview('once', 1, before)).slots[0], at.getTime());
    assert.equal((await runner.schedules.stats({ since: before })).since, before.getTime());
  });

  test('a promise of a function that must be synchronous is refused', async (t) => {
    const w = workflow('w');
    w.task('t', () => 1);
    const runner = await Runner.open(`sqlite:${join(tempFolder(t), 'app.db')}`, { workflows: [w] });
    release(t, () => runner.close({ drain: 0 }));
    const pending = foreign('async () => 1') as () => never;
    await assert.rejects(runner.transaction(pending), { code: 'TRANSACTION_ASYNC' });
  });
});
