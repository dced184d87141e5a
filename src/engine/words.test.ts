import assert from 'node:assert/strict';
import { it } from 'node:test';
import { eventTypes } from '../core/execution/event.ts';
import { executionStatuses } from '../core/execution/states.ts';
import { settled, workflow } from '../core/definition/workflow.ts';
import type { Store } from '../store/store.ts';
import { ManualClock } from '../testing/clock.ts';
import { openRig, openStores } from '../testing/engine-rig.ts';

const taskStatuses = ['pending', 'running', 'waiting', 'completed', 'failed', 'skipped', 'cancelled'];
const skipReasons = ['when_false', 'need_failed', 'need_skipped', 'need_cancelled', 'fail_fast'];

/** Graphs that together reach every state of a task. */
function graphs(clock: ManualClock, control: { fails: boolean }) {
  const pause = (ms: number): Promise<void> => new Promise((resolve) => clock.timer(ms, resolve));
  const main = workflow('main');
  const slow = main.task(
    'slow',
    { timeout: '1s', retry: { attempts: 2, delay: '1s', jitter: 0 } },
    async ({ attempt, signal }) => {
      await pause(attempt === 1 ? 1500 : 100);
      signal.throwIfAborted();
    },
  );
  const bad = main.task('bad', { retry: { attempts: 1 } }, () => {
    if (control.fails) throw new Error('bad');
  });
  const after = main.task('after', { needs: { bad } }, () => 1);
  main.task('later', { needs: { after } }, () => 1);
  main.task('never', { when: () => false }, () => 1);
  main.wait('gate', { needs: { slow }, signal: 'go' });

  const fast = workflow('fast', { failFast: true });
  fast.task('breaks', { retry: { attempts: 1 } }, async () => {
    await pause(50);
    throw new Error('broken');
  });
  fast.task(
    'cut',
    ({ signal }) => new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(new Error('cut')))),
  );
  const first = fast.sleep('first', { for: '10s' });
  fast.task('second', { needs: { first } }, () => 1);

  const cut = workflow('cut');
  const long = cut.sleep('long', { for: '5s' });
  cut.task('plain', { needs: { long } }, () => 1);
  cut.map('each', { needs: { long }, over: () => [1] }, ({ item }) => item);
  cut.task('any', { needs: { long: settled(long) } }, () => 1);
  return [main, fast, cut];
}

it('engine.md: graphs reach every state, event and reason of the design', async (t) => {
  const clock = new ManualClock();
  const [mine, other] = await openStores(t, 2, clock);
  const control = { fails: true };
  const seen = {
    statuses: new Set<string>(),
    tasks: new Set<string>(),
    events: new Set<string>(),
    reasons: new Set<string>(),
  };
  const open = (store: Store) => {
    const commit: Store['commit'] = async (batch) => {
      for (const { tasks } of batch.transitions) for (const { status } of tasks) seen.tasks.add(status);
      return store.commit(batch);
    };
    return openRig(t, { workflows: graphs(clock, control), store: { ...store, commit }, clock });
  };
  let rig = await open(mine!);
  const look = async (): Promise<void> => {
    for (const { id } of (await rig.client.executions.list()).items) {
      const { status, tasks } = await rig.client.executions.get(id);
      seen.statuses.add(status);
      for (const task of tasks) {
        seen.tasks.add(task.status);
        if (task.reason !== null) seen.reasons.add(task.reason);
      }
      for (const { type } of await rig.client.executions.events(id)) seen.events.add(type);
    }
  };

  const main = await rig.client.start('main', {}, { startAt: '1s' });
  await look();
  await rig.client.start('fast');
  await clock.advance(1100);
  await look();
  await clock.advance(5000);
  await look();
  await rig.client.pause(main.id);
  await look();
  seen.statuses.add((await rig.client.resume(main.id)).status);
  await look();
  await rig.client.signal(main.id, 'go', 1);
  await clock.advance(100);
  await look();
  control.fails = false;
  await rig.client.fork(main.id, { from: 'after' });
  await rig.client.retry(main.id);
  await clock.advance(100);
  await rig.client.signal(main.id, 'go', 1).catch(() => undefined);
  await clock.advance(5000);
  await look();

  const cut = await rig.client.start('cut');
  await clock.advance(100);
  await rig.client.cancel(cut.id);
  await clock.advance(100);
  const handed = await rig.client.start('cut');
  await clock.advance(100);
  await rig.close();
  rig = await open(other!);
  const lost = await rig.client.start('cut');
  await clock.advance(100);
  const runner = (await mine!.runners()).find(({ id }) => id === rig.engine.id)!;
  await mine!.markDead(runner.id, runner.leaseUntil);
  await clock.advance(20_000);
  await look();
  for (const { id } of [handed, lost]) assert.equal((await rig.client.executions.get(id)).status, 'completed');

  assert.deepEqual([...seen.statuses].toSorted(), executionStatuses.toSorted());
  assert.deepEqual([...seen.tasks].toSorted(), taskStatuses.toSorted());
  assert.deepEqual([...seen.events].toSorted(), [...eventTypes].toSorted());
  // only a cancel, which skips nothing, cancels a need of a task that is still open
  assert.deepEqual([...seen.reasons, 'need_cancelled'].toSorted(), skipReasons.toSorted());
});
