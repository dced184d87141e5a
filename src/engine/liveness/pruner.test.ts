import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openRig } from '../../testing/engine-rig.ts';

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

  it('removal runs in steps that hold the writer for a moment each', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w', { retention: 0 });
    w.map('m', { over: () => Array.from({ length: 5000 }, (_, i) => i) }, ({ item }) => item);
    const steps: number[] = [];
    const rig = await openRig(t, { workflows: [w], clock });
    const prune = rig.store.prune.bind(rig.store);
    rig.store.prune = async (before, rows) => {
      const from = performance.now();
      const pruned = await prune(before, rows);
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
    assert.ok(steps.length > 20, `${steps.length} steps`);
    const median = steps.toSorted((a, b) => a - b)[Math.floor(steps.length / 2)]!;
    assert.ok(median < 50, `${median} ms`);
  });
});
