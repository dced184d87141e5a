import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NonRetryableError, RetryAfterError } from '../../core/error.ts';
import { settled, workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openRig } from '../../testing/engine-rig.ts';
import type { Rig } from '../../testing/engine-rig.ts';
import type { ExecutionOutcome } from '../client/client.ts';

/** Moves time until an execution has ended. */
async function finish<Out>(
  { clock }: Rig<ManualClock>,
  handle: { outcome(): Promise<ExecutionOutcome<Out>> },
): Promise<ExecutionOutcome<Out>> {
  const outcome = handle.outcome();
  const ended = { yet: false };
  const note = (): void => void (ended.yet = true);
  void outcome.then(note, note);
  for (let i = 0; i < 2000 && !ended.yet; i++) await clock.advance(100);
  assert.ok(ended.yet, 'it did not end in 200 s');
  return outcome;
}

describe('engine.md, Attempts: retry', () => {
  it('`attempts` counts all runs, delays follow the policy, and task.retrying has the error and the time', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    const at: number[] = [];
    const seen: number[] = [];
    w.task('a', { retry: { attempts: 4, delay: '2s', jitter: 0 } }, ({ attempt }) => {
      at.push(clock.monotonic());
      seen.push(attempt);
      throw new Error(`no ${attempt}`);
    });
    const rig = await openRig(t, { workflows: [w], clock });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.message, 'no 4');
    assert.deepEqual(seen, [1, 2, 3, 4]);
    assert.deepEqual(
      at.map((time) => time - at[0]!),
      [0, 2000, 6000, 14_000],
    );
    const events = await rig.client.executions.events(outcome.executionId);
    const retrying = events.filter(({ type }) => type === 'task.retrying');
    assert.deepEqual(
      retrying.map(({ attempt, data }) => [attempt, (data as { message: string }).message]),
      [
        [1, 'no 1'],
        [2, 'no 2'],
        [3, 'no 3'],
      ],
    );
    const first = retrying[0]!.data as { at: string; code: string };
    assert.equal(first.code, 'TASK_FAILED');
    assert.equal(Date.parse(first.at), retrying[0]!.at + 2000);
  });

  it('jitter comes from the runner, and the delay is within its share', async (t) => {
    for (const [random, delay] of [
      [0, 750],
      [0.999_999, 1250],
    ] as const) {
      const clock = new ManualClock();
      const w = workflow('w');
      const at: number[] = [];
      w.task('a', { retry: { attempts: 2 } }, () => {
        at.push(clock.monotonic());
        throw new Error('no');
      });
      const rig = await openRig(t, { workflows: [w], clock, random: () => random });
      await finish(rig, await rig.client.start(w));
      assert.equal(at[1]! - at[0]!, delay);
    }
  });

  it('a task that succeeds in a later attempt completes, and no error is left', async (t) => {
    const w = workflow('w');
    const a = w.task('a', ({ attempt }) => {
      if (attempt < 3) throw new Error('not yet');
      return attempt;
    });
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done] });
    const outcome = await finish(rig, await rig.client.start(done));
    assert.ok(outcome.status === 'completed');
    assert.equal(outcome.output, 3);
    const [task] = (await rig.client.executions.get(outcome.executionId)).tasks;
    assert.deepEqual([task!.attempt, task!.error, task!.status], [3, null, 'completed']);
  });

  it('retry.when decides whether an error is retried, and one that throws adds no attempt', async (t) => {
    for (const [when, runs] of [
      [(error: unknown) => error instanceof TypeError, 1],
      [(error: unknown) => error instanceof RangeError, 3],
      [() => assert.fail('cannot tell'), 1],
    ] as const) {
      const w = workflow('w');
      let ran = 0;
      w.task('a', { retry: { when } }, () => {
        ran++;
        throw new RangeError('no');
      });
      const rig = await openRig(t, { workflows: [w] });
      const outcome = await finish(rig, await rig.client.start(w));
      assert.ok(outcome.status === 'failed' && outcome.error?.name === 'RangeError');
      assert.equal(ran, runs);
    }
  });

  it('NonRetryableError ends the task at once', async (t) => {
    const w = workflow('w');
    let ran = 0;
    w.task('a', () => {
      ran++;
      throw new NonRetryableError('never', { cause: new Error('why') });
    });
    const rig = await openRig(t, { workflows: [w] });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.cause?.message, 'why');
    assert.equal(ran, 1);
  });

  it('RetryAfterError sets the delay', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    const at: number[] = [];
    w.task('a', { retry: { attempts: 2 } }, () => {
      at.push(clock.monotonic());
      throw new RetryAfterError('7s');
    });
    const rig = await openRig(t, { workflows: [w], clock });
    await finish(rig, await rig.client.start(w));
    assert.equal(at[1]! - at[0]!, 7000);
  });

  it('RetryAfterError with an invalid or too long delay fails the attempt and nothing else', async (t) => {
    for (const delay of ['soon', '9999999999w', -5, Number.NaN, 1e20]) {
      const w = workflow('w');
      w.task('a', { retry: { attempts: 2 } }, () => {
        throw new RetryAfterError(delay);
      });
      const rig = await openRig(t, { workflows: [w] });
      const outcome = await finish(rig, await rig.client.start(w));
      assert.ok(outcome.status === 'failed');
    }
  });

  for (const [what, thrown, shown] of [
    ['a string', 'text', /"text"/],
    ['undefined', undefined, /undefined/],
    ['null', null, /null/],
    ['an object', { reason: 1 }, /\{ reason: 1 \}/],
    ['a symbol', Symbol('s'), /Symbol\(s\)/],
  ] as const) {
    it(`${what} that a task throws fails it with TASK_FAILED and is shown in the error`, async (t) => {
      const w = workflow('w');
      w.task('a', { retry: { attempts: 1 } }, () => {
        throw thrown; // oxlint-disable-line typescript/only-throw-error -- the tested behaviour
      });
      const rig = await openRig(t, { workflows: [w] });
      const outcome = await finish(rig, await rig.client.start(w));
      assert.ok(outcome.status === 'failed');
      assert.equal(outcome.error?.code, 'TASK_FAILED');
      assert.match(outcome.error.message, shown);
    });
  }
});

