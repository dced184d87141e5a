import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Effects, NewOffer } from '../../store/transition.ts';
import { all } from '../../store/script.ts';
import type { HelperResult, Helped, Store, Take, HelperStarted } from '../../store/store.ts';
import { sampleExecution, sampleRunner, sampleTransition } from '../samples.ts';

const code = 'embedded/w/1';

function sampleOffer(task: string, change: Partial<NewOffer> = {}): NewOffer {
  return {
    task,
    item: -1,
    attempt: 1,
    buildId: code,
    queue: 'default',
    priority: 0,
    isPoisonSuspect: false,
    at: 1_000_001,
    ...change,
  };
}

function effects(change: Partial<Effects>): Effects {
  const none = { messagesDone: [], children: [], cancelChildren: [], itemsCancelled: [], itemsDropped: [] };
  return { ...none, offers: [], offersWithdrawn: [], offersEnded: [], ...change };
}

const held = (executionId: string, task: string, change: Partial<Helped> = {}): Helped => {
  return { executionId, task, item: -1, epoch: 1, attempt: 1, steps: [], logs: [], end: null, ...change };
};

/** The handling of offered attempts that every store must have. */
export function offerSuite(name: string, open: () => Promise<Store>): void {
  describe(`store suite: ${name}, durability.md, helpers`, () => {
    let store: Store;
    let batches = 0;
    beforeEach(async () => {
      store = await open();
      for (const id of ['owner', 'one', 'two']) await store.registerRunner(sampleRunner(id));
    });
    afterEach(() => store.close());

    const commit = (id: string, change: Partial<Effects>, epoch = 1): ReturnType<Store['commit']> =>
      store.commit({
        runner: 'owner',
        lane: 0,
        n: ++batches,
        transitions: [sampleTransition(id, { epoch, effects: effects(change) })],
      });
    /** An execution of `owner`, in epoch 1, with offers. */
    const offering = async (...offers: readonly NewOffer[]): Promise<string> => {
      const create = sampleExecution({ owned: true });
      await store.commit({
        runner: 'owner',
        lane: 0,
        n: ++batches,
        transitions: [sampleTransition(create.id, { create })],
      });
      await commit(create.id, { offers });
      return create.id;
    };
    const take = (runner: string, change: Partial<Take> = {}): Promise<number> =>
      store.takeOffers({
        runner,
        buildIds: [code],
        queues: ['default'],
        mayTakeSuspects: true,
        limit: 10,
        now: 5,
        ...change,
      });
    const heldBy = async (runner: string): Promise<string[]> =>
      (await store.takenOffers(runner)).map(({ task, item }) => (item === -1 ? task : `${task} ${item}`)).toSorted();
    const mailOf = async (kind: string): Promise<unknown[]> =>
      (await store.inboxOf('owner'))
        .filter((message) => message.kind === kind)
        .map(({ payload }) => JSON.parse(payload!) as unknown);
    const left = async (): Promise<number> => (await store.read(() => all('select * from offers'))).length;
    const kill = async (runner: string): Promise<void> => {
      const known = (await store.runners()).find(({ id }) => id === runner);
      assert.ok(await store.markDead(runner, known!.leaseUntil));
      await store.releaseOrphans();
    };

    it('offers are taken by runners that have the build id and serve the queue: highest priority first, then oldest', async () => {
      await offering(sampleOffer('gpu', { queue: 'gpu' }), sampleOffer('other', { buildId: 'else' }));
      await offering(sampleOffer('young', { at: 9 }), sampleOffer('old', { at: 1 }));
      await offering(sampleOffer('urgent', { priority: 5 }));
      const wanted = { buildIds: [code], queues: ['default'], mayTakeSuspects: true };
      assert.equal(await store.helpWanted(wanted), true);
      assert.equal(await take('one', { limit: 2 }), 2);
      assert.deepEqual(await heldBy('one'), ['old', 'urgent']);
      assert.equal(await take('two'), 1);
      assert.deepEqual(await heldBy('two'), ['young']);
      assert.deepEqual([await take('two'), await store.helpWanted(wanted)], [0, false]);
      assert.equal(await take('two', { queues: ['gpu', 'x'] }), 1);
      assert.equal(await take('two', { buildIds: ['else'] }), 1);
    });

    it('a take is announced to the owner, with one inbox message for an execution', async () => {
      const id = await offering(...[0, 1, 2].map((item) => sampleOffer('map', { item, attempt: item + 1 })));
      await take('one');
      const [said, ...more] = (await mailOf('helper_started')) as HelperStarted[];
      assert.deepEqual(more, []);
      assert.deepEqual([said!.helper, said!.at], ['one', 5]);
      assert.deepEqual(
        said!.attempts.map(({ item, attempt, epoch }) => [item, attempt, epoch]).toSorted(([a], [b]) => a! - b!),
        [0, 1, 2].map((item) => [item, item + 1, 1]),
      );
      assert.equal((await store.execution(id))!.inboxSeq, 1);
    });

    it('many takes at the same moment never take the same offer', async () => {
      for (let i = 0; i < 4; i++) await offering(...[0, 1, 2, 3, 4].map((item) => sampleOffer('map', { item })));
      const counts = await Promise.all(['one', 'two', 'one', 'two'].map((runner) => take(runner, { limit: 6 })));
      const rows = [...(await store.takenOffers('one')), ...(await store.takenOffers('two'))];
      assert.equal(
        counts.reduce((sum, count) => sum + count, 0),
        rows.length,
      );
      assert.equal(new Set(rows.map(({ executionId, item }) => `${executionId} ${item}`)).size, rows.length);
    });

    it('one offer of a poison suspect is taken at a time, and none by a runner that already has one', async () => {
      await offering(
        sampleOffer('a', { isPoisonSuspect: true }),
        sampleOffer('b', { isPoisonSuspect: true }),
        sampleOffer('c'),
      );
      assert.equal(await take('one', { mayTakeSuspects: false }), 1);
      assert.equal(await take('one'), 1);
      assert.equal((await store.takenOffers('one')).filter(({ isPoisonSuspect }) => isPoisonSuspect).length, 1);
    });

    it('a withdrawn offer is gone unless a helper has it, and then the commit reports that', async () => {
      const [a, b] = [sampleOffer('a', { at: 1 }), sampleOffer('b', { at: 2 })];
      const id = await offering(a, b);
      await take('one', { limit: 1 });
      const { offersTaken } = await commit(id, { offersWithdrawn: [a, b] });
      assert.deepEqual(offersTaken, [{ id, task: 'a', item: -1 }]);
      assert.deepEqual([await heldBy('one'), await left()], [['a'], 1]);
      await commit(id, { offersEnded: [a] });
      assert.equal(await left(), 0);
    });

    it('an answer ends the offer and becomes one inbox message to the owner, once, and only from its holder', async () => {
      const id = await offering(sampleOffer('a'));
      await take('one');
      const end = JSON.stringify({ status: 'completed', output: '"\\u0000 é"' });
      for (const wrong of [held(id, 'a', { attempt: 2 }), held(id, 'a', { epoch: 2 }), held(id, 'b')])
        assert.deepEqual(await store.writeHelped('one', [{ ...wrong, end }]), []);
      assert.deepEqual(await store.writeHelped('two', [held(id, 'a', { end })]), []);
      assert.deepEqual(await store.writeHelped('one', [held(id, 'a', { end }), held(id, 'b', { end })]), [0]);
      assert.deepEqual(await store.writeHelped('one', [held(id, 'a', { end })]), []);
      const [said, ...more] = (await mailOf('helper_result')) as HelperResult[];
      assert.deepEqual(more, []);
      assert.deepEqual(said, {
        helper: 'one',
        answers: [{ key: { task: 'a', item: -1, epoch: 1, attempt: 1 }, end: JSON.parse(end) as unknown }],
      });
      assert.equal(await left(), 0);
    });

    it('large answers become several inbox messages', async () => {
      const id = await offering(...[0, 1, 2].map((item) => sampleOffer('map', { item })));
      await take('one');
      const end = JSON.stringify({ status: 'completed', output: 'x'.repeat(700_000) });
      const written = await store.writeHelped(
        'one',
        [0, 1, 2].map((item) => held(id, 'map', { item, end })),
      );
      assert.deepEqual([written, (await mailOf('helper_result')).length], [[0, 1, 2], 3]);
      assert.equal((await store.execution(id))!.inboxSeq, 4);
    });

    it('steps and logs of the holder of an offer are written once, however often they are sent', async () => {
      const id = await offering(sampleOffer('map', { item: 3 }));
      await take('one');
      const steps = [{ name: 'first', output: '{"a":["b"]}' }];
      const logs = [{ n: 1, at: 7_000_000_000_000, level: 'info', message: 'said "so"', data: null }];
      const write = held(id, 'map', { item: 3, steps, logs });
      for (let i = 0; i < 2; i++) assert.deepEqual(await store.writeHelped('one', [write]), [0]);
      assert.equal(await store.step(id, 'map', 3, 'first'), '{"a":["b"]}');
      const lines = await store.logs(id, null, 0, 10);
      assert.deepEqual(
        lines.map(({ item, attempt, at, message, data }) => [item, attempt, at, message, data]),
        [[3, 1, 7_000_000_000_000, 'said "so"', null]],
      );
      await commit(id, { offersEnded: [sampleOffer('map', { item: 3 })] });
      assert.deepEqual(await store.writeHelped('one', [{ ...write, steps: [{ name: 'second', output: '1' }] }]), []);
      assert.equal(await store.step(id, 'map', 3, 'second'), undefined);
    });

    it('a runner that is declared dead takes and answers nothing, and its owners are told', async () => {
      const id = await offering(sampleOffer('a'), sampleOffer('b', { queue: 'gpu' }));
      await take('one');
      const known = (await store.runners()).find((runner) => runner.id === 'one')!;
      await store.markDead('one', known.leaseUntil);
      assert.equal(await take('one', { queues: ['gpu'] }), 0);
      assert.deepEqual(await store.writeHelped('one', [held(id, 'a', { end: '{}' })]), []);
      assert.equal(await store.releaseOrphans(), 1);
      assert.deepEqual(await mailOf('helper_lost'), [
        { helper: 'one', attempts: [{ task: 'a', item: -1, epoch: 1, attempt: 1 }] },
      ]);
      assert.equal(await left(), 1, 'what nobody had is offered still');
    });

    it('offers of a former owner are void: they are not taken, and their answers reach no execution', async () => {
      const id = await offering(sampleOffer('a'), sampleOffer('b', { queue: 'gpu' }));
      await take('one');
      const { leaseUntil } = (await store.runners()).find((runner) => runner.id === 'owner')!;
      await store.markDead('owner', leaseUntil);
      // before any sweep
      assert.deepEqual(
        (await store.takenOffers('one')).map(({ valid }) => valid),
        [true],
      );
      await store.releaseOrphans();
      assert.equal(await left(), 0);
      assert.deepEqual(await store.writeHelped('one', [held(id, 'a', { end: '{}' })]), []);
      assert.equal((await store.execution(id))!.inboxSeq, 1);
    });

    it('an attempt number that a helper had begun is used up although no owner read the message', async () => {
      const id = await offering(sampleOffer('a', { attempt: 3 }));
      const state = {
        task: 'a',
        item: -1,
        status: 'pending',
        attempt: 2,
        chargedAttempts: 0,
        epoch: 1,
        startedAt: null,
      } as const;
      const rest = { endedAt: null, wakeAt: null, output: null, error: null, reason: null, cause: null, value: null };
      const transition = sampleTransition(id, { tasks: [{ ...state, ...rest }] });
      await store.commit({ runner: 'owner', lane: 0, n: ++batches, transitions: [transition] });
      await take('one');
      await kill('owner');
      await store.cancel(id, 'default');
      assert.deepEqual(
        (await store.tasks(id)).map(({ status, attempt }) => [status, attempt]),
        [['cancelled', 3]],
      );
    });

    it('a claim ignores workflows that are for other runners', async () => {
      const limited = sampleExecution({ workflow: 'theirs', limitKey: 'k' });
      const [mine, theirs] = [sampleExecution({ workflow: 'mine' }), sampleExecution({ workflow: 'theirs' })];
      await store.createExecutions([mine, theirs, limited]);
      const except = new Map([[code, ['theirs']]]);
      const claim = { runner: 'one', now: 1, limit: 10, buildIds: [code], roots: null, limits: new Map(), except };
      assert.equal(await store.claimable(claim), true);
      assert.deepEqual(
        (await store.claim(claim)).map(({ execution }) => execution.id),
        [mine.id],
      );
      assert.deepEqual(
        [await store.claimable(claim), await store.claimable({ ...claim, except: new Map() })],
        [false, true],
      );
    });
  });
}
