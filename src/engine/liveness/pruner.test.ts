import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openOneStore, openRig, release } from '../../testing/engine-rig.ts';
import type { Rig } from '../../testing/engine-rig.ts';

describe('engine.md, Retention: ended executions are removed', () => {
  it('ended executions are removed after 30 days, or as their workflow says, with children and events', async (t) => {
    const clock = new ManualClock();
    const kid = workflow('kid', { retention: '1h' });
    const kidDone = kid.returns(kid.task('k', ({ log }) => (log.info('here'), 1)));
    const w = workflow('parent');
    w.child('kid', kidDone, { input: () => ({}) });
    const brief = workflow('brief', { retention: '1h' });
    brief.map('m', { over: () => [1, 2, 3] }, async ({ item, step }) => step('s', () => item));
    const forever = workflow('napping');
    forever.sleep('nap', { for: '365d' });
    const rig = await openRig(t, { workflows: [w, kidDone, brief, forever], clock });
    const parent = await rig.client.start(w, {}, { tags: { a: 'b' } });
    const short = await rig.client.start(brief);
    const living = await rig.client.start(forever);
    await clock.advance(1000);
    const names = async (): Promise<string[]> =>
      (await rig.client.executions.list()).items.map(({ workflow: name }) => name).toSorted();
    assert.deepEqual(await names(), ['brief', 'kid', 'napping', 'parent']);
    await clock.advance('80m');
    // the child is kept as long as its parent
    assert.deepEqual(await names(), ['kid', 'napping', 'parent']);
    await assert.rejects(rig.client.executions.get(short.id), { code: 'EXECUTION_NOT_FOUND' });
    await clock.advance('31d');
    assert.deepEqual(await names(), ['napping']);
    const left = await rig.store.read(function* () {
      const counts: Record<string, number> = {};
      for (const table of ['events', 'logs', 'steps', 'task_executions', 'execution_tags', 'inbox_messages']) {
        const { rows } = yield {
          text: `select count(*) as n from ${table} where execution_id <> $1`,
          params: [living.id],
        };
        counts[table] = Number(rows[0]!['n']);
      }
      return counts;
    });
    assert.deepEqual(left, { events: 0, logs: 0, steps: 0, task_executions: 0, execution_tags: 0, inbox_messages: 0 });
    await assert.rejects(rig.client.executions.get(parent.id), { code: 'EXECUTION_NOT_FOUND' });
  });

  /** A workflow whose executions are kept for an hour. */
  const brief = workflow('brief', { retention: '1h' });
  brief.task('a', () => 1);
  const napping = workflow('napping', { retention: '1h' });
  napping.sleep('nap', { for: '1s' });

  const count = async ({ client }: Rig<ManualClock>): Promise<number> => (await client.executions.list()).items.length;
  const warnings = ({ logged }: Rig<ManualClock>): readonly string[] =>
    logged.filter(({ level }) => level === 'warn').map(({ message }) => message);

  it('a runner that is closed again after a few minutes removes what is over, too', async (t) => {
    const clock = new ManualClock();
    const store = await openOneStore(clock);
    release(t, () => store.close());
    const options = { workflows: [brief], clock, store };
    const first = await openRig(t, options);
    const { executionId } = await first.client.execute(brief);
    await first.close();
    await clock.advance('2h');
    const isThere: boolean[] = [];
    for (let turn = 0; turn < 3; turn++) {
      const rig = await openRig(t, options);
      await rig.client.start(brief);
      await clock.advance('1m');
      isThere.push((await store.known([executionId])).length === 1);
      await rig.close();
    }
    assert.deepEqual(
      isThere,
      [true, false, false],
      'the newest execution before an opening tells its first round the time',
    );
  });

  it('the next round after the first one removes all that is over by the clock', async (t) => {
    const clock = new ManualClock();
    const store = await openOneStore(clock);
    release(t, () => store.close());
    const first = await openRig(t, { workflows: [brief], clock, store });
    await first.client.execute(brief);
    await first.close();
    await clock.advance('2h');
    const second = await openRig(t, { workflows: [brief], clock, store });
    await clock.advance('9m');
    assert.equal(await count(second), 1);
    await clock.advance('2m');
    assert.equal(await count(second), 0);
  });

  it('a clock that is ahead when a runner opens removes nothing whose time had not come before', async (t) => {
    const clock = new ManualClock();
    const store = await openOneStore(clock);
    release(t, () => store.close());
    const options = { workflows: [brief, napping], clock, store };
    const first = await openRig(t, options);
    await first.client.execute(brief);
    await first.close();
    clock.setNow(clock.now() + 365 * 86_400_000);
    const second = await openRig(t, options);
    await second.client.start(napping);
    await clock.advance('9m');
    assert.equal(await count(second), 2);
    clock.setNow(Date.UTC(2026, 0, 1) + 540_000);
    await clock.advance('10m');
    assert.equal(await count(second), 2);
    assert.deepEqual(warnings(second).length, 1);
  });

  it('a round in which the clock was set removes nothing, and the runner says so; later rounds go by the clock', async (t) => {
    const clock = new ManualClock();
    const rig = await openRig(t, { workflows: [brief], clock });
    await rig.client.execute(brief);
    await clock.advance('11m');
    const ahead = 365 * 86_400_000;
    clock.setNow(clock.now() + ahead);
    await clock.advance('5m');
    clock.setNow(clock.now() - ahead);
    await clock.advance('20m');
    assert.deepEqual([await count(rig), warnings(rig)], [1, []], 'it was right again before a round began');
    clock.setNow(clock.now() + ahead);
    await clock.advance('10m');
    assert.equal(await count(rig), 1);
    assert.deepEqual(warnings(rig), [
      'the clock was set or the machine slept; ended executions are removed in the next round',
    ]);
    await clock.advance('10m');
    assert.equal(await count(rig), 0);
  });

  it('old slots of schedules are removed with the retention of the runner', async (t) => {
    const clock = new ManualClock();
    const rig = await openRig(t, { workflows: [brief], clock, retentionMs: 3_600_000 });
    const slots = (): Promise<number> =>
      rig.store.read(function* () {
        const { rows } = yield { text: 'select count(*) as n from schedule_slots', params: [] };
        return Number(rows[0]!['n']);
      });
    await rig.client.execute(brief);
    await rig.store.write(function* () {
      for (const minute of [0, 1, 2, 3]) {
        const slot = clock.now() + minute * 60_000;
        yield {
          text: `insert into schedule_slots (schedule_id, slot, through, count, outcome, is_catch_up, at)
                 values ('gone', ${slot}, ${slot}, 1, 'started', 0, ${slot})`,
          params: [],
        };
      }
    });
    assert.equal(await slots(), 4);
    await clock.advance('11m');
    assert.equal(await slots(), 0, 'the schedule does not exist');
  });

  it('removal runs in steps that hold the writer for a moment each', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w', { retention: 0 });
    w.map('m', { over: () => Array.from({ length: 5000 }, (_, i) => i) }, ({ item }) => item);
    const steps: number[] = [];
    const rig = await openRig(t, { workflows: [w], clock });
    const prune = rig.store.prune.bind(rig.store);
    rig.store.prune = async (step) => {
      const from = performance.now();
      const pruned = await prune(step);
      steps.push(performance.now() - from);
      return pruned;
    };
    await rig.client.execute(w);
    await clock.advance('20m');
    const left = async (): Promise<number> =>
      rig.store.read(function* () {
        const { rows } = yield { text: 'select count(*) as n from executions', params: [] };
        return Number(rows[0]!['n']);
      });
    // a reader sees the execution whole or not at all
    assert.equal((await rig.client.executions.list()).items.length, 0);
    while ((await left()) > 0) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(steps.length > 4, `${steps.length} steps`);
    const median = steps.toSorted((a, b) => a - b)[Math.floor(steps.length / 2)]!;
    assert.ok(median < 50, `${median} ms`);
  });
});