describe('engine.md, Attempts: values that are not JSON, or too large', () => {
  for (const [kind, output, path] of [
    ['a function', { f: () => 1 }, 'output of a.f'],
    ['a BigInt', { n: 1n }, 'output of a.n'],
    ['NaN', [Number.NaN], 'output of a[0]'],
    ['a Date', { at: new Date() }, 'output of a.at'],
    ['a Map', { m: new Map() }, 'output of a.m'],
  ] as const) {
    it(`${kind} in an output is NOT_SERIALIZABLE with the path, without a retry`, async (t) => {
      const w = workflow('w');
      let ran = 0;
      w.task('a', () => {
        ran++;
        return output as never;
      });
      const rig = await openRig(t, { workflows: [w] });
      const outcome = await finish(rig, await rig.client.start(w));
      assert.ok(outcome.status === 'failed');
      assert.equal(outcome.error?.code, 'NOT_SERIALIZABLE');
      assert.ok(outcome.error.message.startsWith(path), outcome.error.message);
      assert.equal(ran, 1);
    });
  }

  it('an output over maxPayload is PAYLOAD_TOO_LARGE; nothing is cut', async (t) => {
    const w = workflow('w');
    w.task('a', () => 'x'.repeat(200));
    const rig = await openRig(t, { workflows: [w], maxPayload: 100 });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.code, 'PAYLOAD_TOO_LARGE');
  });

  it('an input that is not JSON, or too large, leaves no execution', async (t) => {
    const w = workflow('w');
    w.task('a', () => 1);
    const { client } = await openRig(t, { workflows: [w], maxPayload: 100 });
    await assert.rejects(client.start(w, { at: new Date() }), { code: 'NOT_SERIALIZABLE', path: 'input.at' });
    await assert.rejects(client.start(w, 'x'.repeat(200)), { code: 'PAYLOAD_TOO_LARGE' });
    assert.deepEqual((await client.executions.list()).items, []);
  });
});

