import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Transition } from '../../store/transition.ts';
import { run } from '../../store/script.ts';
import type { Store } from '../../store/store.ts';
import {
  sampleEffects,
  sampleExecution,
  sampleFilter,
  sampleRelease,
  sampleRunner,
  sampleTransition,
} from '../samples.ts';

const pin = { package: 'p', version: '1.0.0', digest: 'sha256:one' };
const customer = String.raw`"Acme\N" {a,b}, null`;
const tags = JSON.stringify({ customer, region: 'eu' });

/** Effects of a commit besides the tasks of its executions, for every database. `open` returns a new, empty store. */
export function storeEffectsSuite(
  name: string,
  open: () => Promise<Store>,
  { writesOnce = false }: { /** True if a batch may be sent again. */ readonly writesOnce?: boolean } = {},
): void {
  describe(`effects of a commit besides tasks: ${name}`, () => {
    let store: Store;
    let batches = 0;
    beforeEach(async () => {
      store = await open();
      await store.registerRunner(sampleRunner('r1'));
    });
    afterEach(() => store.close());

    const commit = (...transitions: readonly Transition[]): ReturnType<Store['commit']> =>
      store.commit({ runner: 'r1', lane: 0, n: ++batches, transitions });
    const owned = async (): Promise<string> => {
      const create = sampleExecution({ owned: true });
      await commit(sampleTransition(create.id, { create }));
      return create.id;
    };
    const channelAt = (version: string, digest: string): Promise<void> =>
      store.write(function* () {
        yield* run(
          `insert into packages (id, tenant, name, version, digest, bytes, manifest, status, registered_at)
           values ('p', 'default', 'p', $1, $2, 1, '{}', 'published', 1)`,
          version,
          digest,
        );
        yield* run(
          `insert into channels (tenant, package, channel, version, digest, serial, activated_at) values ('default', 'p', 'live', $1, $2, 1, 1)`,
          version,
          digest,
        );
        yield* run(`insert into channel_workflows (tenant, workflow, package) values ('default', 'w', 'p')`);
      });
    const event = (seq: number): Transition['events'][number] => ({
      seq,
      type: 'execution.created',
      at: 1_000_000,
      task: null,
      item: null,
      attempt: null,
      data: null,
    });

    it('a new execution is found by its tags, whatever characters they have', async () => {
      const create = sampleExecution({ owned: true, tags });
      await commit(sampleTransition(create.id, { create }));
      const found = await store.list(sampleFilter({ tags: { customer } }));
      assert.deepEqual(
        found.map(({ id }) => id),
        [create.id],
      );
      assert.deepEqual(await store.list(sampleFilter({ tags: { customer: 'other' } })), []);
    });

    it('a new execution is owned if its channel has not moved, and otherwise is for any runner at the new version', async () => {
      await channelAt('2.0.0', 'sha256:two');
      const stale = sampleExecution({
        owned: true,
        pin,
        buildId: pin.digest,
        input: '{"parsed":1}',
        given: '{"raw":1}',
      });
      const now = { package: 'p', version: '2.0.0', digest: 'sha256:two' };
      const current = sampleExecution({ owned: true, pin: now, buildId: now.digest });
      const result = await commit(
        sampleTransition(stale.id, { create: stale, events: [event(1)] }),
        sampleTransition(current.id, { create: current, events: [event(1)] }),
      );
      assert.deepEqual(result, { lost: [], kept: [], moved: [stale.id], offersTaken: [] });
      const moved = (await store.execution(stale.id))!;
      assert.deepEqual(
        [moved.pin, moved.buildId, moved.status, moved.owner, moved.epoch],
        [now, now.digest, 'pending', null, 0],
      );
      assert.deepEqual([moved.input, moved.inputParsed, moved.startedAt], ['{"raw":1}', false, null]);
      assert.equal((await store.events(stale.id, 0, 10))[0]!.runner, null);
      const stayed = (await store.execution(current.id))!;
      assert.deepEqual([stayed.status, stayed.owner, stayed.input], ['running', 'r1', '{"n":1}']);
      assert.equal((await store.events(current.id, 0, 10))[0]!.runner, 'r1');
    });

    it('durability.md, A batch is written once: a repeated batch returns the same moved executions', async (t) => {
      if (!writesOnce) return t.skip('here the outcome of a commit is always known');
      await channelAt('2.0.0', 'sha256:two');
      const stale = sampleExecution({ owned: true, pin, buildId: pin.digest });
      const current = sampleExecution({ owned: true });
      const batch = [stale, current].map((create) => sampleTransition(create.id, { create, events: [event(1)] }));
      const first = await commit(...batch);
      batches--;
      assert.deepEqual(await commit(...batch), first);
      assert.deepEqual(first.moved, [stale.id]);
    });

    it('many executions that follow a channel are all created at its version', async () => {
      await channelAt('2.0.0', 'sha256:two');
      const creates = [1, 2].map(() => sampleExecution({ pin, buildId: pin.digest, tags }));
      const created = await store.createExecutions([...creates, sampleExecution()]);
      assert.deepEqual(
        created.map(({ buildId }) => buildId),
        ['sha256:two', 'sha256:two', 'embedded/w/1'],
      );
      assert.equal((await store.execution(creates[0]!.id))!.pin!.version, '2.0.0');
      const events = await store.events(creates[1]!.id, 0, 10);
      assert.deepEqual(
        events.map(({ seq, type, runner }) => [seq, type, runner]),
        [[1, 'execution.created', null]],
      );
    });

    it("a child is created for any runner with its parent's commit, and not at all if the parent is lost", async () => {
      const parent = await owned();
      const child = sampleExecution({ rootId: parent, parent: { id: parent, task: 'c', item: -1 }, tags });
      const other = sampleExecution();
      const result = await commit(
        sampleTransition(parent, { effects: sampleEffects({ children: [child] }) }),
        sampleTransition('unknown', { effects: sampleEffects({ children: [other] }) }),
      );
      assert.deepEqual(result, { lost: ['unknown'], kept: [], moved: [], offersTaken: [] });
      const made = (await store.execution(child.id))!;
      assert.deepEqual([made.status, made.owner, made.parent], ['pending', null, child.parent]);
      assert.deepEqual(
        (await store.events(child.id, 0, 10)).map(({ seq, type, runner }) => [seq, type, runner]),
        [[1, 'execution.created', null]],
      );
      assert.equal(await store.execution(other.id), undefined);
    });

    for (const first of ['child', 'parent']) {
      it(`durability.md, Inbox: if a child's end and its parent's release share a batch, the ${first}'s first, the parent still gets the message`, async () => {
        const [parent, child] = [await owned(), await owned()];
        const ends = sampleTransition(child, { release: sampleRelease({ parent: { id: parent, task: 'c' } }) });
        const waits = sampleTransition(parent, {
          release: sampleRelease({ status: 'waiting', endedAt: null, output: null }),
        });
        const { kept } = await commit(...(first === 'child' ? [ends, waits] : [waits, ends]));
        const { status, owner, inboxSeq } = (await store.execution(parent))!;
        assert.deepEqual(
          { kept, status, owner, inboxSeq },
          first === 'child'
            ? { kept: [parent], status: 'running', owner: 'r1', inboxSeq: 1 }
            : { kept: [], status: 'pending', owner: null, inboxSeq: 1 },
        );
        assert.equal((await store.execution(child))!.status, 'completed');
      });
    }

    it('durability.md, Inbox: an execution that is cancelled in the batch that releases it is not released', async () => {
      const [parent, child] = [await owned(), await owned()];
      const cancels = sampleTransition(parent, { effects: sampleEffects({ cancelChildren: [child] }) });
      const waits = sampleTransition(child, {
        release: sampleRelease({ status: 'waiting', endedAt: null, output: null }),
      });
      const { kept } = await commit(cancels, waits);
      const { owner, inboxSeq } = (await store.execution(child))!;
      assert.deepEqual({ kept, owner, inboxSeq }, { kept: [child], owner: 'r1', inboxSeq: 1 });
    });

    it('durability.md, Inbox: a parent is not released in the batch in which it cancels a child without an owner', async () => {
      const [parent, child] = [await owned(), await owned()];
      const waits = sampleRelease({ status: 'waiting', endedAt: null, output: null });
      const made = sampleExecution({ rootId: parent, parent: { id: parent, task: 'c', item: -1 } });
      await commit(sampleTransition(parent, { effects: sampleEffects({ children: [made] }) }));
      const cancels = sampleEffects({ cancelChildren: [made.id] });
      const { kept } = await commit(
        sampleTransition(child),
        sampleTransition(parent, { effects: cancels, release: waits }),
      );
      const { owner, inboxSeq } = (await store.execution(parent))!;
      assert.deepEqual({ kept, owner, inboxSeq }, { kept: [parent], owner: 'r1', inboxSeq: 1 });
    });

    const freed = sampleRelease({ status: 'waiting', endedAt: null, output: null });
    const orders = [
      ['ends', 'waits', 'cancels', 'cancelled'],
      ['waits', 'cancelled', 'ends', 'cancels'],
      ['cancelled', 'cancels', 'waits', 'ends'],
      ['cancels', 'cancelled', 'ends', 'waits'],
    ] as const;
    for (const order of orders) {
      it(`durability.md, Inbox: in the order ${order.join(', ')} a cancellation precedes every release, and a parent hears in turn`, async () => {
        const [parent, child, other, cancelled] = [await owned(), await owned(), await owned(), await owned()];
        const transitions = {
          ends: sampleTransition(child, { release: sampleRelease({ parent: { id: parent, task: 'c' } }) }),
          waits: sampleTransition(parent, { release: freed }),
          cancels: sampleTransition(other, { effects: sampleEffects({ cancelChildren: [cancelled] }) }),
          cancelled: sampleTransition(cancelled, { release: freed }),
        };
        const { kept } = await commit(...order.map((one) => transitions[one]));
        const hearsFirst = order.indexOf('ends') < order.indexOf('waits');
        const isKept = new Set(hearsFirst ? [parent, cancelled] : [cancelled]);
        assert.deepEqual(new Set(kept), isKept);
        const heads = await Promise.all([parent, child, cancelled].map(async (id) => (await store.execution(id))!));
        assert.deepEqual(
          heads.map(({ status, owner, inboxSeq }) => [status, owner, inboxSeq]),
          [hearsFirst ? ['running', 'r1', 1] : ['pending', null, 1], ['completed', null, 0], ['running', 'r1', 1]],
        );
      });
    }

    for (const first of ['child', 'parent']) {
      it(`durability.md, Inbox: a child that ends in the batch in which its parent cancels it and waits, the ${first} first, reads that first`, async () => {
        const [parent, child] = [await owned(), await owned()];
        const ends = sampleTransition(child, { release: sampleRelease({ parent: { id: parent, task: 'c' } }) });
        const effects = sampleEffects({ cancelChildren: [child] });
        const cancels = sampleTransition(parent, { effects, release: freed });
        const { kept } = await commit(...(first === 'child' ? [ends, cancels] : [cancels, ends]));
        const heads = await Promise.all([parent, child].map(async (id) => (await store.execution(id))!));
        assert.deepEqual(
          { kept, heads: heads.map(({ status, owner, inboxSeq }) => [status, owner, inboxSeq]) },
          {
            kept: [child],
            heads: [
              ['waiting', null, 0],
              ['running', 'r1', 1],
            ],
          },
        );
      });

      it(`durability.md, Inbox: of a child and its parent that both end in one batch, the ${first} first, only a parent that is still there hears`, async () => {
        const [parent, child] = [await owned(), await owned()];
        const ends = sampleTransition(child, { release: sampleRelease({ parent: { id: parent, task: 'c' } }) });
        const last = sampleTransition(parent, { release: sampleRelease() });
        const { kept } = await commit(...(first === 'child' ? [ends, last] : [last, ends]));
        const { status, owner, inboxSeq } = (await store.execution(parent))!;
        assert.deepEqual(
          { kept, status, owner, inboxSeq },
          first === 'child'
            ? { kept: [parent], status: 'running', owner: 'r1', inboxSeq: 1 }
            : { kept: [], status: 'completed', owner: null, inboxSeq: 0 },
        );
      });
    }

    it('children that end together each notify their own parent, and parents of others get no message', async () => {
      const made: string[] = [];
      while (made.length < 12) made.push(await owned());
      const [parents, children] = [made.slice(0, 3), made.slice(3)];
      for (const parent of parents.slice(1)) {
        const waits = sampleRelease({ status: 'waiting', endedAt: null, output: null });
        await commit(sampleTransition(parent, { release: waits }));
      }
      const of = (i: number): { readonly id: string; readonly task: string } => ({
        id: parents[i % 2]!,
        task: `c${i}`,
      });
      const ends = children.map((id, i) => sampleTransition(id, { release: sampleRelease({ parent: of(i) }) }));
      assert.deepEqual((await commit(...ends)).kept, []);
      const heads = await Promise.all(parents.map(async (id) => (await store.execution(id))!));
      assert.deepEqual(
        heads.map(({ status, owner, inboxSeq }) => [status, owner, inboxSeq]),
        [
          ['running', 'r1', 5],
          ['pending', null, 4],
          ['waiting', null, 0],
        ],
      );
      const told = await store.inboxOf('r1');
      assert.deepEqual(
        told.map((one) => [one.n, one.kind, one.name, one.payload]),
        [0, 2, 4, 6, 8].map((i, at) => [at + 1, 'child_ended', `c${i}`, JSON.stringify(children[i])]),
      );
    });

    it('an acknowledged inbox message is deleted, and the others are kept', async () => {
      const id = await owned();
      for (const payload of ['1', '2', '3']) await store.signal(id, 'default', 's', payload);
      await commit(sampleTransition(id, { inboxAcked: 0, effects: sampleEffects({ messagesDone: [1, 3] }) }));
      assert.deepEqual(
        (await store.inboxOf('r1')).map(({ n, payload }) => [n, payload]),
        [[2, '2']],
      );
    });
  });
}
