import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settled, workflow } from '../../core/definition/workflow.ts';
import type { Store } from '../../store/store.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openClient, openRig, openStores, release, openOneStore } from '../../testing/engine-rig.ts';
import { ExecutionFailedError } from './execution-failed.ts';

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

const napping = () => {
  const w = workflow('napping');
  const first = w.task('first', () => 1);
  w.sleep('nap', { needs: { first }, for: '1d' });
  return w;
};

describe('engine.md, control: cancel', () => {
  it('of a running one: the signal fires, every task that has not ended becomes cancelled, and so the execution', async (t) => {
    const w = workflow('w');
    const first = w.task('first', () => 1);
    let reason: unknown;
    const long = w.task('long', { needs: { first } }, async ({ signal }) => {
      await untilAborted(signal);
      reason = signal.reason;
      return 1;
    });
    w.task('after', { needs: { long } }, () => 1);
    w.sleep('nap', { for: '20s' });
    const { client, clock, engine } = await openRig(t, { workflows: [w] });
    const handle = await client.start(w);
    const result = handle.result();
    result.catch(() => undefined);
    await clock.settle();
    assert.deepEqual(await client.cancel(handle.id), { id: handle.id, status: 'cancelling' });
    await clock.settle();
    await assert.rejects(result, (error) => {
      assert.ok(error instanceof ExecutionFailedError);
      assert.deepEqual([error.code, error.status, error.task], ['EXECUTION_FAILED', 'cancelled', null]);
      return true;
    });
    assert.equal(Reflect.get(reason as object, 'code'), 'TASK_CANCELLED');
    assert.equal(engine.size, 0);
    const { status, tasks, output } = await client.executions.get(handle.id);
    assert.deepEqual([status, output], ['cancelled', null]);
    const how = Object.fromEntries(tasks.map((task) => [task.name, task.status]));
    assert.deepEqual(how, { first: 'completed', long: 'cancelled', after: 'cancelled', nap: 'cancelled' });
    const types = (await client.executions.events(handle.id)).map(({ type }) => type);
    assert.equal(types.indexOf('execution.cancelling') + 4, types.lastIndexOf('execution.cancelled'));
    assert.equal(types.at(-1), 'execution.cancelled');
  });

  it('does not wait for a function that ignores its signal, and frees its slot after the grace period', async (t) => {
    const w = workflow('w');
    w.task('deaf', () => new Promise<number>(() => undefined));
    const next = workflow('next');
    next.task('a', () => 1);
    const { client, clock } = await openRig(t, { workflows: [w, next], concurrency: 1, graceMs: 1000 });
    const handle = await client.start(w);
    await clock.settle();
    await client.cancel(handle.id);
    assert.equal((await handle.outcome()).status, 'cancelled');
    const waiting = await client.start(next);
    await clock.advance(900);
    assert.equal((await client.executions.get(waiting.id)).status, 'running');
    await clock.advance(200);
    assert.equal((await waiting.outcome()).status, 'completed');
  });

  it('of a pending one, which nobody owns, is applied at once', async (t) => {
    const [rig, w] = [await openRig(t), napping()];
    const handle = await rig.client.start(w);
    assert.equal((await rig.client.executions.get(handle.id)).status, 'pending');
    assert.deepEqual(await rig.client.cancel(handle.id), { id: handle.id, status: 'cancelled' });
    assert.equal((await handle.outcome()).status, 'cancelled');
    const types = (await rig.client.executions.events(handle.id)).map(({ type }) => type);
    assert.deepEqual(types, ['execution.created', 'execution.cancelling', 'execution.cancelled']);
  });

  it('of a waiting one, which nobody owns, is applied at once and its open tasks are cancelled', async (t) => {
    const w = napping();
    const { client, clock } = await openRig(t, { workflows: [w] });
    const handle = await client.start(w);
    await clock.settle();
    assert.equal((await client.executions.get(handle.id)).status, 'waiting');
    assert.equal((await client.cancel(handle.id)).status, 'cancelled');
    const { tasks, status } = await client.executions.get(handle.id);
    assert.equal(status, 'cancelled');
    const how = Object.fromEntries(tasks.map((task) => [task.name, task.status]));
    assert.deepEqual(how, { first: 'completed', nap: 'cancelled' });
    await clock.leap('2d');
    await clock.advance(200);
    assert.equal((await client.executions.get(handle.id)).status, 'cancelled');
  });

  it('of one that has ended is EXECUTION_ENDED with its state; of one that there is not, EXECUTION_NOT_FOUND', async (t) => {
    const w = workflow('w');
    w.task('a', () => 1);
    const { client } = await openRig(t, { workflows: [w] });
    const { executionId } = await client.execute(w);
    await assert.rejects(client.cancel(executionId), { code: 'EXECUTION_ENDED', status: 'completed' });
    await assert.rejects(client.cancel('nobody'), { code: 'EXECUTION_NOT_FOUND' });
  });

  it('twice is no harm', async (t) => {
    const w = workflow('w');
    const asked = Promise.withResolvers<void>();
    w.task('a', async ({ signal }) => {
      await untilAborted(signal);
      await asked.promise; // it ends only after both have come
      return 1;
    });
    const { client } = await openRig(t, { workflows: [w] });
    const handle = await client.start(w);
    await Promise.all([client.cancel(handle.id), client.cancel(handle.id)]);
    asked.resolve();
    assert.equal((await handle.outcome()).status, 'cancelled');
    const types = (await client.executions.events(handle.id)).map(({ type }) => type);
    assert.equal(types.filter((type) => type === 'execution.cancelling').length, 1);
  });

  it('asked on another connection reaches the owner at its next look', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task('a', async ({ signal }) => {
      await untilAborted(signal);
      return 1;
    });
    const { client } = await openRig(t, { workflows: [w], store: one!, clock });
    const handle = await client.start(w);
    await clock.advance(1000);
    await openClient(t, two!, clock).cancel(handle.id);
    await clock.advance(100);
    assert.equal((await handle.outcome()).status, 'cancelled');
  });

  it('durability.md, Inbox: cancel that comes when an execution is just about to wait is not lost', async (t) => {
    const clock = new ManualClock();
    const [store] = await openStores(t, 1, clock);
    const w = workflow('w');
    let go: () => void = () => undefined;
    w.task('a', () => new Promise<number>((resolve) => (go = () => resolve(1))));
    w.sleep('nap', { for: '1d' });
    // the mail is taken in after the commit that leaves nothing to do, and before the one that lets the execution go
    let notify = (): void => undefined;
    const commit: Store['commit'] = async (batch) => {
      const result = await store!.commit(batch);
      if (
        batch.transitions.some(({ tasks }) => tasks.some(({ task, status }) => task === 'a' && status === 'completed'))
      ) {
        await store!.cancel(batch.transitions[0]!.id, 'default');
        process.nextTick(() => notify());
      }
      return result;
    };
    const rig = await openRig(t, { workflows: [w], store: { ...store!, commit }, clock });
    notify = () => rig.engine.notify();
    const handle = await rig.client.start(w);
    await clock.settle();
    go();
    await clock.settle();
    const { status, tasks } = await rig.client.executions.get(handle.id);
    assert.deepEqual([status, tasks.map((task) => task.status).toSorted()], ['cancelled', ['cancelled', 'completed']]);
  });
});