describe('engine.md, Attempts: timeout', () => {
  it('ctx.signal fires on timeout; the attempt fails with TASK_TIMED_OUT after task.timed_out', async (t) => {
    const w = workflow('w');
    let reason: unknown;
    w.task('a', { timeout: '10s', retry: { attempts: 1 } }, async ({ signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      reason = signal.reason;
      throw new Error('stopped');
    });
    const rig = await openRig(t, { workflows: [w] });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.code, 'TASK_TIMED_OUT');
    assert.match(outcome.error.message, /attempt 1 of task 'a'.*10000 ms/);
    assert.equal(Reflect.get(reason as object, 'code'), 'TASK_TIMED_OUT');
    const types = (await rig.client.executions.events(outcome.executionId)).map(({ type }) => type);
    assert.deepEqual(types.slice(-3), ['task.timed_out', 'task.failed', 'execution.failed']);
  });

  it('a timeout is retried: task.timed_out, then task.retrying', async (t) => {
    const w = workflow('w');
    const a = w.task('a', { timeout: '1s', retry: { attempts: 2 } }, async ({ signal, attempt }) => {
      if (attempt === 1) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return attempt;
    });
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done] });
    const outcome = await finish(rig, await rig.client.start(done));
    assert.ok(outcome.status === 'completed' && outcome.output === 2);
    const types = (await rig.client.executions.events(outcome.executionId)).map(({ type }) => type);
    const at = types.indexOf('task.timed_out');
    assert.equal(types[at + 1], 'task.retrying');
  });

  it('a task that ignores its signal is abandoned after the grace period, and its late result is refused', async (t) => {
    const w = workflow('w');
    let answer: (value: number) => void = () => undefined;
    let lateStep: Promise<unknown> | undefined;
    const a = w.task('a', { timeout: '1s', retry: { attempts: 2 } }, async ({ attempt, step }) => {
      if (attempt === 2) return 2;
      const value = await new Promise<number>((resolve) => (answer = resolve));
      lateStep = step('late', () => 1);
      lateStep.catch(() => undefined);
      return value;
    });
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done], graceMs: 5000 });
    const handle = await rig.client.start(done);
    await rig.clock.advance(5900);
    assert.equal((await rig.client.executions.get(handle.id)).tasks[0]!.status, 'running');
    await rig.clock.advance(200);
    assert.equal((await rig.client.executions.get(handle.id)).tasks[0]!.status, 'waiting');
    answer(1);
    const outcome = await finish(rig, handle);
    assert.ok(outcome.status === 'completed' && outcome.output === 2);
    await assert.rejects(lateStep!, /abandoned|ended/);
    assert.equal(await rig.store.step(handle.id, 'a', -1, 'late'), undefined);
  });

  it('the slot of a task that ignores its signal is free again after the grace period', async (t) => {
    const w = workflow('w');
    w.task('stuck', { timeout: '1s', retry: { attempts: 1 } }, () => new Promise<number>(() => undefined));
    const next = workflow('next');
    next.task('a', () => 1);
    const rig = await openRig(t, { workflows: [w, next], concurrency: 1, graceMs: 1000 });
    const stuck = await rig.client.start(w);
    const waiting = await rig.client.start(next);
    assert.equal((await finish(rig, waiting)).status, 'completed');
    assert.equal((await finish(rig, stuck)).status, 'failed');
  });
});

