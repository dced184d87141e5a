import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import { WorkflowNotFoundError } from '../../core/error.ts';
import { settled, workflow } from '../../core/definition/workflow.ts';
import type { Batch } from '../../store/transition.ts';
import type { Store } from '../../store/store.ts';
import { ManualClock } from '../../testing/clock.ts';
import { declareDead, openOneStore, openRig, openStores } from '../../testing/engine-rig.ts';
import type { Cleanup, Rig } from '../../testing/engine-rig.ts';
import { SampleRegistry, samplePinned } from '../../testing/sample-registry.ts';
import { sampleFilter } from '../../testing/samples.ts';
import { loadEmbedded } from './start.ts';
import type { ResolvedWorkflow } from './start.ts';

/** Resolves the name of a child from the registry; a callback runs directly after the lookup. */
function resolving(sample: SampleRegistry, then: () => Promise<void> = () => Promise.resolve()) {
  return async (_: string, name: string): Promise<ResolvedWorkflow> => {
    const found = await sample.registry.resolve(name);
    if (found === undefined) throw new WorkflowNotFoundError(name, []);
    await then();
    return { spec: found.spec, buildId: found.pin.digest, pin: found.pin, code: null };
  };
}

interface Place {
  readonly clock: ManualClock;
  readonly sample: SampleRegistry;
  /** Every attempted batch. */
  readonly batches: Batch[];
  readonly open: (workflows: readonly AnyWorkflow[], then?: () => Promise<void>) => Promise<Rig<ManualClock>>;
}

async function place(t: Cleanup): Promise<Place> {
  const clock = new ManualClock();
  const store = await openOneStore(clock);
  t.after(() => store.close());
  const sample = new SampleRegistry(t, store);
  const batches: Batch[] = [];
  const commit: Store['commit'] = (batch) => {
    batches.push(batch);
    return store.commit(batch);
  };
  const open: Place['open'] = (workflows, then) =>
    openRig(t, { workflows, clock, store: { ...store, commit }, resolve: resolving(sample, then) });
  return { clock, sample, batches, open };
}

async function unregister({ registry }: SampleRegistry): Promise<void> {
  await registry.unregister('p');
}

const simple = (): AnyWorkflow => {
  const w = workflow('simple');
  return w.returns(w.task('a', () => 1));
};

describe('durability.md, Per database: a start whose version is gone at its commit', () => {
  it('the start is refused with the reason, and transitions of the same batch are written', async (t) => {
    const { sample, batches, open } = await place(t);
    const stale = await sample.register('1.0.0');
    await unregister(sample);
    const rig = await open([simple()]);
    const loaded = { ...loadEmbedded(simple()), buildId: stale.digest, pin: stale };
    rig.engine.catalog.add([loaded]);
    const created = samplePinned(stale, { workflow: 'simple' });
    const before = rig.client.start('simple');
    const refused = { code: 'PACKAGE_NOT_FOUND', packageName: 'p', version: '1.0.0' };
    const owned = assert.rejects(rig.engine.start(created, loaded), refused);
    const handedIn = assert.rejects(rig.engine.start(samplePinned(stale), undefined), refused);
    const after = rig.client.start('simple');
    for (const start of [before, after]) assert.equal((await (await start).result()).output, 1);
    await owned;
    await handedIn;
    assert.equal(batches[0]!.transitions.length, 4, 'they were in one batch');
    assert.equal(rig.engine.has(created.id, 'default'), false);
    assert.equal((await rig.client.executions.list()).items.length, 2);
  });
});

