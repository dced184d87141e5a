import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NewExecution } from '../../store/transition.ts';
import type { PrunePlace, Store } from '../../store/store.ts';
import { run } from '../../store/script.ts';
import { insertSchedule, neverFired } from '../../store/schedules/schedules.ts';
import { insertSlot } from '../../store/schedules/slots.ts';
import { scheduleRule } from '../../core/schedule/rule.ts';
import { sampleExecution, sampleTaskState, sampleTransition } from '../samples.ts';
import type { StorePlace } from '../store-place.ts';

const tables = ['executions', 'events', 'logs', 'steps', 'task_executions', 'execution_tags', 'inbox_messages'];

async function rowsIn(store: Store, table: string): Promise<number> {
  return store.read(function* () {
    const { rows } = yield { text: `select count(*) as n from ${table}`, params: [] };
    return Number(rows[0]!['n']);
  });
}

async function rowsOf(store: Store): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  for (const table of tables) counts[table] = await rowsIn(store, table);
  return counts;
}

const none = Object.fromEntries(tables.map((table) => [table, 0]));

/** The removal of what is over: ended executions, and the slots of schedules. */
export function retentionSuite(place: StorePlace): void {
  describe('engine.md, Retention: ended executions are removed in steps of limited size', () => {
    /** Creates executions that have ended, each with rows in every table: 8 rows and as many log lines as asked. */
    async function ended(
      changes: readonly Partial<NewExecution>[],
      { at = 1000, lines = 1 }: { readonly at?: number; readonly lines?: number } = {},
    ): Promise<readonly string[]> {
      const ids: string[] = [];
      for (const change of changes) {
        const create = sampleExecution({ ...change, owned: true, tags: '{"a":"b"}' });
        const key = { task: 'a', item: -1, attempt: 1 };
        await place.commit(
          'r1',
          sampleTransition(create.id, {
            create,
            tasks: [sampleTaskState('a', { status: 'completed', output: '1' })],
            steps: [{ task: 'a', item: -1, name: 's', output: '1' }],
            logs: Array.from({ length: lines }, (_, n) => ({ ...key, n, at, level: 'info', message: 'm', data: null })),
            events: [1, 2].map((seq) => ({
              seq,
              type: 'task.completed',
              at,
              task: 'a',
              item: null,
              attempt: 1,
              data: null,
            })),
          }),
        );
        ids.push(create.id);
      }
      if (ids.length === 0) return [];
      const list = ids.map((id) => `'${id}'`).join(', ');
      await place.store.write(function* () {
        yield* run(`update executions set status = 'completed', owner = null, ended_at = ${at} where id in (${list})`);
        yield* run(
          `insert into inbox_messages (execution_id, n, at, kind) select id, 1, 1, 'signal' from executions where id in (${list})`,
        );
      });
      return ids;
    }

    /** Prunes to the end; returns the number of executions that each step removed. */
    async function pruneAll(now: number, retentionMs: number | null, rows: number): Promise<readonly number[]> {
      const steps: number[] = [];
      let from: PrunePlace | null = null;
      do {
        const { executions, next } = await place.store.prune({ now, retentionMs, rows, from });
        if (next !== null) steps.push(executions);
        from = next;
      } while (from !== null);
      return steps;
    }

    it('one step removes as many executions as its rows allow, and all rows of each', async () => {
      await ended(Array.from({ length: 40 }, () => ({})));
      assert.equal((await rowsOf(place.store))['executions'], 40);
      const steps = await pruneAll(2000, 1000, 90);
      assert.equal(
        steps.reduce((sum, count) => sum + count, 0),
        40,
      );
      assert.ok(
        steps.every((count) => count <= 11),
        String(steps),
      );
      assert.ok(steps.length <= 7, String(steps));
      assert.deepEqual(await rowsOf(place.store), none);
    });

    it('an execution goes when its own retention is over, else that of the runner; null keeps it', async () => {
      const [brief] = await ended([{ retention: 10 }]);
      const [long] = await ended([{ retention: 5000 }]);
      const [plain] = await ended([{}]);
      const left = async (): Promise<readonly string[]> => place.store.known([brief!, long!, plain!]);
      assert.deepEqual(await pruneAll(1009, null, 100), []);
      assert.deepEqual(await pruneAll(1010, null, 100), [1]);
      assert.deepEqual(new Set(await left()), new Set([long, plain]));
      assert.deepEqual(await pruneAll(1500, 501, 100), []);
      assert.deepEqual(await pruneAll(1500, 500, 100), [1]);
      assert.deepEqual(await left(), [long]);
      assert.deepEqual(await pruneAll(6000, 1, 100), [1]);
    });

    it('an execution with more rows than a step removes is hidden from the first step on, and is removed in several', async () => {
      const [big] = await ended([{}], { lines: 250 });
      const [next] = await ended([{}], { at: 1001 });
      const first = await place.store.prune({ now: 2000, retentionMs: 0, rows: 100, from: null });
      assert.equal(first.executions, 0);
      assert.deepEqual(await place.store.known([big!, next!]), [next]);
      assert.ok((await rowsIn(place.store, 'logs')) > 100);
      assert.deepEqual(await pruneAll(2000, 0, 100), [0, 1, 1]);
      assert.deepEqual(await rowsOf(place.store), none);
    });

    it('a family is removed with its root; one that does not fit into a step is hidden as a whole first', async () => {
      const [root] = await ended([{ retention: 10 }]);
      const parent = { id: root!, task: 'kid', item: -1 };
      const children = await ended(Array.from({ length: 30 }, () => ({ rootId: root!, parent, retention: 1 })));
      assert.deepEqual(await pruneAll(1005, 0, 10_000), [], 'children are kept as long as their root');
      const { executions, next } = await place.store.prune({ now: 1010, retentionMs: null, rows: 100, from: null });
      assert.ok(executions > 5 && executions <= 12, String(executions));
      assert.deepEqual(await place.store.known([root!, ...children]), []);
      assert.equal((await rowsOf(place.store))['executions'], 31 - executions);
      assert.notEqual(next, null);
      await pruneAll(1010, null, 100);
      assert.deepEqual(await rowsOf(place.store), none);
    });

    it('families of different sizes are removed whole, each in one step', async () => {
      for (let size = 0; size < 6; size++) {
        const [root] = await ended([{}], { at: 1000 + size });
        const parent = { id: root!, task: 'kid', item: -1 };
        await ended(Array.from({ length: size }, () => ({ rootId: root!, parent })));
      }
      assert.deepEqual(await pruneAll(2000, 0, 10_000), [21]);
      assert.deepEqual(await rowsOf(place.store), none);
    });

    it('the idempotency key of an execution is free from the first step of its removal on', async () => {
      const [old] = await place.created({ idempotencyKey: 'k', inputHash: 'h1' });
      await place.store.cancel(old!, 'default');
      const step = { now: Date.now() + 1000, retentionMs: 0, rows: 1 };
      const { executions, next } = await place.store.prune({ ...step, from: null });
      assert.deepEqual([executions, next === null], [0, false]);
      assert.equal(await place.store.execution(old!), undefined, 'a part of its rows is left');
      const one = sampleExecution({ idempotencyKey: 'k', inputHash: 'h2' });
      const [again] = await place.store.createExecutions([one]);
      assert.deepEqual(again, { id: one.id, created: true, buildId: 'embedded/w/1', inputHash: 'h2' });
      const removed = await pruneAll(step.now, 0, 1);
      assert.equal(
        removed.reduce((sum, count) => sum + count, 0),
        1,
      );
      assert.equal((await place.store.execution(one.id))?.status, 'pending');
    });

    it('a family with a living child is kept, and others are removed', async () => {
      const [root] = await ended([{}]);
      await ended([{}], { at: 1001 });
      await place.created({ rootId: root!, parent: { id: root!, task: 'kid', item: -1 } });
      assert.deepEqual(await pruneAll(2000, 0, 10_000), [1]);
      assert.deepEqual(await place.store.known([root!]), [root]);
    });
  });

  describe('scheduling.md, Slots: old slots of schedules are removed', () => {
    async function schedule(id: string): Promise<void> {
      await place.store.write(() =>
        insertSchedule({
          ...neverFired,
          id,
          tenant: 'default',
          owner: 'operator',
          name: id,
          workflow: 'w',
          input: '{}',
          rule: scheduleRule({ every: '1s' }, null),
          anchor: 0,
          overrides: null,
          enabled: true,
          pausedAt: null,
          cursor: 0,
          createdAt: 0,
          updatedAt: 0,
        }),
      );
    }

    async function slots(id: string, from: number, count: number, change: object = {}): Promise<void> {
      const row = {
        count: 1,
        outcome: 'started',
        reason: null,
        isCatchUp: false,
        executionId: 'x',
        error: null,
      } as const;
      await place.store.write(function* () {
        for (let slot = from; slot < from + count; slot++)
          yield* insertSlot(id, { ...row, slot, through: slot, at: slot, ...change });
      });
    }

    async function left(): Promise<readonly string[]> {
      return place.store.read(function* () {
        const { rows } = yield {
          text: 'select schedule_id, slot from schedule_slots order by schedule_id, slot',
          params: [],
        };
        return rows.map((row) => `${String(row['schedule_id'])}:${String(row['slot'])}`);
      });
    }

    async function pruneAll(before: number | null, rows: number): Promise<readonly number[]> {
      const steps: number[] = [];
      let from: string | null = null;
      do {
        const { slots: count, next } = await place.store.pruneSlots({ before, rows, from });
        steps.push(count);
        from = next;
      } while (from !== null);
      return steps;
    }

    it('slots before a time are removed, but not the newest of a schedule, one that is buffered, or a row that reaches on', async () => {
      for (const id of ['a', 'b', 'c', 'd']) await schedule(id);
      await slots('a', 100, 20);
      await slots('b', 10, 3);
      await slots('c', 50, 1, { outcome: 'buffered', executionId: null });
      await slots('c', 51, 1);
      await slots('c', 52, 1);
      await slots('d', 10, 1, { through: 115, count: 106, outcome: 'paused', executionId: null });
      await slots('d', 116, 1);
      await pruneAll(110, 1000);
      const kept = Array.from({ length: 10 }, (_, i) => `a:${110 + i}`);
      assert.deepEqual(await left(), [...kept, 'b:12', 'c:50', 'c:52', 'd:10', 'd:116']);
      assert.deepEqual(
        (await pruneAll(110, 1000)).filter((count) => count > 0),
        [],
      );
    });

    it('one step removes a limited number of slots, of many schedules or of one', async () => {
      for (const id of ['a', 'b', 'c']) await schedule(id);
      await slots('a', 0, 120);
      await slots('b', 0, 20);
      await slots('c', 0, 20);
      const steps = await pruneAll(1000, 50);
      assert.ok(
        steps.every((count) => count <= 50),
        String(steps),
      );
      assert.equal(
        steps.reduce((sum, count) => sum + count, 0),
        157,
      );
      assert.deepEqual(await left(), ['a:119', 'b:19', 'c:19']);
    });

    it('slots of a schedule that no longer exists are removed, also while slots are kept for ever', async () => {
      await schedule('b');
      await slots('a', 0, 30);
      await slots('b', 0, 3);
      await slots('c', 0, 1);
      await pruneAll(null, 20);
      assert.deepEqual(await left(), ['b:0', 'b:1', 'b:2']);
    });
  });
}
