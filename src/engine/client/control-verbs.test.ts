import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settled, unchecked, workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import type { Store } from '../../store/store.ts';
import { declareDead, openClient, openRig, openStores, release } from '../../testing/engine-rig.ts';
import type { Rig } from '../../testing/engine-rig.ts';

/** Three tasks in a chain; the test ends each of them. */
const chain = (ran: string[]) => {
  const gates = new Map<string, () => void>();
  const w = workflow('chain');
  const run = (name: string) => (): Promise<string> =>
    new Promise((resolve) => {
      ran.push(name);
      gates.set(name, () => resolve(name));
    });
  const a = w.task('a', run('a'));
  const b = w.task('b', { needs: { a } }, run('b'));
  const c = w.task('c', { needs: { b } }, run('c'));
  return { w: w.returns(c), end: (name: string) => gates.get(name)!() };
};

async function eventTypes(rig: Rig<ManualClock>, id: string): Promise<string[]> {
  return (await rig.client.executions.events(id)).map(({ type }) => type);
}

describe('engine.md, Control: pause and resume', () => {
  it('a pause lets running tasks end and starts nothing; a resume continues', async (t) => {
    const ran: string[] = [];
    const clock = new ManualClock();
    const { w, end } = chain(ran);
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    await clock.settle();
    assert.equal((await rig.client.pause(handle.id)).status, 'pausing');
    await clock.settle();
    assert.equal((await rig.client.executions.get(handle.id)).status, 'running');
    end('a');
    await clock.settle();
    const paused = await rig.client.executions.get(handle.id);
    assert.deepEqual([paused.status, paused.reason], ['paused', 'operator']);
    assert.deepEqual(ran, ['a']);
    assert.equal((await rig.client.pause(handle.id)).status, 'paused');
    assert.equal((await rig.client.resume(handle.id)).status, 'pending');
    await clock.settle();
    assert.deepEqual(ran, ['a', 'b']);
    end('b');
    await clock.settle();
    end('c');
    assert.equal((await handle.result()).output, 'c');
    assert.deepEqual(await eventTypes(rig, handle.id), [
      'execution.created',
      'task.started',
      'task.completed',
      'execution.paused',
      'execution.resumed',
      'task.started',
      'task.completed',
      'task.started',
      'task.completed',
      'execution.completed',
    ]);
  });

  it('a resume before the pause takes effect continues as if neither had happened', async (t) => {
    const ran: string[] = [];
    const clock = new ManualClock();
    const { w, end } = chain(ran);
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    await clock.settle();
    await rig.client.pause(handle.id);
    await clock.settle();
    assert.equal((await rig.client.resume(handle.id)).status, 'running');
    await clock.settle();
    for (const name of ['a', 'b', 'c']) {
      end(name);
      await clock.settle();
    }
    assert.deepEqual(ran, ['a', 'b', 'c']);
    assert.equal((await handle.outcome()).status, 'completed');
  });

  it('a pause of a waiting or pending execution takes effect at once, from any process; timers keep their times', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.sleep('nap', { for: '60s' });
    const rig = await openRig(t, { workflows: [w], store: mine!, clock });
    const elsewhere = openClient(t, other!, clock);
    const handle = await rig.client.start(w);
    await clock.advance(1000);
    assert.equal((await elsewhere.pause(handle.id)).status, 'paused');
    await clock.advance('90s');
    assert.equal((await elsewhere.executions.get(handle.id)).status, 'paused');
    assert.equal((await elsewhere.resume(handle.id)).status, 'pending');
    await clock.advance(1000);
    assert.equal((await handle.outcome()).status, 'completed');
  });

  it('an execution paused before its startAt still waits for it when resumed', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    w.task('a', () => 1);
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w, {}, { startAt: '1h' });
    assert.equal((await rig.client.pause(handle.id)).status, 'paused');
    assert.equal((await rig.client.resume(handle.id)).status, 'waiting');
    await clock.advance('59m');
    assert.equal((await rig.client.executions.get(handle.id)).status, 'waiting');
    await clock.advance('2m');
    assert.equal((await handle.outcome()).status, 'completed');
  });

  it('a paused execution keeps its signals and can be cancelled, and one that is not paused cannot be resumed', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    const done = w.returns(w.wait('go', { signal: 'go' }));
    const rig = await openRig(t, { workflows: [done], clock });
    const [one, two] = [await rig.client.start(done), await rig.client.start(done)];
    await clock.settle();
    await assert.rejects(rig.client.resume(one.id), { code: 'EXECUTION_STATE' });
    await rig.client.pause(one.id);
    await rig.client.signal(one.id, 'go', 1);
    await clock.settle();
    assert.equal((await rig.client.executions.get(one.id)).status, 'paused');
    await rig.client.resume(one.id);
    await clock.settle();
    assert.equal((await one.result()).output, 1);
    await rig.client.pause(two.id);
    assert.equal((await rig.client.cancel(two.id)).status, 'cancelled');
    await assert.rejects(rig.client.pause(two.id), { code: 'EXECUTION_ENDED' });
  });

  it('items of a map, retries and waits that are paused and resumed in one process begin once', async (t) => {
    const clock = new ManualClock();
    const ran: string[] = [];
    const w = workflow('w');
    w.map('m', { over: () => [0, 1, 2, 3], concurrency: 2 }, async ({ item }) => {
      ran.push(`m${item}`);
      await new Promise<void>((resolve) => clock.timer(1000, resolve));
      return item;
    });
    w.task('again', { retry: { attempts: 2, delay: '2s', jitter: 0 } }, ({ attempt }) => {
      ran.push(`again${attempt}`);
      if (attempt === 1) throw new Error('again');
      return 1;
    });
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    await clock.advance(500);
    await rig.client.pause(handle.id);
    await clock.advance(100);
    await rig.client.resume(handle.id);
    await clock.advance(100);
    await rig.client.pause(handle.id);
    await clock.advance(5000);
    assert.equal((await rig.client.executions.get(handle.id)).status, 'paused');
    assert.deepEqual(ran.toSorted(), ['again1', 'm0', 'm1']);
    await rig.client.resume(handle.id);
    await clock.advance(5000);
    assert.equal((await handle.outcome()).status, 'completed');
    assert.deepEqual(ran.toSorted(), ['again1', 'again2', 'm0', 'm1', 'm2', 'm3']);
  });
});