describe('durability.md, Per database: a child whose version is gone at its commit', () => {
  it('its task fails with the reason; other changes of the parent are kept and made once', async (t) => {
    const { clock, sample, batches, open } = await place(t);
    await sample.register('1.0.0');
    const gate = Promise.withResolvers<void>();
    let sides = 0;
    const w = workflow('parent');
    const kid = w.child('kid', 'p/w', { input: () => ({}) });
    const side = w.task('side', async () => {
      await gate.promise;
      return ++sides;
    });
    const seen = w.task('seen', { needs: { kid: settled(kid), side } }, ({ needs }) => [needs.kid, needs.side]);
    const done = w.returns(seen);
    const rig = await open([done], async () => {
      await unregister(sample);
      gate.resolve();
    });
    const handle = await rig.client.start(done);
    await clock.advance(1000);
    const { output } = await handle.result();
    const [ended, times] = output as unknown as [{ status: string; error: { code: string; message: string } }, number];
    assert.deepEqual([ended.status, ended.error.code, times, sides], ['failed', 'PACKAGE_NOT_FOUND', 1, 1]);
    assert.equal(ended.error.message, 'there is no package p v1.0.0');
    const refused = batches.find(({ transitions }) =>
      transitions.some(({ effects }) => effects?.children.length === 1),
    );
    const together = Object.fromEntries(refused!.transitions[0]!.tasks.map(({ task, status }) => [task, status]));
    // on a server the end of the other task may be written first
    assert.deepEqual({ side: 'completed', ...together }, { kid: 'waiting', side: 'completed' });
    const events = await rig.client.executions.events(handle.id);
    assert.deepEqual(
      events.map(({ seq }) => seq),
      events.map((_, i) => i + 1),
    );
    assert.deepEqual(
      events.flatMap(({ type, task }) => (task === 'kid' ? [type] : [])),
      ['task.failed'],
    );
    assert.deepEqual((await rig.client.executions.list({ workflow: 'w' })).items, []);
  });

  it('a parent with nothing else to do does not wait for ever', async (t) => {
    const { clock, sample, open } = await place(t);
    await sample.register('1.0.0');
    const w = workflow('parent');
    w.child('kid', 'p/w', { input: () => ({}) });
    const rig = await open([w], () => unregister(sample));
    const handle = await rig.client.start(w);
    await clock.advance(1000);
    const outcome = await handle.outcome();
    assert.deepEqual(outcome.status === 'failed' && [outcome.task, outcome.error!.code], ['kid', 'PACKAGE_NOT_FOUND']);
  });

  it('the child gets the current version of its channel if that has moved', async (t) => {
    const { clock, sample, open } = await place(t);
    await sample.register('1.0.0');
    await sample.register('2.0.0');
    await sample.registry.activate('p', '1.0.0');
    const w = workflow('parent');
    w.child('kid', 'p/w', { input: () => ({}) });
    const rig = await open([w], async () => {
      await sample.registry.activate('p', '2.0.0');
      await sample.registry.unregister('p', '1.0.0');
    });
    await rig.client.start(w);
    await clock.advance(1000);
    const { items } = await rig.client.executions.list({ workflow: 'w' });
    assert.deepEqual(
      items.map(({ status, version }) => [status, version]),
      [['pending', '2.0.0']],
    );
  });

  it('the next owner of the parent requests the child again if the runner dies before the task has failed', async (t) => {
    const clock = new ManualClock();
    const [mine, others] = await openStores(t, 2, clock);
    const sample = new SampleRegistry(t, others!);
    await sample.register('1.0.0');
    const w = workflow('parent');
    w.child('kid', 'p/w', { input: () => ({}) });
    let refusals = 0;
    let left = 1;
    const commit: Store['commit'] = async (batch) => {
      // one commit after the refusal succeeds: the parent without its child
      if (refusals > 0 && left-- <= 0) throw new Error('away');
      return mine!.commit(batch).catch((error: unknown) => {
        refusals++;
        throw error;
      });
    };
    const resolve = resolving(sample, async () => {
      if (refusals === 0) await unregister(sample);
    });
    const rig = await openRig(t, { workflows: [w], clock, store: { ...mine!, commit }, resolve });
    const { id } = await rig.client.start(w);
    await clock.advance(100);
    assert.deepEqual([refusals, left < 0], [1, true]);
    await sample.register('2.0.0');
    await declareDead(others!, rig.engine.id);
    await openRig(t, { workflows: [w], clock, store: others!, resolve: resolving(sample) });
    await clock.advance(5000);
    assert.deepEqual(
      (await others!.list(sampleFilter({ workflow: 'w' }))).map(({ parent, pin }) => [parent!.id, pin!.version]),
      [[id, '2.0.0']],
    );
  });
});