describe('interfaces.md: close', () => {
  it('lets attempts end for `drain`, and begins no other', async (t) => {
    const w = workflow('w');
    const ran: string[] = [];
    let go: () => void = () => undefined;
    const a = w.task('a', async () => {
      ran.push('a');
      await new Promise<void>((resolve) => (go = resolve));
      return 1;
    });
    w.task('b', { needs: { a } }, () => ran.push('b'));
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const rig = await openRig(t, { workflows: [w], store: one!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    const closing = rig.engine.close(10_000);
    await clock.advance(1000);
    await assert.rejects(rig.client.start(w), { code: 'RUNNER_CLOSED' });
    go();
    await clock.advance(1000);
    await closing;
    assert.deepEqual(ran, ['a']);
    const record = await two!.execution(id);
    assert.deepEqual([record!.status, record!.owner], ['pending', null]);
    assert.deepEqual(
      (await two!.tasks(id)).map(({ task, status }) => [task, status]),
      [['a', 'completed']],
    );
    assert.deepEqual(await two!.runners(), []);
    const types = (await two!.events(id, 0, 100)).map(({ type }) => type);
    assert.deepEqual(types.slice(-1), ['execution.released']);
  });

  it('aborts what does not end in time and hands the rest back: another runner goes on, and no attempt is charged', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    let stepped = 0;
    const ran: string[] = [];
    const build = (who: string) => {
      const w = workflow('w');
      const first = w.task('first', () => ran.push(`${who} first`));
      const long = w.task('long', { needs: { first }, retry: { attempts: 2 } }, async ({ signal, step, attempt }) => {
        ran.push(`${who} long ${attempt}`);
        await step('s', () => ++stepped);
        if (who === 'one') await untilAborted(signal);
        if (attempt < 3) throw new Error('cut');
        return attempt;
      });
      return w.returns(long);
    };
    const rig = await openRig(t, { workflows: [build('one')], store: one!, clock });
    const { id } = await rig.client.start(rig.client === undefined ? build('x') : build('one'));
    await clock.settle();
    const closing = rig.engine.close(3000);
    await clock.advance(2900);
    assert.equal((await two!.execution(id))!.status, 'running');
    await clock.advance(200);
    await closing;
    assert.equal((await two!.execution(id))!.status, 'pending');
    const second = await openRig(t, { workflows: [build('two')], store: two!, clock });
    await clock.advance(5000);
    const outcome = await second.client.handle(id).outcome();
    // attempt 1 was cut and is not charged: 2 and 3 are the two that there may be
    assert.ok(outcome.status === 'completed', JSON.stringify(outcome));
    assert.equal(outcome.output, 3);
    assert.deepEqual(ran, ['one first', 'one long 1', 'two long 2', 'two long 3']);
    assert.equal(stepped, 1);
    const types = (await second.client.executions.events(id)).map(({ type }) => type);
    assert.equal(types[types.indexOf('execution.released') + 1], 'execution.resumed');
  });

  it('a task that waits for a retry goes on in another runner, at its time', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const at: number[] = [];
    const w = workflow('w');
    w.task('a', { retry: { attempts: 2, delay: '20s', jitter: 0 } }, ({ attempt }) => {
      at.push(clock.monotonic());
      if (attempt === 1) throw new Error('no');
      return 1;
    });
    const rig = await openRig(t, { workflows: [w], store: one!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    await rig.engine.close(0);
    const second = await openRig(t, { workflows: [w], store: two!, clock });
    await clock.advance(21_000);
    assert.equal((await second.client.handle(id).outcome()).status, 'completed');
    assert.equal(at[1]! - at[0]!, 20_000);
  });

  it('a task with one attempt that it cuts fails with TASK_INTERRUPTED', async (t) => {
    const w = workflow('w');
    w.task('once', { retry: { attempts: 1 } }, async ({ signal }) => {
      await untilAborted(signal);
      signal.throwIfAborted();
    });
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const rig = await openRig(t, { workflows: [w], store: one!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    await rig.engine.close(0);
    const record = (await two!.execution(id))!;
    assert.equal(record.status, 'failed');
    assert.equal((JSON.parse(record.error!) as { code: string }).code, 'TASK_INTERRUPTED');
  });

  it('whoever waits for a result is told; later calls are refused; a second close does nothing', async (t) => {
    const w = napping();
    const rig = await openRig(t, { workflows: [w] });
    const handle = await rig.client.start(w);
    const result = handle.result();
    result.catch(() => undefined);
    await rig.close();
    await assert.rejects(result, { code: 'RUNNER_CLOSED' });
    await assert.rejects(rig.client.start(w), { code: 'RUNNER_CLOSED' });
    await assert.rejects(handle.outcome(), { code: 'RUNNER_CLOSED' });
    await rig.engine.close(0);
  });

  it('ends also where the runner was declared dead meanwhile, and writes nothing more', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task('a', async ({ signal }) => {
      await untilAborted(signal);
      return 1;
    });
    const rig = await openRig(t, { workflows: [w], store: one!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    const [runner] = await two!.runners();
    await two!.markDead(runner!.id, runner!.leaseUntil);
    let closed = false;
    const closing = rig.engine.close(0).then(() => (closed = true));
    await clock.advance(20_000);
    assert.ok(closed, 'it has closed');
    await closing;
    const record = await two!.execution(id);
    assert.deepEqual([record!.status, record!.owner], ['running', runner!.id]);
  });

  it('ends also where the database stays away: other runners find what could not be released', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    let away = false;
    const commit: Store['commit'] = (batch) => (away ? Promise.reject(new Error('away')) : one!.commit(batch));
    const w = workflow('w');
    w.task('a', async ({ signal }) => {
      await untilAborted(signal);
      return 1;
    });
    const rig = await openRig(t, { workflows: [w], store: { ...one!, commit }, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    away = true;
    let closed = false;
    const closing = rig.engine.close(1000).then(() => (closed = true));
    await clock.advance(30_000);
    assert.ok(closed, 'it has closed');
    await closing;
    assert.ok(rig.logged.some(({ level, message }) => level === 'error' && /could not be released/.test(message)));
    const second = await openRig(t, { workflows: [w], store: two!, clock });
    await clock.advance(6000);
    assert.equal((await two!.execution(id))!.owner, second.engine.id);
  });
});

describe('engine.md, attempts: at most once', () => {
  it('a task with one attempt begins only after its start is durable', async (t) => {
    const clock = new ManualClock();
    const store = await openOneStore(clock);
    release(t, () => store.close());
    let away = false;
    const commit: Store['commit'] = (batch) => (away ? Promise.reject(new Error('away')) : store.commit(batch));
    const w = workflow('w');
    let go: () => void = () => undefined;
    const ran: string[] = [];
    const gate = w.task('gate', () => new Promise<number>((resolve) => (go = () => resolve(1))));
    const nap = w.sleep('nap', { needs: { gate }, for: '5s' });
    for (const [name, attempts] of [
      ['once', 1],
      ['often', 2],
    ] as const) {
      w.task(name, { needs: { nap }, retry: { attempts } }, () => ran.push(name));
    }
    const rig = await openRig(t, { workflows: [w], store: { ...store, commit }, clock });
    const handle = await rig.client.start(w);
    await clock.settle();
    go();
    await clock.advance(5000);
    assert.deepEqual(ran.toSorted(), ['often', 'once']);
    const seqs = await rig.client.executions.events(handle.id);
    // written ahead of its end, where the other one's start may be left out
    assert.ok(seqs.some(({ type, task }) => type === 'task.started' && task === 'once'));
    assert.ok(!seqs.some(({ type, task }) => type === 'task.started' && task === 'often'));
    ran.length = 0;
    const second = await rig.client.start(w);
    await clock.settle();
    go();
    await clock.advance(4900);
    // no other commit is on its way when the sleep ends
    const batches: string[][] = [];
    const slow = rig.store;
    Object.assign(slow, {
      commit: async (batch: Parameters<Store['commit']>[0]) => {
        batches.push(
          batch.transitions.flatMap(({ events }) => events.map(({ type, task }) => `${type} ${task ?? ''}`)),
        );
        if (batches.length === 2) assert.ok(!ran.includes('once'), 'its start is not durable yet');
        return store.commit(batch);
      },
    });
    away = false;
    await clock.advance(200);
    assert.equal((await second.outcome()).status, 'completed');
    assert.ok(batches[1]!.includes('task.started once'), JSON.stringify(batches));
    await rig.close();
  });

  it('after a crash it fails with TASK_INTERRUPTED and never runs again; who handles that runs once', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const build = () => {
      const w = workflow('w');
      const once = w.task('once', { retry: { attempts: 1 } }, () => {
        ran.push('once');
        return new Promise<number>(() => undefined);
      });
      const handler = w.task(
        'handler',
        { needs: { once: settled(once) }, when: () => ran.push('asked') > 0 },
        async ({ needs }) => {
          ran.push('handler');
          return needs.once.status === 'failed' ? needs.once.error.code : '';
        },
      );
      return w.returns(handler);
    };
    const w = build();
    const rig = await openRig(t, { workflows: [w], store: one!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    assert.deepEqual(ran, ['once']);
    const [runner] = await two!.runners();
    await two!.markDead(runner!.id, runner!.leaseUntil);
    const second = await openRig(t, { workflows: [build()], store: two!, clock });
    const outcome = await second.client.handle(id).outcome();
    assert.ok(outcome.status === 'completed');
    assert.equal(outcome.output, 'TASK_INTERRUPTED');
    assert.deepEqual(ran, ['once', 'asked', 'handler']);
  });
});