describe('engine.md, Ctx: the context of a task', () => {
  it('ctx identifies the task; idempotencyKey is the same for every attempt, and differs between tasks', async (t) => {
    const w = workflow('w');
    const keys: string[] = [];
    const a = w.task('a', ({ idempotencyKey, attempt }) => {
      keys.push(idempotencyKey);
      if (attempt < 3) throw new Error('again');
      return 1;
    });
    w.task('b', { needs: { a } }, ({ idempotencyKey, executionId, workflow: name, task, attempt, schedule, env }) => {
      keys.push(idempotencyKey);
      assert.deepEqual([name, task, attempt, schedule], ['w', 'b', 1, undefined]);
      assert.equal(env['PATH'], process.env['PATH']);
      return executionId;
    });
    const rig = await openRig(t, { workflows: [w] });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.deepEqual(outcome.outputs, { a: 1, b: outcome.executionId });
    assert.equal(new Set(keys.slice(0, 3)).size, 1);
    assert.equal(new Set(keys).size, 2);
  });

  it('each attempt gets input and needs as stored, whatever another did to its copy', async (t) => {
    const w = workflow('w');
    const a = w.task('a', () => ({ list: [1] }));
    const seen: unknown[] = [];
    for (const name of ['b', 'c']) {
      w.task(name, { needs: { a } }, ({ needs, input, attempt }) => {
        seen.push([structuredClone(needs.a), structuredClone(input)]);
        needs.a.list.push(9);
        (input as Record<string, number>)['x'] = 9;
        if (attempt === 1) throw new Error('again');
        return 1;
      });
    }
    const rig = await openRig(t, { workflows: [w] });
    await finish(rig, await rig.client.start(w, { x: 1 }));
    assert.deepEqual(
      seen,
      Array.from({ length: 4 }, () => [{ list: [1] }, { x: 1 }]),
    );
  });

  it('ctx.step runs once and its result is remembered across attempts, also null', async (t) => {
    const w = workflow('w');
    let ran = 0;
    const a = w.task('a', async ({ attempt, step }) => {
      const first = await step('first', () => ({ n: ++ran }));
      const nothing = await step('nothing', () => {
        ran++;
        return null;
      });
      if (attempt < 3) throw new Error('again');
      return { first, nothing, attempt };
    });
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done] });
    const outcome = await finish(rig, await rig.client.start(done));
    assert.ok(outcome.status === 'completed');
    assert.deepEqual(outcome.output, { first: { n: 1 }, nothing: null, attempt: 3 });
    assert.equal(ran, 2);
  });

  it('a step that throws is not remembered', async (t) => {
    const w = workflow('w');
    const a = w.task('a', ({ attempt, step }) =>
      step('s', () => {
        if (attempt === 1) throw new Error('not yet');
        return attempt;
      }),
    );
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done] });
    const outcome = await finish(rig, await rig.client.start(done));
    assert.ok(outcome.status === 'completed' && outcome.output === 2);
  });

  it('two steps of one name in one attempt are refused: the second would get the result of the first', async (t) => {
    const w = workflow('w');
    w.task('a', { retry: { attempts: 1 } }, async ({ step }) => [await step('s', () => 1), await step('s', () => 2)]);
    const rig = await openRig(t, { workflows: [w] });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.ok(outcome.status === 'failed' && /step 's' was already used/.test(outcome.error?.message ?? ''));
  });

  it('a failed step may be repeated in the same attempt', async (t) => {
    const w = workflow('w');
    let tries = 0;
    const flaky = (): number => {
      if (++tries === 1) throw new Error('not yet');
      return tries;
    };
    const a = w.task('a', async ({ step }) => step('s', flaky).catch(() => step('s', flaky)));
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done] });
    const outcome = await finish(rig, await rig.client.start(done));
    assert.equal(outcome.status === 'completed' && outcome.output, 2);
  });

  it('two steps of one name at once are refused', async (t) => {
    const w = workflow('w');
    w.task('a', { retry: { attempts: 1 } }, async ({ step }) => {
      await Promise.all([step('s', () => 1), step('s', () => 2)]);
      return 1;
    });
    const rig = await openRig(t, { workflows: [w] });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.ok(outcome.status === 'failed' && /step 's' was already used/.test(outcome.error?.message ?? ''));
  });

  it('a step fails the task if its result is not JSON or its name cannot be stored', async (t) => {
    for (const [name, result] of [
      ['s', () => 1],
      ['', 1],
      ['a\0b', 1],
      ['\uD800', 1],
      ['x'.repeat(10_000), 1],
    ] as const) {
      const w = workflow('w');
      w.task('a', { retry: { attempts: 1 } }, async ({ step }) => {
        await step(name, () => result as never);
        return 1;
      });
      const rig = await openRig(t, { workflows: [w] });
      const outcome = await finish(rig, await rig.client.start(w));
      assert.ok(outcome.status === 'failed', name);
      assert.equal(outcome.task, 'a');
    }
  });

  it('ctx.log keeps at most 1,000 lines of an attempt, each as text that any database accepts', async (t) => {
    const w = workflow('w');
    w.task('a', ({ log }) => {
      log.info(`NUL \0 and \uD800`, { at: 1 });
      log.warn('not JSON', () => 1);
      log.error('x'.repeat(5_000_000));
      log.debug(undefined as unknown as string);
      for (let i = 0; i < 3000; i++) log.info('line', i);
      return 1;
    });
    const rig = await openRig(t, { workflows: [w] });
    const outcome = await finish(rig, await rig.client.start(w));
    assert.equal(outcome.status, 'completed');
    const rows = await rig.store.read(function* () {
      const { rows: found } = yield {
        text: 'select n, level, message, data from logs where execution_id = $1 order by n',
        params: [outcome.executionId],
      };
      return found;
    });
    assert.equal(rows.length, 1000);
    assert.deepEqual([rows[0]!['level'], rows[0]!['data']], ['info', '{"at":1}']);
    for (const { message } of rows) {
      const text = message as string;
      assert.ok(text.isWellFormed() && !text.includes('\0') && text.length < 50_000);
    }
  });

  it('ctx.progress reaches the hook, and a hook that throws has no effect', async (t) => {
    const w = workflow('w');
    const a = w.task('a', ({ progress }) => {
      progress(0.5, 'half');
      return 1;
    });
    const done = w.returns(a);
    const told: unknown[] = [];
    const rig = await openRig(t, {
      workflows: [done],
      onProgress: (progress) => {
        told.push([progress.task, progress.done, progress.text]);
        throw new Error('bad hook');
      },
    });
    assert.equal((await finish(rig, await rig.client.start(done))).status, 'completed');
    assert.deepEqual(told, [['a', 0.5, 'half']]);
  });

  it('an onEvent hook that throws has no effect', async (t) => {
    const w = workflow('w');
    w.task('a', () => 1);
    const rig = await openRig(t, {
      workflows: [w],
      onEvent: () => {
        throw new Error('bad hook');
      },
    });
    assert.equal((await finish(rig, await rig.client.start(w))).status, 'completed');
    assert.ok(rig.logged.some(({ level }) => level === 'error'));
  });
});

