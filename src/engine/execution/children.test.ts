import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { settled, unchecked, workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import type { Store } from '../../store/store.ts';
import { openOneStore, openRig, openStores, release } from '../../testing/engine-rig.ts';
import { rigCount } from '../../testing/rig-store.ts';

const square = () => {
  const w = workflow('square', { input: z.object({ n: z.number() }) });
  return w.returns(w.task('s', ({ input }) => input.n * input.n));
};

describe('engine.md, Child: a task runs another workflow', () => {
  it('a child starts another workflow and returns its output; the parent is released meanwhile', async (t) => {
    const clock = new ManualClock();
    const slow = workflow('slow', { input: unchecked<{ n: number }>() });
    const slept = slow.sleep('nap', { for: '1h' });
    const slowDone = slow.returns(slow.task('s', { needs: { slept } }, ({ input }) => input.n + 1));
    const w = workflow('parent');
    const kid = w.child('kid', slowDone, { input: () => ({ n: 1 }) });
    const done = w.returns(w.task('after', { needs: { kid } }, ({ needs }) => needs.kid + 1));
    const rig = await openRig(t, { workflows: [done, slowDone], clock });
    const handle = await rig.client.start(done);
    await clock.advance(1000);
    assert.equal(rig.engine.size, 0);
    const { items } = await rig.client.executions.list({ workflow: 'slow' });
    const child = await rig.client.executions.get(items[0]!.id);
    assert.deepEqual(child.parent, { id: handle.id, task: 'kid' });
    await clock.advance('1h');
    await clock.advance(1000);
    assert.equal((await handle.result()).output, 3);
  });

  it('a child gets {} for an absent input, and null for null', async (t) => {
    const echo = workflow('echo');
    const said = echo.returns(echo.task('e', ({ input }) => [input]));
    const w = workflow('parent');
    const absent = w.child('absent', said, { input: () => undefined as never });
    const none = w.child('none', said, { input: () => null });
    const done = w.returns(w.task('both', { needs: { absent, none } }, ({ needs }) => [needs.absent, needs.none]));
    const clock = new ManualClock();
    const rig = await openRig(t, { workflows: [done, said], clock });
    const handle = await rig.client.start(done);
    await clock.advance(5000);
    assert.deepEqual((await handle.result()).output, [[{}], [null]]);
  });

  it('a thousand parents in a runner with room for ten do not block', async (t) => {
    const clock = new ManualClock();
    const w = workflow('parent', { input: unchecked<{ n: number }>() });
    const kid = w.child('kid', square(), { input: ({ input }) => ({ n: input.n }) });
    const done = w.returns(kid);
    const rig = await openRig(t, { workflows: [done], clock, maxExecutions: 10 });
    const inputs = Array.from({ length: rigCount(1000) }, (_, n) => ({ n }));
    // the child is available with its parent, though only the parent was passed
    rig.engine.catalog.add([(await import('../client/start.ts')).loadEmbedded(square())]);
    const handles = await rig.client.startMany(done, inputs);
    await clock.advance(10_000);
    const results = await Promise.all(handles.map((handle) => handle.result()));
    assert.deepEqual(
      results.map(({ output }) => output),
      inputs.map(({ n }) => n * n),
    );
  });

  /** A workflow that starts itself twice. */
  const endless = () => {
    const w = workflow('endless');
    w.child('left', 'endless', { input: () => ({}) });
    w.child('right', 'endless', { input: () => ({}) });
    return w;
  };

  it('a workflow that starts itself without an end is stopped at a depth', async (t) => {
    const clock = new ManualClock();
    const rig = await openRig(t, { workflows: [endless()], clock, maxChildDepth: 3 });
    const handle = await rig.client.start('endless');
    await clock.advance(20_000);
    const outcome = await handle.outcome();
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.code, 'TOO_MANY_CHILDREN');
    assert.match(JSON.stringify(outcome.error), /nested more than 3 deep \(option maxChildDepth\)/);
    const { items } = await rig.client.executions.list({ limit: 1000 });
    // a failed task cancels the rest of its family, so not each of the 15 has begun
    assert.ok(items.length <= 15, String(items.length));
    assert.ok(items.every(({ status }) => status === 'failed' || status === 'cancelled'));
  });

  it('a root has a limited number of open descendants, and other executions go on', async (t) => {
    const clock = new ManualClock();
    const fine = workflow('fine');
    fine.task('a', () => 1);
    const store = await openOneStore(clock);
    release(t, () => store.close());
    let most = 0;
    const openDescendants: Store['openDescendants'] = async (rootId, limit) => {
      const open = await store.openDescendants(rootId, 1000);
      most = Math.max(most, open);
      return Math.min(open, limit);
    };
    const options = { workflows: [endless(), fine], clock, maxOpenChildren: 50, maxChildDepth: 1000 };
    const rig = await openRig(t, { ...options, store: { ...store, openDescendants } });
    const handle = await rig.client.start('endless');
    await clock.advance(60_000);
    const outcome = await handle.outcome();
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.code, 'TOO_MANY_CHILDREN');
    assert.ok(most > 20 && most <= 75, String(most));
    assert.equal((await rig.client.execute(fine)).outputs.a, 1);
  });

  it('a failed child fails its task, and a bad input fails the task without a child', async (t) => {
    const clock = new ManualClock();
    const bad = workflow('bad');
    bad.task('x', { retry: { attempts: 1 } }, () => {
      throw Object.assign(new Error('broken'), { code: 'BROKEN' });
    });
    const w = workflow('parent');
    const kid = w.child('kid', bad, { input: () => ({}) });
    w.task(
      'seen',
      { needs: { kid: settled(kid) } },
      ({ needs }) => needs.kid.status === 'failed' && needs.kid.error.code,
    );
    const wrong = workflow('wrong');
    wrong.child('kid', 'square', { input: () => ({ n: 'x' }) });
    const lost = workflow('lost');
    lost.child('kid', 'sqare', { input: () => ({}) });
    const rig = await openRig(t, { workflows: [w, bad, wrong, square(), lost], clock });
    const handle = await rig.client.start(w);
    await clock.advance(1000);
    const outcome = await handle.outcome();
    assert.equal(outcome.status, 'completed');
    assert.equal(outcome.outputs['seen'], 'BROKEN');
    for (const [name, code] of [
      ['wrong', 'INPUT_INVALID'],
      ['lost', 'WORKFLOW_NOT_FOUND'],
    ] as const) {
      const other = await (await rig.client.start(name)).outcome();
      assert.deepEqual(other.status === 'failed' && [other.task, other.error!.code], ['kid', code]);
    }
    assert.equal((await rig.client.executions.list({ workflow: 'square' })).items.length, 0);
  });

  it('a cancel of the parent cancels the child, owned or not, down to grandchildren; the parent learns of its end', async (t) => {
    const clock = new ManualClock();
    const leaf = workflow('leaf');
    leaf.wait('never', { signal: 'never' });
    const middle = workflow('middle');
    middle.child('leaf', leaf, { input: () => ({}) });
    const root = workflow('root');
    root.child('middle', middle, { input: () => ({}) });
    root.task(
      'busy',
      ({ signal }) =>
        new Promise<number>((_, reject) => signal.addEventListener('abort', () => reject(new Error('x')))),
    );
    const quiet = workflow('quiet');
    quiet.child('middle', middle, { input: () => ({}) });
    const rig = await openRig(t, { workflows: [root, middle, leaf, quiet], clock });
    for (const top of [root, quiet]) {
      const handle = await rig.client.start(top);
      await clock.advance(1000);
      await rig.client.cancel(handle.id);
      await clock.advance(1000);
      assert.equal((await handle.outcome()).status, 'cancelled');
    }
    const { items } = await rig.client.executions.list();
    assert.deepEqual(
      items.map(({ status }) => status),
      items.map(() => 'cancelled'),
    );
    assert.equal(items.length, 6);
    const handle = await rig.client.start(quiet);
    await clock.advance(1000);
    const kid = (await rig.client.executions.list({ workflow: 'leaf', status: 'waiting' })).items[0]!;
    await rig.client.cancel(kid.id);
    await clock.advance(1000);
    const outcome = await handle.outcome();
    assert.deepEqual(outcome.status === 'failed' && outcome.error!.code, 'EXECUTION_FAILED');
  });

  it('a child that the same runner owns is cancelled at once with its parent', async (t) => {
    const clock = new ManualClock();
    const [mine] = await openStores(t, 1, clock);
    const stopped: string[] = [];
    const untilStopped =
      (who: string) =>
      ({ signal }: { signal: AbortSignal }) =>
        new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => {
            stopped.push(who);
            resolve();
          }),
        );
    const kid = workflow('kid');
    kid.task('k', untilStopped('kid'));
    const w = workflow('parent');
    w.child('kid', kid, { input: () => ({}) });
    w.task('busy', untilStopped('parent'));
    const rig = await openRig(t, { workflows: [w, kid], store: mine!, clock });
    const handle = await rig.client.start(w);
    await clock.advance(1000);
    await rig.client.cancel(handle.id);
    await clock.advance(100);
    assert.deepEqual(stopped, ['parent', 'kid']);
  });

  it('a child that was retried before its parent read its end is waited for', async (t) => {
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
    const rig = await openRig(t, { workflows: [done, kidDone], clock });
    const handle = await rig.client.start(done);
    await rig.client.pause(handle.id);
    await clock.advance(100);
    const [child] = (await rig.client.executions.list({ workflow: 'kid' })).items;
    if (child !== undefined && child.status === 'failed') {
      works = true;
      await rig.client.retry(child.id);
    }
    works = true;
    await rig.client.resume(handle.id);
    await clock.advance(1000);
    assert.equal((await handle.result()).output, 5);
  });
});