describe('engine.md, Control: retry', () => {
  const flaky = (state: { works: boolean }, ran: string[]) => {
    const w = workflow('flaky', { input: unchecked<{ n: number }>() });
    const a = w.task('a', ({ input }) => {
      ran.push('a');
      return input.n;
    });
    const b = w.task('b', { needs: { a }, retry: { attempts: 1 } }, ({ needs, attempt }) => {
      ran.push(`b${attempt}`);
      if (!state.works) throw new Error('not yet');
      return needs.a + 1;
    });
    const c = w.task('c', { needs: { b } }, ({ needs }) => needs.b + 1);
    return w.returns(c);
  };

  it('a retry keeps completed outputs, never repeats attempt numbers, and runs skipped tasks', async (t) => {
    const state = { works: false };
    const ran: string[] = [];
    const w = flaky(state, ran);
    const clock = new ManualClock();
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w, { n: 1 });
    assert.equal((await handle.outcome()).status, 'failed');
    state.works = true;
    assert.equal((await rig.client.retry(handle.id)).status, 'pending');
    await clock.settle();
    assert.equal((await handle.result()).output, 3);
    assert.deepEqual(ran, ['a', 'b1', 'b2']);
    const types = await eventTypes(rig, handle.id);
    assert.deepEqual(types.slice(types.indexOf('execution.failed')), [
      'execution.failed',
      'execution.retried',
      'task.started',
      'task.completed',
      'task.completed',
      'execution.completed',
    ]);
    await assert.rejects(rig.client.retry(handle.id), { code: 'EXECUTION_STATE', status: 'completed' });
  });

  it('a retry continues a cancelled execution, and a map with its unfinished items', async (t) => {
    const clock = new ManualClock();
    const ran: number[] = [];
    let fails = true;
    const w = workflow('w');
    const m = w.map('m', { over: () => [0, 1, 2], retry: { attempts: 1 }, concurrency: 1 }, ({ item }) => {
      ran.push(item);
      if (item === 1 && fails) throw new Error('no');
      return item;
    });
    const done = w.returns(m);
    const rig = await openRig(t, { workflows: [done], clock });
    const handle = await rig.client.start(done);
    assert.equal((await handle.outcome()).status, 'failed');
    fails = false;
    await rig.client.retry(handle.id);
    await clock.settle();
    assert.deepEqual((await handle.result()).output, [0, 1, 2]);
    assert.deepEqual(ran, [0, 1, 1, 2]);
    const napping = workflow('napping');
    napping.sleep('nap', { for: '1d' });
    const other = await openRig(t, { workflows: [napping], clock });
    const cancelled = await other.client.start(napping);
    await clock.settle();
    await other.client.cancel(cancelled.id);
    await other.client.retry(cancelled.id);
    await clock.advance(1000);
    assert.equal((await other.client.executions.get(cancelled.id)).status, 'waiting');
  });

  it('a retry is refused for an execution that a user paused, and untaken signals are kept for a retried one', async (t) => {
    const clock = new ManualClock();
    let fails = true;
    const w = workflow('w');
    const a = w.task('a', { retry: { attempts: 1 } }, () => {
      if (fails) throw new Error('no');
    });
    const done = w.returns(w.wait('go', { needs: { a }, signal: 'go' }));
    const rig = await openRig(t, { workflows: [done], clock });
    const early = await rig.client.start(done, {}, { startAt: '3d' });
    await rig.client.pause(early.id);
    await assert.rejects(rig.client.retry(early.id), { code: 'EXECUTION_STATE', status: 'paused' });
    const handle = await rig.client.start(done, {}, { startAt: '1s' });
    await rig.client.signal(handle.id, 'go', 7);
    await clock.advance(2000);
    assert.equal((await handle.outcome()).status, 'failed');
    fails = false;
    await rig.client.retry(handle.id);
    await clock.advance(100);
    assert.equal((await handle.result()).output, 7);
  });

  it('a retry of a parent starts a new child', async (t) => {
    const clock = new ManualClock();
    let works = false;
    const kid = workflow('kid');
    const kidDone = kid.returns(
      kid.task('k', { retry: { attempts: 1 } }, () => {
        if (!works) throw new Error('no');
        return 5;
      }),
    );
    const w = workflow('parent');
    const done = w.returns(w.child('kid', kidDone, { input: () => ({}) }));
    const rig = await openRig(t, { workflows: [done], clock });
    rig.engine.catalog.add([(await import('./start.ts')).loadEmbedded(kidDone)]);
    const handle = await rig.client.start(done);
    await clock.advance(100);
    assert.equal((await handle.outcome()).status, 'failed');
    works = true;
    await rig.client.retry(handle.id);
    await clock.advance(100);
    assert.equal((await handle.result()).output, 5);
    const statuses = (await rig.client.executions.list({ workflow: 'kid' })).items.map(({ status }) => status);
    assert.deepEqual(statuses.toSorted(), ['completed', 'failed']);
  });
  for (const then of ['a cancel and a retry', 'a pause, a cancel and a retry', 'a fork'] as const) {
    it(`durability.md, Wide maps: a runner that died between the commits of a map's items, then ${then}: all of them run`, async (t) => {
      const clock = new ManualClock();
      const [mine, other] = await openStores(t, 2, clock);
      const build = (ran: Set<number>) => {
        const w = workflow('w');
        const m = w.map(
          'm',
          { over: () => Array.from({ length: 2500 }, (_, i) => i) },
          ({ item }) => ran.add(item).size,
        );
        return w.returns(w.task('count', { needs: { m } }, ({ needs }) => needs.m.length));
      };
      let chunks = 0;
      // its second commit with items never returns
      const answer = Promise.withResolvers<never>();
      const commit: Store['commit'] = (batch) => {
        const items = batch.transitions.some(({ tasks }) => tasks.some(({ item }) => item >= 0));
        return items && ++chunks === 2 ? answer.promise : mine!.commit(batch);
      };
      const frozen = new ManualClock();
      const dies = { store: { ...mine!, commit }, clock: frozen, graceMs: 0 };
      const rig = await openRig(t, { ...dies, workflows: [build(new Set())] });
      release(t, () => answer.reject(new Error('away')));
      const { id } = await rig.client.start('w');
      await frozen.settle();
      await declareDead(other!, rig.engine.id);
      await other!.releaseOrphans();
      assert.equal((await other!.tasks(id)).length, 1000);
      const client = openClient(t, other!, clock);
      if (then.startsWith('a pause')) assert.equal((await client.pause(id)).status, 'paused');
      if (then !== 'a fork') {
        assert.equal((await client.cancel(id)).status, 'cancelled');
        await client.retry(id);
      }
      const again = then === 'a fork' ? (await client.fork(id, { from: 'm' })).id : id;
      const ran = new Set<number>();
      const next = await openRig(t, { workflows: [build(ran)], store: other!, clock });
      await clock.advance(200);
      assert.equal((await next.client.handle(again).result()).output, 2500);
      if (then !== 'a fork') assert.equal(ran.size, 2500);
    });
  }
});