describe('engine.md, Sleep: short and long sleeps', () => {
  it('a short sleep holds no slot and has the output null', async (t) => {
    const w = workflow('w');
    const nap = w.sleep('nap', { for: '20s' });
    const a = w.task('a', { needs: { nap } }, ({ needs }) => needs.nap);
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done], concurrency: 1 });
    const handle = await rig.client.start(done);
    await rig.clock.advance(19_900);
    assert.equal((await rig.client.executions.get(handle.id)).status, 'running');
    await rig.clock.advance(200);
    assert.deepEqual((await handle.result()).output, null);
  });

  it('a long sleep is released to `waiting`, costs a row, and wakes at its time', async (t) => {
    const w = workflow('w');
    const nap = w.sleep('nap', { for: '3d' });
    const done = w.returns(nap);
    const rig = await openRig(t, { workflows: [done] });
    const handle = await rig.client.start(done);
    await rig.clock.settle();
    const { status, runner } = await rig.client.executions.get(handle.id);
    assert.deepEqual([status, runner, rig.engine.size], ['waiting', null, 0]);
    let ended = false;
    const result = handle.result().then(() => (ended = true));
    for (let day = 0; day < 3; day++) {
      await rig.clock.leap('23h');
      await rig.clock.advance(200);
      assert.ok(!ended);
    }
    await rig.clock.leap('3h');
    await rig.clock.advance(200);
    await result;
    const types = (await rig.client.executions.events(handle.id)).map(({ type }) => type);
    assert.deepEqual(types, [
      'execution.created',
      'task.waiting',
      'execution.waiting',
      'execution.resumed',
      'task.completed',
      'execution.completed',
    ]);
  });

  it('a long retry delay is released to `waiting` and ends at its time with the next attempt', async (t) => {
    const w = workflow('w');
    const a = w.task('a', { retry: { attempts: 2, delay: '10m', maxDelay: '10m', jitter: 0 } }, ({ attempt }) => {
      if (attempt === 1) throw new Error('later');
      return attempt;
    });
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done] });
    const handle = await rig.client.start(done);
    await rig.clock.settle();
    assert.equal((await rig.client.executions.get(handle.id)).status, 'waiting');
    assert.equal(rig.engine.size, 0);
    await rig.clock.leap('10m');
    await rig.clock.advance(200);
    assert.equal((await handle.result()).output, 2);
  });

  it('a long sleep does not release the execution while another task runs', async (t) => {
    const w = workflow('w');
    w.sleep('nap', { for: '1h' });
    let go: () => void = () => undefined;
    w.task('a', () => new Promise<number>((resolve) => (go = () => resolve(1))));
    const rig = await openRig(t, { workflows: [w] });
    const handle = await rig.client.start(w);
    await rig.clock.settle();
    assert.equal((await rig.client.executions.get(handle.id)).status, 'running');
    go();
    await rig.clock.settle();
    assert.equal((await rig.client.executions.get(handle.id)).status, 'waiting');
  });

  it('`until` accepts epoch ms and a Date; a past time is now; any other value fails the task', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    w.sleep('number', { until: () => clock.now() + 5000 });
    w.sleep('date', { until: () => new Date(clock.now() + 5000) });
    w.sleep('past', { until: () => 0 });
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    assert.equal((await finish(rig, handle)).status, 'completed');
    for (const bad of ['tomorrow', null, 1e20, -1e20, Number.NaN, new Date(Number.NaN)] as unknown[]) {
      const other = workflow('other');
      const nap = other.sleep('nap', { until: () => bad as number });
      other.task('handler', { needs: { nap: settled(nap) } }, ({ needs }) => needs.nap.status);
      const second = await openRig(t, { workflows: [other] });
      const outcome = await finish(second, await second.client.start(other));
      assert.deepEqual(outcome.outputs, { handler: 'failed' }, String(bad));
    }
  });
});
