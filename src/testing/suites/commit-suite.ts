import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isError } from '../../core/foreign/realms.ts';
import { FencedError, RefusedDataError } from '../../store/transition.ts';
import { sampleExecution, sampleRelease, sampleRunner, sampleTaskState, sampleTransition } from '../samples.ts';
import type { StorePlace } from '../store-place.ts';

/** Writes of commits, and inbox messages, for every database. */
export function commitSuite(place: StorePlace): void {
  const { commit, claim, owned, created } = place;

  describe('durability.md, The commit: transitions of many executions', () => {
    it('a commit writes tasks, steps, logs and events of many executions; a task is overwritten, a step is kept', async () => {
      const [one, two] = [await owned(), await owned()];
      const result = await commit(
        'r1',
        sampleTransition(one, {
          tasks: [sampleTaskState('a')],
          steps: [{ task: 'a', item: -1, name: 's', output: '"once"' }],
          logs: [{ task: 'a', item: -1, attempt: 1, n: 1, at: 5, level: 'info', message: 'm', data: null }],
          events: [{ seq: 1, type: 'task.started', at: 5, task: 'a', item: null, attempt: 1, data: '{"x":1}' }],
        }),
        sampleTransition(two, { tasks: [sampleTaskState('z')], parsedInput: '{"n":2}' }),
      );
      assert.deepEqual(result, { lost: [], kept: [], moved: [], offersTaken: [] });
      const change = {
        status: 'waiting',
        wakeAt: 99,
        chargedAttempts: 1,
        error: '{"code":"X"}',
        reason: 'r',
        cause: 'c',
      } as const;
      await commit('r1', sampleTransition(one, { tasks: [sampleTaskState('a', change)] }));
      assert.deepEqual(await place.store.tasks(one), [sampleTaskState('a', change)]);
      assert.equal(await place.store.step(one, 'a', -1, 's'), '"once"');
      assert.equal(await place.store.step(one, 'a', -1, 'other'), undefined);
      assert.equal(await place.store.step(two, 'a', -1, 's'), undefined);
      const [event] = await place.store.events(one, 0, 10);
      assert.deepEqual(event, {
        executionId: one,
        seq: 1,
        type: 'task.started',
        at: 5,
        task: 'a',
        item: null,
        attempt: 1,
        runner: 'r1',
        data: '{"x":1}',
      });
      await commit('r1', sampleTransition(one, { loadAttempts: 3 }), sampleTransition(two, { loadAttempts: 2 }));
      const loads = async (): Promise<number[]> =>
        Promise.all([one, two].map(async (id) => (await place.store.execution(id))!.loadAttempts));
      assert.deepEqual(await loads(), [3, 2]);
      await commit('r1', sampleTransition(one, { progressed: true }), sampleTransition(two, { inboxAcked: 0 }));
      assert.deepEqual(await loads(), [0, 2], 'progress ends the count');
      const parsed = (await place.store.execution(two))!;
      assert.deepEqual([parsed.input, parsed.inputParsed], ['{"n":2}', true]);
    });

    it('the fence: a runner that is dead or has no row writes nothing', async () => {
      const id = await owned();
      await place.store.markDead('r1', 2_000_000);
      const create = sampleExecution({ owned: true });
      for (const runner of ['r1', 'nobody']) {
        await assert.rejects(
          commit(
            runner,
            sampleTransition(create.id, { create }),
            sampleTransition(id, { tasks: [sampleTaskState('a')] }),
          ),
          FencedError,
        );
      }
      assert.equal(await place.store.execution(create.id), undefined);
      assert.deepEqual(await place.store.tasks(id), []);
    });

    it('an execution with another owner or epoch is lost: none of its rows are written, those of the others are', async () => {
      const [mine, taken, older] = [await owned(), await owned(), await owned()];
      await place.store.releaseExecution(taken, 'r1', 1);
      await claim({ runner: 'r2' });
      await place.store.releaseExecution(older, 'r1', 1);
      await claim({ runner: 'r1' });
      const write = { tasks: [sampleTaskState('a')], release: sampleRelease() };
      const result = await commit(
        'r1',
        sampleTransition(taken, write),
        sampleTransition(mine, write),
        sampleTransition(older, write),
        sampleTransition('nobody', write),
      );
      assert.deepEqual(result, { lost: [taken, older, 'nobody'], kept: [], moved: [], offersTaken: [] });
      assert.deepEqual(
        [await place.store.tasks(taken), await place.store.tasks(older), await place.store.tasks('nobody')],
        [[], [], []],
      );
      assert.equal((await place.store.execution(taken))!.owner, 'r2');
      assert.equal((await place.store.execution(mine))!.status, 'completed');
    });

    it('an error about refused data names the execution, and the batch writes nothing', async () => {
      const [good, bad] = [await owned(), await owned()];
      const event = { seq: 1, type: 'task.started', at: 5, task: 'a', item: null, attempt: 1, data: null } as const;
      await assert.rejects(
        commit(
          'r1',
          sampleTransition(good, { tasks: [sampleTaskState('a')] }),
          sampleTransition(bad, { events: [event, event] }),
        ),
        (error) => error instanceof RefusedDataError && error.id === bad && isError(error.cause),
      );
      assert.deepEqual(await place.store.tasks(good), []);
    });

    it('a release at the end keeps output, error and the last event, and leaves no owner', async () => {
      const id = await owned();
      const last = {
        seq: 1,
        type: 'execution.failed',
        at: 9,
        task: null,
        item: null,
        attempt: null,
        data: null,
      } as const;
      const letGo = sampleRelease({
        status: 'failed',
        output: null,
        error: '{"code":"X"}',
        errorTask: 'a',
        events: [last],
      });
      await commit('r1', sampleTransition(id, { release: letGo }));
      const record = (await place.store.execution(id))!;
      assert.deepEqual(
        [record.status, record.owner, record.endedAt, record.error, record.errorTask],
        ['failed', null, 1_000_002, '{"code":"X"}', 'a'],
      );
      assert.deepEqual(
        (await place.store.events(id, 0, 10)).map(({ type, runner }) => [type, runner]),
        [['execution.failed', 'r1']],
      );
      assert.deepEqual(await claim(), []);
    });

    it('a release to `waiting` frees the execution until its time, then any runner can take it', async () => {
      const id = await owned();
      const letGo = sampleRelease({ status: 'waiting', wakeAt: 500, endedAt: null, output: null });
      await commit('r1', sampleTransition(id, { release: letGo }));
      assert.deepEqual([await place.store.nextWake(), await claim()], [500, []]);
      assert.equal(await place.store.wake(499), 0);
      assert.equal(await place.store.wake(500), 1);
      assert.equal(await place.store.nextWake(), null);
      const [claimed] = await claim({ runner: 'r2' });
      assert.deepEqual(
        [claimed!.pendingReason, claimed!.execution.epoch, claimed!.execution.startedAt],
        ['woken', 2, 1_000_000],
      );
    });

    it('progress resets the crash count to 0', async () => {
      const id = await owned();
      for (let i = 0; i < 2; i++) {
        const runner = `dying${i}`;
        await place.store.registerRunner(sampleRunner(runner));
        await place.store.releaseExecution(id, 'r1', 1);
        await claim({ runner });
        await place.store.markDead(runner, 2_000_000);
        assert.equal(await place.store.releaseOrphans(), 1);
        const [claimed] = await claim({ runner: 'r2' });
        assert.equal(claimed!.execution.crashCount, 1);
        await commit('r2', sampleTransition(id, { epoch: claimed!.execution.epoch, progressed: true }));
        assert.equal((await place.store.execution(id))!.crashCount, 0);
        await place.store.releaseExecution(id, 'r2', claimed!.execution.epoch);
      }
    });
  });

  describe('durability.md, Inbox', () => {
    it('an inbox message of an owned execution is kept until its owner acknowledges it, then deleted', async () => {
      const [id, other] = [await owned(), await owned()];
      assert.equal(await place.store.hasMessages('r1'), false);
      assert.deepEqual(await place.store.cancel(id, 'default'), { status: 'sent' });
      assert.deepEqual([await place.store.hasMessages('r1'), await place.store.hasMessages('r2')], [true, false]);
      const messages = await place.store.inboxOf('r1');
      assert.deepEqual(
        messages.map(({ executionId, n, kind }) => [executionId, n, kind]),
        [[id, 1, 'cancel']],
      );
      await commit('r1', sampleTransition(id, { inboxAcked: 1 }), sampleTransition(other));
      assert.equal(await place.store.hasMessages('r1'), false);
      assert.deepEqual(await place.store.inboxOf('r1'), []);
      assert.equal((await place.store.execution(id))!.inboxAcked, 1);
    });

    it('an inbox message that the owner has not read blocks the release: the changes are written, but the owner stays', async () => {
      const id = await owned();
      await place.store.cancel(id, 'default');
      const write = { tasks: [sampleTaskState('a')], release: sampleRelease({ inboxSeen: 0 }) };
      assert.deepEqual(await commit('r1', sampleTransition(id, write)), {
        lost: [],
        kept: [id],
        moved: [],
        offersTaken: [],
      });
      assert.equal((await place.store.tasks(id)).length, 1);
      assert.deepEqual(
        [(await place.store.execution(id))!.owner, (await place.store.execution(id))!.output],
        ['r1', null],
      );
      const seen = { inboxAcked: 1, release: sampleRelease({ status: 'cancelled', inboxSeen: 1 }) };
      assert.deepEqual(await commit('r1', sampleTransition(id, seen)), {
        lost: [],
        kept: [],
        moved: [],
        offersTaken: [],
      });
      assert.equal((await place.store.execution(id))!.status, 'cancelled');
    });

    it('an inbox message waits for the next owner if the last one was lost', async () => {
      const id = await owned();
      await place.store.cancel(id, 'default');
      await place.store.releaseExecution(id, 'r1', 1);
      await claim({ runner: 'r2' });
      assert.equal(await place.store.hasMessages('r2'), true);
      assert.equal((await place.store.inboxOf('r2')).length, 1);
    });

    it('a cancel without an owner is applied at once, and is refused for an ended or unknown execution', async () => {
      const [pending, waiting] = await created({}, { startAt: 9_000_000 });
      const id = await owned();
      await commit('r1', sampleTransition(id, { release: sampleRelease() }));
      assert.deepEqual(await place.store.cancel(pending!, 'default'), { status: 'applied', as: 'cancelled' });
      assert.deepEqual(await place.store.cancel(waiting!, 'default'), { status: 'applied', as: 'cancelled' });
      assert.deepEqual(await place.store.cancel(id, 'default'), { status: 'ended', as: 'completed' });
      assert.deepEqual(await place.store.cancel(pending!, 'default'), { status: 'ended', as: 'cancelled' });
      assert.deepEqual(await place.store.cancel('nobody', 'default'), { status: 'unknown' });
      const record = (await place.store.execution(waiting!))!;
      assert.deepEqual([record.status, record.wakeAt, record.endedAt === null], ['cancelled', null, false]);
      assert.equal(await place.store.nextWake(), null);
      assert.deepEqual(
        (await place.store.events(pending!, 0, 10)).map(({ seq, type }) => [seq, type]),
        [
          [1, 'execution.created'],
          [2, 'execution.cancelling'],
          [3, 'execution.cancelled'],
        ],
      );
    });

    it('an execution of another tenant is unknown', async () => {
      const [id] = await created({ tenant: 'other' });
      assert.deepEqual(await place.store.cancel(id!, 'default'), { status: 'unknown' });
      assert.equal((await place.store.execution(id!))!.status, 'pending');
    });
  });
}