describe('engine.md, Control: fork', () => {
  it('a fork reuses everything not downstream of the task; lineage is kept, and both have an event', async (t) => {
    const ran: string[] = [];
    const w = workflow('w', { input: unchecked<{ n: number }>() });
    const note = (name: string): void => void ran.push(name);
    const a = w.task('a', ({ input }) => (note('a'), input.n));
    const b = w.task('b', { needs: { a } }, ({ needs }) => (note('b'), needs.a + 1));
    const side = w.task('side', () => (note('side'), 'side'));
    const c = w.task('c', { needs: { b, side } }, ({ needs }) => (note('c'), `${needs.b} ${needs.side}`));
    const done = w.returns(c);
    const clock = new ManualClock();
    const rig = await openRig(t, { workflows: [done], clock });
    const first = await rig.client.execute(done, { n: 1 }, { tags: { team: 'x' } });
    ran.length = 0;
    const fork = await rig.client.fork(first.executionId, { from: 'b' });
    await clock.settle();
    assert.equal((await fork.result()).output, '2 side');
    assert.deepEqual(ran, ['b', 'c']);
    const detail = await rig.client.executions.get(fork.id);
    assert.deepEqual([detail.forked, detail.tags], [{ from: first.executionId, task: 'b' }, { team: 'x' }]);
    const events = await rig.client.executions.events(first.executionId);
    assert.deepEqual(events.at(-1)!.data, { to: fork.id, task: 'b' });
    assert.deepEqual((await eventTypes(rig, fork.id)).slice(0, 3), [
      'execution.created',
      'execution.forked',
      'execution.started',
    ]);
    await assert.rejects(rig.client.fork(first.executionId, { from: 'bb' }), { code: 'TASK_NOT_FOUND', task: 'bb' });
  });

  it('a fork repeats failed tasks everywhere; a running execution can be forked too, and its owner writes the event', async (t) => {
    const clock = new ManualClock();
    let fails = true;
    const w = workflow('w');
    const ok = w.task('ok', () => 1);
    const bad = w.task('bad', { retry: { attempts: 1 } }, () => {
      if (fails) throw new Error('no');
      return 2;
    });
    const hang = w.task(
      'hang',
      { needs: { ok } },
      () => new Promise<number>((resolve) => clock.timer(1000, () => resolve(3))),
    );
    const sum = w.task('sum', { needs: { ok, hang, bad: settled(bad) } }, ({ needs }) => needs.bad.status);
    const done = w.returns(sum);
    const rig = await openRig(t, { workflows: [done], clock });
    const handle = await rig.client.start(done);
    await clock.advance(100);
    fails = false;
    const fork = await rig.client.fork(handle.id, { from: 'sum' });
    await clock.advance(5000);
    assert.equal((await fork.result()).output, 'completed');
    assert.equal((await handle.result()).output, 'failed');
    assert.ok((await eventTypes(rig, handle.id)).includes('execution.forked'));
    assert.deepEqual(
      (await rig.client.executions.events(fork.id)).filter(({ task }) => task === 'ok'),
      [],
    );
  });
});
