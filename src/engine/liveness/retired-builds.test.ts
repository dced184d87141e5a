import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import type { Store } from '../../store/store.ts';
import { declareDead, openClient, openRig, openStores } from '../../testing/engine-rig.ts';
import { loadEmbedded } from '../client/start.ts';
import { moveRetiredExecutions } from './retired-builds.ts';

const first = (ran: string[]) => {
  const w = workflow('w');
  const a = w.task('a', () => void ran.push('a'));
  const nap = w.sleep('nap', { needs: { a }, for: '60s' });
  return w.returns(w.task('b', { needs: { nap } }, () => (ran.push('b'), 'old')));
};
/** One more task after the existing ones: everything that has begun is unchanged. */
const grown = (ran: string[]) => {
  const w = workflow('w');
  const a = w.task('a', () => void ran.push('a'));
  const nap = w.sleep('nap', { needs: { a }, for: '60s' });
  const b = w.task('b', { needs: { nap } }, () => (ran.push('b'), 'old'));
  return w.returns(w.task('c', { needs: { b } }, () => (ran.push('c'), 'new')));
};
/** The task that has begun has another need. */
const changed = (ran: string[]) => {
  const w = workflow('w');
  const z = w.task('z', () => void ran.push('z'));
  const a = w.task('a', { needs: { z } }, () => void ran.push('a'));
  const nap = w.sleep('nap', { needs: { a }, for: '60s' });
  return w.returns(w.task('b', { needs: { nap } }, () => (ran.push('b'), 'changed')));
};

describe('engine.md, Versions: an embedded workflow with another definition', () => {
  it('an execution continues if every task that is no longer pending has its kind and needs unchanged', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const old = await openRig(t, { workflows: [first(ran)], store: one!, clock });
    const { id } = await old.client.start('w');
    await clock.advance(1000);
    await old.close();
    const next = await openRig(t, { workflows: [grown(ran)], store: two!, clock });
    await clock.advance('70s');
    const outcome = await next.client.handle(id).outcome();
    assert.equal(outcome.status === 'completed' && outcome.output, 'new');
    assert.deepEqual(ran, ['a', 'b', 'c']);
  });

  it('an execution is left to a living runner with the old build id; without one it is held, and a retry continues under the new', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const old = await openRig(t, { workflows: [first(ran)], store: one!, clock });
    const next = await openRig(t, { workflows: [changed(ran)], store: two!, clock });
    const [kept, held] = [await old.client.start('w'), await old.client.start('w', {})];
    await clock.advance(1000);
    await next.client.pause(held.id);
    await clock.advance('65s');
    assert.equal((await next.client.executions.get(kept.id)).status, 'completed');
    await old.close();
    await next.client.resume(held.id);
    await clock.advance('10s');
    const detail = await next.client.executions.get(held.id);
    assert.deepEqual([detail.status, detail.reason], ['paused', 'DEFINITION_CHANGED']);
    const events = await next.client.executions.events(held.id);
    assert.deepEqual(events.at(-1)!.data, { reason: 'DEFINITION_CHANGED' });
    ran.length = 0;
    await next.client.retry(held.id);
    await clock.advance('70s');
    const outcome = await next.client.handle(held.id).outcome();
    assert.equal(outcome.status === 'completed' && outcome.output, 'changed');
    assert.deepEqual(ran, ['z', 'a', 'b']);
  });

  for (const anew of [false, true]) {
    const when = anew ? 'begins anew after it was declared dead' : 'opens';
    it(`a runner that ${when} has the old definition from its first moment on: nothing of it is held`, async (t) => {
      const clock = new ManualClock();
      const [one, two, three] = await openStores(t, 3, clock);
      const ran: string[] = [];
      const client = openClient(t, three!, clock);
      const before = await openRig(t, { workflows: [first(ran)], store: one!, clock });
      const { id } = await before.client.start('w');
      await clock.advance(1000);
      await client.pause(id);
      await before.close();
      const looks: unknown[] = [];
      let registers = 0;
      const next = loadEmbedded(changed(ran));
      await three!.writeDefinitions([{ workflow: 'w', buildId: next.buildId, spec: next.graph.spec }]);
      const registerRunner: Store['registerRunner'] = async (runner) => {
        await two!.registerRunner(runner);
        if (registers++ !== (anew ? 1 : 0)) return;
        // another runner looks at the first moment at which this one can be seen
        await client.resume(id);
        looks.push(await moveRetiredExecutions(three!, [next]));
      };
      const rig = await openRig(t, { workflows: [first(ran)], store: { ...two!, registerRunner }, clock });
      if (anew) {
        await declareDead(three!, rig.engine.id);
        await rig.client.start('w'); // it learns of its death
      }
      await clock.advance('70s');
      assert.deepEqual(looks, [{ adopted: 0, held: 0 }]);
      assert.equal((await client.executions.get(id)).output, 'old');
    });
  }

  it('an execution of a program that still starts the old build id continues under the new if no runner had the old for long', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const old = await openRig(t, { workflows: [first(ran)], store: one!, clock });
    await old.close();
    const next = await openRig(t, { workflows: [grown(ran)], store: two!, clock });
    await clock.advance('11m'); // expired retention is checked every ten minutes
    for (let i = 0; i < 2; i++) {
      const { id } = await next.client.start(first(ran));
      await clock.advance('70s');
      const { status, output } = await next.client.executions.get(id);
      assert.deepEqual([status, output], ['completed', 'new']);
    }
  });
});

describe('engine.md, Versions: many executions under another definition', () => {
  it('all continue as soon as a runner opens, a hundred at each poll, and incompatible ones are held', async (t) => {
    const clock = new ManualClock();
    const [one, two, three] = await openStores(t, 3, clock);
    const ran: string[] = [];
    const client = openClient(t, three!, clock);
    const old = await openRig(t, { workflows: [first(ran)], store: one!, clock });
    const held = await old.client.start('w');
    await clock.advance(1000);
    await old.close();
    await client.pause(held.id);
    await client.startMany(
      first(ran),
      Array.from({ length: 250 }, () => ({ input: {} })),
    );
    await client.resume(held.id);
    let looks = 0;
    let most = 0;
    const strays: Store['executionsOnRetiredBuilds'] = async (codes, limit) => {
      const found = await two!.executionsOnRetiredBuilds(codes, limit);
      looks++;
      most = Math.max(most, found.length);
      return found;
    };
    await openRig(t, { workflows: [changed(ran)], store: { ...two!, executionsOnRetiredBuilds: strays }, clock });
    await clock.settle(); // no renewal is due yet
    const { items } = await client.executions.list({ workflow: 'w', limit: 500 });
    const statuses = Map.groupBy(items, ({ status }) => status);
    assert.deepEqual([statuses.get('pending'), statuses.get('paused')?.map(({ id }) => id)], [undefined, [held.id]]);
    assert.deepEqual([looks, most], [4, 100], 'three that settle some, and one that finds none');
  });
});
