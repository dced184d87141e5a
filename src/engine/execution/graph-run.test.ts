import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { settled, workflow } from '../../core/definition/workflow.ts';
import { openRig } from '../../testing/engine-rig.ts';
import { ExecutionFailedError } from '../client/execution-failed.ts';

const noRetry = { attempts: 1 };

describe('engine.md, What a graph means: on the engine', () => {
  it('a diamond runs each task once, with the outputs of its needs', async (t) => {
    const w = workflow('diamond', { input: z.object({ n: z.number() }) });
    const ran: string[] = [];
    const note = <T>(name: string, value: T): T => {
      ran.push(name);
      return value;
    };
    const a = w.task('a', ({ input }) => note('a', { n: input.n }));
    const b = w.task('b', { needs: { a } }, ({ needs }) => note('b', needs.a.n + 1));
    const c = w.task('c', { needs: { a } }, async ({ needs }) => note('c', needs.a.n * 10));
    const d = w.task('d', { needs: { left: b, right: c } }, ({ needs }) => note('d', needs.left + needs.right));
    const done = w.returns(d);
    const { client } = await openRig(t, { workflows: [done] });
    const result = await client.execute(done, { n: 2 });
    assert.equal(result.output, 23);
    assert.deepEqual(result.outputs, { a: { n: 2 }, b: 3, c: 20, d: 23 });
    assert.deepEqual(ran.toSorted(), ['a', 'b', 'c', 'd']);
    assert.equal(ran[0], 'a');
    assert.equal(ran.at(-1), 'd');
  });

  it('a task whose plain need failed is skipped with need_failed and the cause; independent branches continue', async (t) => {
    const w = workflow('w');
    const bad = w.task('bad', { retry: noRetry }, (): number => {
      throw new Error('no');
    });
    const after = w.task('after', { needs: { bad } }, () => 1);
    w.task('last', { needs: { after } }, () => 1);
    const other = w.task('other', () => 1);
    w.task('other2', { needs: { other } }, () => 2);
    const { client } = await openRig(t, { workflows: [w] });
    const outcome = await (await client.start(w)).outcome();
    assert.equal(outcome.status, 'failed');
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.task, 'bad');
    assert.equal(outcome.error?.message, 'no');
    assert.deepEqual(outcome.outputs, { other: 1, other2: 2 });
    const { tasks } = await client.executions.get(outcome.executionId);
    assert.deepEqual(Object.fromEntries(tasks.map(({ name, status, reason }) => [name, reason ?? status])), {
      bad: 'failed',
      after: 'need_failed',
      last: 'need_skipped',
      other: 'completed',
      other2: 'completed',
    });
    const events = await client.executions.events(outcome.executionId);
    const causes = events.filter(({ type }) => type === 'task.skipped').map(({ task, data }) => [task, data]);
    assert.deepEqual(causes, [
      ['after', { reason: 'need_failed', cause: 'bad' }],
      ['last', { reason: 'need_skipped', cause: 'after' }],
    ]);
  });

  it('a settled need is the union of its outcomes, and a failure that it handled does not fail the execution', async (t) => {
    const w = workflow('w');
    const good = w.task('good', () => ({ n: 1 }));
    const bad = w.task('bad', { retry: noRetry }, (): number => {
      throw Object.assign(new RangeError('broken'), { code: 'E_BROKEN' });
    });
    const skipped = w.task('skipped', { when: () => false }, () => 1);
    const all = w.task(
      'all',
      { needs: { good: settled(good), bad: settled(bad), skipped: settled(skipped) } },
      ({ needs }) => {
        if (needs.bad.status !== 'failed') throw new Error('not failed');
        const { name, code, message } = needs.bad.error;
        return { good: needs.good, bad: { name, code, message }, skipped: needs.skipped };
      },
    );
    const done = w.returns(all);
    const { client } = await openRig(t, { workflows: [done] });
    assert.deepEqual((await client.execute(done)).output, {
      good: { status: 'completed', output: { n: 1 } },
      bad: { name: 'RangeError', code: 'E_BROKEN', message: 'broken' },
      skipped: { status: 'skipped', reason: 'when_false' },
    });
  });

  it('returns(settled(task)) allows for a failure and for a skip', async (t) => {
    const failing = workflow('failing');
    const bad = failing.task('bad', { retry: noRetry }, (): number => {
      throw new Error('no');
    });
    const skipping = workflow('skipping');
    const not = skipping.task('not', { when: () => false }, () => 1);
    const [one, two] = [failing.returns(settled(bad)), skipping.returns(settled(not))];
    const { client } = await openRig(t, { workflows: [one, two] });
    assert.equal((await client.execute(one)).output.status, 'failed');
    assert.deepEqual((await client.execute(two)).output, { status: 'skipped', reason: 'when_false' });
  });

  it('a returned task that ends skipped fails the execution with OUTPUT_SKIPPED', async (t) => {
    const w = workflow('w');
    const first = w.task('first', { when: () => false }, () => 1);
    const out = w.task('out', { needs: { first } }, () => 1);
    const done = w.returns(out);
    const { client } = await openRig(t, { workflows: [done] });
    await assert.rejects(client.execute(done), (error) => {
      assert.ok(error instanceof ExecutionFailedError);
      assert.equal(error.task, 'out');
      assert.equal(error.error?.code, 'OUTPUT_SKIPPED');
      assert.match(error.message, /'first'/);
      return true;
    });
  });

  it('a returned task that failed fails the execution, handled or not', async (t) => {
    const w = workflow('w');
    const bad = w.task('bad', { retry: noRetry }, (): number => {
      throw new Error('no');
    });
    w.task('handler', { needs: { bad: settled(bad) } }, () => 1);
    const done = w.returns(bad);
    const { client } = await openRig(t, { workflows: [done] });
    await assert.rejects(client.execute(done), { code: 'EXECUTION_FAILED', task: 'bad' });
  });

  it('no output is null; a task that returns nothing has the output null', async (t) => {
    const w = workflow('w');
    w.task('a', () => undefined);
    const { client } = await openRig(t, { workflows: [w] });
    const result = await client.execute(w);
    assert.equal(result.output, null);
    assert.deepEqual(result.outputs, { a: null });
  });

  it('`when` is called once all needs are met; false skips with when_false', async (t) => {
    const w = workflow('w');
    const a = w.task('a', () => 5);
    const asked: number[] = [];
    const when = ({ needs }: { needs: { a: number } }): boolean => {
      asked.push(needs.a);
      return needs.a > 5;
    };
    w.task('b', { needs: { a }, when }, () => assert.fail('it was skipped'));
    w.task('c', { needs: { a }, when: ({ needs }) => needs.a === 5 }, () => 'ran');
    const { client } = await openRig(t, { workflows: [w] });
    const { outputs, executionId } = await client.execute(w);
    assert.deepEqual(asked, [5]);
    assert.deepEqual(outputs, { a: 5, c: 'ran' });
    const events = await client.executions.events(executionId);
    assert.deepEqual(events.find(({ type }) => type === 'task.skipped')?.data, { reason: 'when_false', cause: 'b' });
  });

  it('a `when` that throws fails the task without a retry', async (t) => {
    const w = workflow('w');
    let asked = 0;
    const when = (): boolean => {
      asked++;
      throw new Error('cannot tell');
    };
    w.task('a', { when }, () => assert.fail('it never ran'));
    const { client } = await openRig(t, { workflows: [w] });
    await assert.rejects(client.execute(w), /cannot tell/);
    assert.equal(asked, 1);
  });

  it('with failFast, running tasks are aborted (cancelled) and the others skipped, with the failed task as the cause', async (t) => {
    const w = workflow('w', { failFast: true });
    let aborted: unknown;
    const first = w.task('first', () => 1);
    w.task('bad', { needs: { first }, retry: noRetry }, () => {
      throw new Error('no');
    });
    const running = w.task('running', { needs: { first } }, async ({ signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      aborted = signal.reason;
      return 1;
    });
    w.task('later', { needs: { running } }, () => 1);
    const { client } = await openRig(t, { workflows: [w] });
    const outcome = await (await client.start(w)).outcome();
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.task, 'bad');
    assert.ok(aborted instanceof Error);
    const { tasks } = await client.executions.get(outcome.executionId);
    const how = Object.fromEntries(tasks.map(({ name, status, reason }) => [name, reason ?? status]));
    assert.deepEqual(how, { first: 'completed', bad: 'failed', running: 'cancelled', later: 'fail_fast' });
    const events = await client.executions.events(outcome.executionId);
    const skip = events.find(({ type, task }) => type === 'task.skipped' && task === 'later');
    assert.deepEqual(skip?.data, { reason: 'fail_fast', cause: 'bad' });
  });

  it('without failFast a failure leaves independent branches alone, and the first unhandled one is reported', async (t) => {
    const w = workflow('w');
    w.task('late', { retry: noRetry }, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      throw new Error('late');
    });
    w.task('early', { retry: noRetry }, () => {
      throw new Error('early');
    });
    const { client } = await openRig(t, { workflows: [w] });
    await assert.rejects(client.execute(w), { task: 'early' });
  });
});

