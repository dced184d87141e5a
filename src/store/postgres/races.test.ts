import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { isHeldUp, postgresPlace } from '../../testing/postgres-place.ts';
import type { PostgresPlace } from '../../testing/postgres-place.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import {
  sampleEffects,
  sampleExecution,
  sampleRunner,
  sampleRelease,
  sampleTaskState,
  sampleTransition,
} from '../../testing/samples.ts';
import { FencedError, RefusedDataError } from '../transition.ts';
import type { NewEvent, NewExecution } from '../transition.ts';
import type { Store } from '../store.ts';

const place = (t: Cleanup, url: string): Promise<PostgresPlace> => postgresPlace(t, url, ['r1', 'r2']);

/** An execution that r1 owns, by its batch number 1. */
async function owned(store: Store, change: Partial<NewExecution> = {}): Promise<string> {
  const create = sampleExecution({ ...change, owned: true });
  await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(create.id, { create })] });
  return create.id;
}

function event(seq: number, type: NewEvent['type'], change: Partial<NewEvent> = {}): NewEvent {
  return { seq, type, at: 1_000_005, task: null, item: null, attempt: null, data: null, ...change };
}

const server = await testPostgres();
if (typeof server === 'string') {
  describe('races on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  const { url } = server;
  after(() => server.stop());

  describe('durability.md, A batch is written once: races of two sends', () => {
    /** Two forms of a commit: one statement, or, with effects, a transaction of several. */
    const effects = sampleEffects({ itemsDropped: ['nothing'] });
    for (const [form, change] of [
      ['as one statement', {}],
      ['as a transaction', { effects }],
    ] as const) {
      it(`a batch that arrives again after later ones rewinds nothing (${form})`, async (t) => {
        const { store } = await place(t, url);
        const id = await owned(store);
        const begun = sampleTransition(id, {
          tasks: [sampleTaskState('a')],
          events: [event(1, 'task.started')],
          ...change,
        });
        const first = { runner: 'r1', lane: 0, n: 2, transitions: [begun] };
        const answer = await store.commit(first);
        assert.deepEqual(await store.commit(first), answer, 'a repetition gives the same answer');
        const done = sampleTaskState('a', { status: 'completed', endedAt: 1_000_009, output: '1' });
        const ended = sampleTransition(id, { tasks: [done], events: [event(2, 'task.completed')], ...change });
        await store.commit({ runner: 'r1', lane: 0, n: 3, transitions: [ended] });
        await store.commit(first);
        assert.deepEqual(
          (await store.tasks(id)).map(({ status, output }) => [status, output]),
          [['completed', '1']],
        );
        assert.deepEqual(
          (await store.events(id, 0, 10)).map(({ type }) => type),
          ['task.started', 'task.completed'],
        );
      });

      it(`each lane counts its own batches (${form})`, async (t) => {
        const { store } = await place(t, url);
        const id = await owned(store);
        const write = async (lane: number, n: number, task: string): Promise<void> => {
          const tasks = [sampleTaskState(task)];
          await store.commit({ runner: 'r1', lane, n, transitions: [sampleTransition(id, { tasks, ...change })] });
        };
        await write(0, 5, 'a');
        await write(1, 2, 'b');
        await write(1, 2, 'b'); // a repetition
        await write(0, 6, 'c');
        assert.deepEqual((await store.tasks(id)).map(({ task }) => task).toSorted(), ['a', 'b', 'c']);
        await assert.rejects(write(0, 4, 'late'), FencedError);
      });

      it(`a batch older than the remembered ones is refused (${form})`, async (t) => {
        const { store } = await place(t, url);
        const id = await owned(store);
        const late = sampleTransition(id, { tasks: [sampleTaskState('late')], ...change });
        for (let n = 2; n < 70; n++)
          await store.commit({ runner: 'r1', lane: 0, n, transitions: [sampleTransition(id, change)] });
        await assert.rejects(store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [late] }), FencedError);
        assert.deepEqual(await store.tasks(id), []);
      });

      it(`a batch in flight twice is written by the first to arrive (${form})`, async (t) => {
        const { store, client } = await place(t, url);
        const id = await owned(store);
        // the first try: its connection holds the number and has not committed
        await client.query('begin');
        await client.query(
          `insert into batches (runner, lane, n, result) values ('r1', 0, 2, '{"lost":[],"kept":[],"moved":[],"offersTaken":[]}')`,
        );
        const again = sampleTransition(id, { tasks: [sampleTaskState('a')], ...change });
        const repetition = store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [again] });
        assert.ok(await isHeldUp(repetition), 'it waits for what becomes of the first');
        await client.query('commit');
        assert.deepEqual(await repetition, { lost: [], kept: [], moved: [], offersTaken: [] });
        assert.deepEqual(await store.tasks(id), [], 'all was for the first to write');
      });
    }
  });

  describe('durability.md, Death and adoption: against a commit in flight', () => {
    it('a runner in the middle of a commit is not marked dead and delays nothing; after it the mark succeeds and the runner writes nothing', async (t) => {
      const { store, client } = await place(t, url);
      const id = await owned(store);
      const { leaseUntil } = (await store.runners()).find((runner) => runner.id === 'r1')!;
      // its commit: the fence is passed, rows are written, and nothing is committed yet
      await client.query('begin');
      await client.query(`select 1 from runners where id = 'r1' and dead = 0 for share`);
      await client.query(`select 1 from executions where id = $1 and owner = 'r1' for update`, [id]);
      await client.query(
        `insert into task_executions (execution_id, task, item, status, attempt, charged_attempts, epoch, output)
         values ($1, 'a', -1, 'completed', 1, 0, 1, '1')`,
        [id],
      );
      const marked = store.markDead('r1', leaseUntil);
      assert.equal(await isHeldUp(marked), false, 'nobody waits for it');
      assert.equal(await marked, false);
      assert.equal(await store.releaseOrphans(), 0, 'nobody takes what it has');
      await client.query('commit');
      assert.equal(await store.markDead('r1', leaseUntil), true);
      assert.equal(await store.releaseOrphans(), 1);
      const [adopted] = await store.claim({
        runner: 'r2',
        now: 1_000_010,
        limit: 1,
        buildIds: ['embedded/w/1'],
        roots: null,
        limits: new Map(),
      });
      assert.deepEqual(
        adopted!.tasks.map(({ task, status }) => [task, status]),
        [['a', 'completed']],
        'what it wrote last counts',
      );
      const late = sampleTransition(id, { tasks: [sampleTaskState('b')] });
      await assert.rejects(store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [late] }), FencedError);
      assert.equal((await store.tasks(id)).length, 1);
    });

    it('a commit that waits while its runner is marked dead writes nothing', async (t) => {
      const { store, client } = await place(t, url);
      const id = await owned(store);
      await client.query('begin');
      await client.query(`update runners set dead = 1 where id = 'r1'`);
      const change = sampleTransition(id, { tasks: [sampleTaskState('a')] });
      const commit = store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [change] });
      commit.catch(() => undefined); // the assertion is below
      assert.ok(await isHeldUp(commit.catch(() => undefined)));
      await client.query('commit');
      await assert.rejects(commit, FencedError);
      assert.deepEqual(await store.tasks(id), []);
    });
  });

  describe('durability.md, Inbox: a release depends on the messages that the owner has read', () => {
    it('a signal inserted during the release keeps the execution with its owner', async (t) => {
      const { store, client } = await place(t, url);
      const id = await owned(store);
      await client.query('begin');
      await client.query('select inbox_seq from executions where id = $1 for update', [id]);
      await client.query(
        `insert into inbox_messages (execution_id, n, at, kind, name, payload) values ($1, 1, 1, 'signal', 'go', '1')`,
        [id],
      );
      await client.query('update executions set inbox_seq = 1 where id = $1', [id]);
      const letGo = sampleRelease({ status: 'waiting', endedAt: null, output: null });
      const commit = store.commit({
        runner: 'r1',
        lane: 0,
        n: 2,
        transitions: [sampleTransition(id, { release: letGo })],
      });
      assert.ok(await isHeldUp(commit));
      await client.query('commit');
      assert.deepEqual(await commit, { lost: [], kept: [id], moved: [], offersTaken: [] });
      assert.equal((await store.execution(id))!.owner, 'r1');
      assert.equal((await store.inboxOf('r1')).length, 1);
    });

    it('a signal that arrives while the release commits makes the execution pending', async (t) => {
      const { store, client } = await place(t, url);
      const id = await owned(store);
      await client.query('begin');
      await client.query(`update executions set status = 'waiting', owner = null where id = $1`, [id]);
      const sent = store.signal(id, 'default', 'go', '1');
      assert.ok(await isHeldUp(sent));
      await client.query('commit');
      assert.deepEqual(await sent, { status: 'sent' });
      assert.equal((await store.execution(id))!.status, 'pending');
    });
  });

  describe('durability.md, Ownership: races between claims, sweeps and commits', () => {
    it('a due execution that another runner holds is not woken after it has ended', async (t) => {
      const { store, client } = await place(t, url);
      const create = sampleExecution({ startAt: 2_000_000 });
      await store.createExecutions([create]);
      // another runner has woken and taken it, and it has ended, all before this poll reaches its row
      await client.query('begin');
      await client.query(
        `update executions set status = 'completed', wake_at = null, ended_at = 2000001 where id = $1`,
        [create.id],
      );
      const woken = store.wake(2_000_000);
      assert.equal(await isHeldUp(woken), false, 'nobody waits for it');
      await client.query('commit');
      assert.equal(await woken, 0);
      assert.equal((await store.execution(create.id))!.status, 'completed');
    });

    it('an execution that a runner has just taken stays with it, even if that runner is new', async (t) => {
      const { store, client } = await place(t, url);
      const id = await owned(store);
      await client.query('begin');
      await store.removeRunner('r1');
      // a runner that did not exist when this sweep began takes it meanwhile
      await client.query(`update executions set owner = 'new', epoch = epoch + 1 where id = $1`, [id]);
      const swept = store.releaseOrphans();
      await isHeldUp(swept);
      await store.registerRunner(sampleRunner('new'));
      await client.query('commit');
      assert.equal(await swept, 0);
      assert.equal((await store.execution(id))!.owner, 'new');
    });

    it('rows of other executions that a commit notifies are locked in one order with its own', async (t) => {
      const { store, client } = await place(t, url);
      const parent = sampleExecution({ owned: true });
      const child = sampleExecution({ owned: true, parent: { id: parent.id, task: 'kid', item: -1 } });
      assert.ok(parent.id < child.id);
      const transitions = [parent, child].map((create) => sampleTransition(create.id, { create }));
      await store.commit({ runner: 'r1', lane: 0, n: 1, transitions });
      await client.query('begin');
      await client.query('select 1 from executions where id = $1 for update', [parent.id]);
      const letGo = sampleRelease({
        parent: { id: parent.id, task: 'kid' },
        events: [event(1, 'execution.completed')],
      });
      const ended = store.commit({
        runner: 'r1',
        lane: 0,
        n: 2,
        transitions: [sampleTransition(child.id, { release: letGo })],
      });
      assert.ok(await isHeldUp(ended));
      // it waits for the first of them without holding a lock
      const free = await client.query('select 1 from executions where id = $1 for update skip locked', [child.id]);
      assert.equal(free.rows.length, 1);
      await client.query('commit');
      await ended;
      assert.equal((await store.execution(child.id))!.status, 'completed');
    });

    it('a claim counts executions taken under its limit while it waited', async (t) => {
      const { store, client } = await place(t, url);
      const creates = [0, 1].map(() => sampleExecution({ limitKey: 'one' }));
      await store.createExecutions(creates);
      const claim = {
        now: 1_000_010,
        limit: 10,
        buildIds: ['embedded/w/1'],
        roots: null,
        limits: new Map([['embedded/w/1 w', 1]]),
      };
      // another runner's claim: it holds the limit, has taken one, and has not committed
      await client.query('begin');
      await client.query(`select pg_advisory_xact_lock(hashtextextended('one', 0))`);
      await client.query(`update executions set status = 'running', owner = 'r1', epoch = 1 where id = $1`, [
        creates[0]!.id,
      ]);
      const claimed = store.claim({ runner: 'r2', ...claim });
      assert.ok(await isHeldUp(claimed));
      await client.query('commit');
      assert.deepEqual(await claimed, []);
    });
  });

  describe('engine.md, Retention: concurrent removal', () => {
    /** One step of a round, by the retention of a runner or by those of the executions alone; returns the number removed. */
    const removed = async (store: Store, retentionMs: number | null, width = 32): Promise<number> => {
      const from = { expired: null, ended: null, width };
      return (await store.prune({ now: 1_000_000, retentionMs, rows: 100, from })).executions;
    };

    for (const [whose, retention, retentionMs] of [
      ['of the executions themselves', 0, null],
      ['of the runner', null, 0],
    ] as const) {
      it(`ten removals at the same moment take an execution each and do not wait (by the retention ${whose})`, async (t) => {
        const { store, client } = await place(t, url);
        const creates = Array.from({ length: 11 }, () => sampleExecution({ retention }));
        await store.createExecutions(creates);
        await client.query(`update executions set status = 'completed', ended_at = 1`);
        // one more runner is in the middle of removing one
        await client.query('begin');
        await client.query('update executions set pruned = 1 where id = $1', [creates[4]!.id]);
        const pruned = Array.from({ length: 10 }, () => removed(store, retentionMs, 1));
        assert.deepEqual(
          await Promise.all(pruned),
          Array.from({ length: 10 }, () => 1),
        );
        assert.equal(await removed(store, retentionMs), 0);
        await client.query('rollback');
        assert.equal(await removed(store, retentionMs), 1);
      });
    }

    it('an execution that is retried at that moment is kept', async (t) => {
      const { store, client } = await place(t, url);
      const create = sampleExecution();
      await store.createExecutions([create]);
      await client.query(`update executions set status = 'failed', ended_at = 1`);
      await client.query('begin');
      await client.query(`update executions set status = 'pending', ended_at = null`);
      const pruned = removed(store, 0);
      await isHeldUp(pruned);
      await client.query('commit');
      assert.equal(await pruned, 0);
      assert.equal((await store.execution(create.id))!.status, 'pending');
    });

    for (const [whose, retention, retentionMs] of [
      ['of the executions themselves', 0, null],
      ['of the runner', null, 0],
    ] as const) {
      it(`a child that is retried at that moment is kept, with its family; others are removed meanwhile (by the retention ${whose})`, async (t) => {
        const { store, client } = await place(t, url);
        const root = sampleExecution({ retention });
        const children = ['left', 'right'].map((task) =>
          sampleExecution({ retention, rootId: root.id, parent: { id: root.id, task, item: -1 } }),
        );
        const other = sampleExecution({ retention });
        await store.createExecutions([root, ...children, other]);
        await client.query(`update executions set status = 'failed', ended_at = 1`);
        await client.query('update executions set ended_at = 2 where id = $1', [other.id]);
        const retried = children[1]!.id;
        // the changes of a retry before its commit
        await client.query('begin');
        await client.query('select 1 from executions where id = $1 for update', [retried]);
        await client.query(`update executions set status = 'pending', ended_at = null where id = $1`, [retried]);
        const pruned = removed(store, retentionMs);
        const waits = await isHeldUp(pruned);
        await client.query('commit');
        assert.equal(await pruned, 1);
        assert.equal((await store.execution(retried))?.status, 'pending');
        assert.equal(await store.execution(other.id), undefined);
        assert.equal(waits, false, 'nobody waits for it');
        assert.equal(await removed(store, retentionMs), 0);
        for (const { id } of [root, ...children]) assert.notEqual(await store.execution(id), undefined);
        await client.query(`update executions set status = 'failed', ended_at = 3 where id = $1`, [retried]);
        assert.equal(await removed(store, retentionMs), 3);
      });
    }
  });

  describe('durability.md, A commit that cannot succeed is not repeated: the bad row is found', () => {
    for (const [what, poison] of [
      ['a string with NUL', { tasks: [sampleTaskState('a', { output: '"\u0000"' })] }],
      ['a number too large for its column', { tasks: [sampleTaskState('a', { startedAt: 2 ** 63 })] }],
      ['NUL in a name', { tasks: [sampleTaskState('a\u0000b')] }],
    ] as const) {
      it(`${what} is found among its neighbours, and nothing of the batch is written`, async (t) => {
        const { store } = await place(t, url);
        const ids: string[] = [];
        for (let i = 0; i < 5; i++) {
          const create = sampleExecution({ owned: true });
          await store.commit({
            runner: 'r1',
            lane: 0,
            n: i + 1,
            transitions: [sampleTransition(create.id, { create })],
          });
          ids.push(create.id);
        }
        const bad = ids[3]!;
        const transitions = ids.map((id) =>
          sampleTransition(id, id === bad ? poison : { tasks: [sampleTaskState('a')] }),
        );
        await assert.rejects(store.commit({ runner: 'r1', lane: 0, n: 10, transitions }), (error: unknown) => {
          assert.ok(error instanceof RefusedDataError);
          return error.id === bad;
        });
        for (const id of ids) assert.deepEqual(await store.tasks(id), []);
        const others = transitions.filter(({ id }) => id !== bad);
        assert.deepEqual(await store.commit({ runner: 'r1', lane: 0, n: 11, transitions: others }), {
          lost: [],
          kept: [],
          moved: [],
          offersTaken: [],
        });
      });
    }

    it('one among a thousand is found by halving', async (t) => {
      const { store, client } = await place(t, url);
      const creates = Array.from({ length: 1000 }, () => sampleExecution({ owned: true }));
      const made = creates.map((create) => sampleTransition(create.id, { create }));
      await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: made });
      // a sequence also counts rolled-back values
      await client.query(`create sequence tries;
        create function try() returns trigger language plpgsql set search_path from current as $$ begin perform nextval('tries'); return null; end $$;
        create trigger try before insert on task_executions for each statement execute function try()`);
      const bad = creates[700]!.id;
      const transitions = creates.map(({ id }) => {
        return sampleTransition(id, { tasks: [sampleTaskState('a', { output: id === bad ? '"\u0000"' : '1' })] });
      });
      await assert.rejects(store.commit({ runner: 'r1', lane: 0, n: 2, transitions }), {
        name: 'RefusedDataError',
        id: bad,
      });
      const { rows } = await client.query<{ tries: string }>(`select nextval('tries') - 1 as tries`);
      // the batch itself, and one try for each halving of a thousand
      assert.ok(Number(rows[0]!.tries) <= 12, `${rows[0]!.tries} tries`);
      assert.deepEqual((await client.query('select from task_executions')).rows, []);
    });

    it('of two that conflict the second is blamed, whichever comes after it', async (t) => {
      const { store } = await place(t, url);
      const creates = Array.from({ length: 9 }, (_, i) => {
        return sampleExecution({ owned: true, idempotencyKey: i === 1 || i === 6 ? 'the same' : null });
      });
      const transitions = creates.map((create) => sampleTransition(create.id, { create }));
      const refused = { name: 'RefusedDataError', id: creates[6]!.id };
      await assert.rejects(store.commit({ runner: 'r1', lane: 0, n: 1, transitions }), refused);
      await store.commit({ runner: 'r1', lane: 0, n: 2, transitions: transitions.toSpliced(6, 1) });
      assert.equal((await store.ownedBy('r1')).length, 8);
    });
  });
}
