import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { unchecked, workflow } from '../core/definition/workflow.ts';
import type { AnyWorkflow } from '../core/definition/definition.ts';
import { ManualClock } from '../testing/clock.ts';
import { openClient, openRig, openStores } from '../testing/engine-rig.ts';
import { rigCount } from '../testing/rig-store.ts';

describe('engine.md, Limits: concurrency and maxExecutions', () => {
  it('`concurrency` bounds concurrent executions by the value of its key, over all runners', async (t) => {
    const clock = new ManualClock();
    const stores = await openStores(t, 3, clock);
    const running = new Map<string, number>();
    const most = new Map<string, number>();
    const build = () => {
      const w = workflow('w', {
        input: unchecked<{ customer: { id: string } }>(),
        concurrency: { limit: 2, key: 'customer.id' },
      });
      w.task('a', async ({ input }) => {
        const { id } = input.customer;
        running.set(id, (running.get(id) ?? 0) + 1);
        most.set(id, Math.max(most.get(id) ?? 0, running.get(id)!));
        await new Promise<void>((resolve) => clock.timer(50, resolve));
        running.set(id, running.get(id)! - 1);
      });
      return w;
    };
    const w = build();
    await openRig(t, { workflows: [w], store: stores[0]!, clock });
    await openRig(t, { workflows: [build()], store: stores[1]!, clock });
    const client = openClient(t, stores[2]!, clock);
    const inputs = Array.from({ length: 30 }, (_, i) => ({ customer: { id: `c${i % 3}` } }));
    const handles = await client.startMany(w, inputs);
    await clock.advance(3000);
    for (const { id } of handles) assert.equal((await client.executions.get(id)).status, 'completed');
    assert.deepEqual([...most.values()], [2, 2, 2]);
  });

  it('a limit of one without a key; a crash leaks no slot; the highest priority comes first', async (t) => {
    const clock = new ManualClock();
    const stores = await openStores(t, 2, clock);
    const order: string[] = [];
    const build = (hang: boolean): AnyWorkflow => {
      const w = workflow('w', { input: unchecked<{ name: string }>(), concurrency: { limit: 1 } });
      w.task('a', ({ input }) => {
        order.push(input.name);
        return hang ? new Promise<number>(() => undefined) : 1;
      });
      return w;
    };
    const frozen = new ManualClock();
    const dead = await openRig(t, { workflows: [build(true)], store: stores[0]!, clock: frozen, graceMs: 0 });
    await dead.client.start('w', { name: 'first' });
    await frozen.settle(); // it is claimed
    await dead.client.start('w', { name: 'second' });
    await dead.client.start('w', { name: 'urgent' }, { priority: 9 });
    await frozen.settle();
    assert.deepEqual(order, ['first']);
    const runner = (await stores[1]!.runners()).find(({ id }) => id === dead.engine.id)!;
    assert.ok(await stores[1]!.markDead(runner.id, runner.leaseUntil));
    await openRig(t, { workflows: [build(false)], store: stores[1]!, clock });
    await clock.advance(1000);
    assert.deepEqual(order, ['first', 'urgent', 'first', 'second']);
  });

  it('maxExecutions bounds the executions in memory, and a long backlog is completed', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    let most = 0;
    w.task('a', () => {
      most = Math.max(most, rig.engine.size);
    });
    const rig = await openRig(t, { workflows: [w], clock, maxExecutions: 20 });
    const handles = await rig.client.startMany(
      w,
      Array.from({ length: rigCount(2000) }, () => ({})),
    );
    await clock.advance(1000);
    await Promise.all(handles.map((handle) => handle.result()));
    assert.ok(most <= 20, `${most} at once`);
  });

  it('a limit that the definition no longer has blocks no execution, and two versions share one', async (t) => {
    const clock = new ManualClock();
    const [one, two, three] = await openStores(t, 3, clock);
    const build = (limit: number | null, second: boolean): AnyWorkflow => {
      const w = workflow('w', limit === null ? {} : { concurrency: { limit } });
      const a = w.task('a', () => new Promise<number>((resolve) => clock.timer(500, () => resolve(1))));
      if (second) w.task('b', { needs: { a } }, () => 1);
      return w;
    };
    const old = await openRig(t, { workflows: [build(1, false)], store: one!, clock });
    const held = await old.client.start('w', {}, { startAt: '10s' });
    await old.close();
    const free = await openRig(t, { workflows: [build(null, false)], store: two!, clock });
    await clock.advance('15s');
    assert.equal((await free.client.executions.get(held.id)).status, 'completed');
    await free.close();

    const { loadEmbedded } = await import('./client/start.ts');
    const both = await openRig(t, { workflows: [build(1, false)], store: three!, clock });
    both.engine.catalog.add([loadEmbedded(build(1, true))]);
    let most = 0;
    const many = openClient(t, three!, clock);
    await many.startMany(build(1, false), [{}, {}]);
    await many.startMany(build(1, true), [{}, {}]);
    both.engine.notify();
    for (let i = 0; i < 40; i++) {
      await clock.advance(100);
      most = Math.max(most, both.engine.size);
    }
    assert.equal(most, 1);
  });
});