describe('engine.md: the cost per task does not grow with the number of tasks', () => {
  it('a chain of 1,000 tasks completes, and costs at most twice as much per task as a chain of 10', async (t) => {
    const chain = (length: number): ReturnType<typeof build> => build(length);
    function build(length: number) {
      const w = workflow(`chain${length}`);
      let last = w.task('t0', () => 0);
      for (let i = 1; i < length; i++) {
        const need = last;
        last = w.task(`t${i}`, { needs: { need } }, ({ needs }) => needs.need + 1);
      }
      return w.returns(last);
    }
    const [short, long] = [chain(10), chain(1000)];
    const { client } = await openRig(t, { workflows: [short, long] });
    assert.equal((await client.execute(long)).output, 999);
    const cost = async (w: typeof short, times: number, length: number): Promise<number> => {
      const before = performance.now();
      for (let i = 0; i < times; i++) await client.execute(w);
      return (performance.now() - before) / times / length;
    };
    await cost(short, 30, 10);
    const perShort = Math.min(await cost(short, 50, 10), await cost(short, 50, 10));
    const perLong = Math.min(await cost(long, 1, 1000), await cost(long, 1, 1000));
    assert.ok(perLong < 2 * perShort, `${perLong.toFixed(4)} ms a task against ${perShort.toFixed(4)} ms`);
  });
});
