import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { newId } from '../engine/id.ts';
import { FencedError, RefusedDataError } from '../store/batch.ts';
import type { Effects, LetGo, NewExecution, TaskState, Transition } from '../store/batch.ts';
import type { Claim, ClaimedExecution, RunnerRecord, Store } from '../store/store.ts';
import { sampleWorkflow } from './sample-package.ts';

/** A new execution with what matters to a test. */
export function sampleExecution(change: Partial<NewExecution> = {}): NewExecution {
  const id = change.id ?? newId(1_000_000);
  return {
    id,
    tenant: 'default',
    workflow: 'w',
    pin: null,
    code: 'embedded/w/1',
    priority: 0,
    createdAt: 1_000_000,
    owned: false,
    startAt: null,
    input: '{"n":1}',
    given: null,
    inputParsed: true,
    tags: null,
    idempotencyKey: null,
    inputHash: null,
    limitKey: null,
    followsChannel: change.pin !== undefined && change.pin !== null,
    retention: null,
    rootId: id,
    parent: null,
    schedule: null,
    ...change,
  };
}

/** A transition that changes nothing but what it is told to. */
export function sampleEffects(change: Partial<Effects> = {}): Effects {
  return {
    mailDone: [],
    children: [],
    cancelChildren: [],
    itemsCancelled: [],
    itemsDropped: [],
    offers: [],
    offersWithdrawn: [],
    offersEnded: [],
    ...change,
  };
}

export function sampleTransition(id: string, change: Partial<Transition> = {}): Transition {
  return {
    id,
    epoch: 1,
    create: null,
    tasks: [],
    steps: [],
    logs: [],
    events: [],
    progressed: false,
    parsedInput: null,
    loaded: false,
    mailTaken: null,
    effects: null,
    letGo: null,
    ...change,
  };
}

export function sampleTaskState(task: string, change: Partial<TaskState> = {}): TaskState {
  return {
    task,
    item: -1,
    status: 'running',
    attempt: 1,
    used: 0,
    epoch: 1,
    startedAt: 1_000_001,
    endedAt: null,
    wakeAt: null,
    output: null,
    error: null,
    reason: null,
    cause: null,
    value: null,
    ...change,
  };
}

export function sampleRunner(id: string, change: Partial<RunnerRecord> = {}): RunnerRecord {
  return {
    id,
    name: 'test',
    host: 'here',
    pid: 1,
    pidStarted: '1',
    leaseUntil: 2_000_000,
    dead: false,
    queues: ['default'],
    slots: 0,
    ...change,
  };
}

export function sampleLetGo(change: Partial<LetGo> = {}): LetGo {
  return {
    status: 'completed',
    reason: null,
    wakeAt: null,
    endedAt: 1_000_002,
    output: '5',
    error: null,
    errorTask: null,
    parent: null,
    inboxSeen: 0,
    events: [],
    ...change,
  };
}

/** What every store must do, whatever its database. `open` gives a new, empty one; the suite closes it. */
export function storeSuite(name: string, open: () => Promise<Store>): void {
  describe(`store suite: ${name}`, () => {
    let store: Store;
    let batches = 0;
    beforeEach(async () => {
      store = await open();
      await store.registerRunner(sampleRunner('r1'));
      await store.registerRunner(sampleRunner('r2'));
    });
    afterEach(() => store.close());

    const commit = (runner: string, ...transitions: readonly Transition[]): ReturnType<Store['commit']> =>
      store.commit({ runner, n: ++batches, transitions });
    const claim = (change: Partial<Claim> = {}): Promise<readonly ClaimedExecution[]> =>
      store.claim({
        runner: 'r1',
        now: 1_000_010,
        limit: 100,
        codes: ['embedded/w/1'],
        roots: null,
        limits: new Map(),
        ...change,
      });
    const idsOf = (claimed: readonly ClaimedExecution[]): string[] => claimed.map(({ execution }) => execution.id);
    /** An execution that r1 owns, in epoch 1. */
    const owned = async (change: Partial<NewExecution> = {}): Promise<string> => {
      const create = sampleExecution({ ...change, owned: true });
      await commit('r1', sampleTransition(create.id, { create }));
      return create.id;
    };
    const created = async (...changes: readonly Partial<NewExecution>[]): Promise<string[]> => {
      const creates = changes.map(sampleExecution);
      await store.createExecutions(creates);
      return creates.map(({ id }) => id);
    };

    describe('creating', () => {
      it('an execution keeps all that it was made of', async () => {
        const create = sampleExecution({
          tenant: 't',
          priority: -3,
          tags: '{"a":"b"}',
          inputParsed: false,
          schedule: { id: 's', name: 'nightly', slot: 77, isCatchUp: true },
          parent: { id: 'p', task: 'kid', item: 4 },
        });
        await store.createExecutions([create]);
        const record = (await store.execution(create.id))!;
        for (const key of [
          'id',
          'tenant',
          'workflow',
          'code',
          'priority',
          'createdAt',
          'input',
          'inputParsed',
          'tags',
          'rootId',
          'parent',
          'schedule',
          'pin',
        ] as const) {
          assert.deepEqual(record[key], create[key], key);
        }
        const { status, owner, epoch, startedAt, endedAt, losses, inbox, taken } = record;
        assert.deepEqual(
          { status, owner, epoch, startedAt, endedAt, losses, inbox, taken },
          { status: 'pending', owner: null, epoch: 0, startedAt: null, endedAt: null, losses: 0, inbox: 0, taken: 0 },
        );
        const events = await store.events(create.id, 0, 10);
        assert.deepEqual(
          events.map(({ seq, type, at, runner }) => [seq, type, at, runner]),
          [[1, 'execution.created', 1_000_000, null]],
        );
      });

      it('text comes back as it was: any Unicode, quotes, and a megabyte', async () => {
        const input = JSON.stringify({ text: `'";--\u0000\uD800 ${'\u{1F600}é'.repeat(250_000)}` });
        const [id] = await created({ input, tags: '{"ключ":"значение"}' });
        const record = (await store.execution(id!))!;
        assert.equal(record.input, input);
        assert.equal(record.tags, '{"ключ":"значение"}');
      });

      it('one that a runner owns at once is running, in epoch 1', async () => {
        const record = (await store.execution(await owned()))!;
        assert.deepEqual(
          [record.status, record.owner, record.epoch, record.startedAt],
          ['running', 'r1', 1, 1_000_000],
        );
      });

      it('one with a start in the future waits', async () => {
        const [id] = await created({ startAt: 5_000_000 });
        const record = (await store.execution(id!))!;
        assert.deepEqual([record.status, record.wakeAt], ['waiting', 5_000_000]);
      });

      it('many at once: all or none', async () => {
        const one = sampleExecution();
        await assert.rejects(store.createExecutions([one, sampleExecution(), one]));
        assert.equal(await store.execution(one.id), undefined);
      });

      it('one idempotency key from many at the same moment makes one execution, and all are told of it', async () => {
        const creates = Array.from({ length: 8 }, () => sampleExecution({ idempotencyKey: 'once', tags: '{"a":"b"}' }));
        const answers = (await Promise.all(creates.map((create) => store.createExecutions([create])))).flat();
        assert.equal(new Set(answers.map(({ id }) => id)).size, 1);
        assert.equal(answers.filter((answer) => answer.created).length, 1);
      });

      it('an idempotency key is unique per tenant and workflow, and names the execution that has it', async () => {
        const first = sampleExecution({ idempotencyKey: 'k', inputHash: 'h1' });
        assert.deepEqual(await store.createExecutions([first]), [
          { id: first.id, created: true, code: 'embedded/w/1', inputHash: 'h1' },
        ]);
        const [again, otherTenant, otherWorkflow] = await store.createExecutions([
          sampleExecution({ idempotencyKey: 'k', inputHash: 'h2' }),
          sampleExecution({ idempotencyKey: 'k', tenant: 'other' }),
          sampleExecution({ idempotencyKey: 'k', workflow: 'other' }),
        ]);
        assert.deepEqual(again, { id: first.id, created: false, code: 'embedded/w/1', inputHash: 'h1' });
        assert.ok(otherTenant!.created && otherWorkflow!.created);
      });
    });

    describe('durability.md, claiming', () => {
      it('takes the highest priority first, then the oldest, up to the limit, and raises the epoch', async () => {
        const [b, c, a] = await created({ createdAt: 2 }, { createdAt: 3 }, { createdAt: 9, priority: 1 });
        const claimed = await claim({ limit: 2 });
        assert.deepEqual(idsOf(claimed), [a, b]);
        const { execution, seq, because, tasks } = claimed[0]!;
        assert.deepEqual(
          [execution.status, execution.owner, execution.epoch, execution.startedAt, seq, because, tasks],
          ['running', 'r1', 1, 1_000_010, 1, null, []],
        );
        assert.deepEqual(idsOf(await claim({ runner: 'r2' })), [c]);
        assert.deepEqual(await claim({ runner: 'r2' }), []);
      });

      it('within one priority tenants take turns, so none waits for all that another has handed in', async () => {
        const many = await created(...Array.from({ length: 20 }, (_, i) => ({ createdAt: i, tenant: 'busy' })));
        const [late, later] = await created({ createdAt: 100, tenant: 'small' }, { createdAt: 101, tenant: 'small' });
        assert.deepEqual(idsOf(await claim({ limit: 4 })), [many[0], late, many[1], later]);
      });

      it('among many tenants, too: the highest priority first, then in turn, and all at last', async () => {
        const tenants = Array.from({ length: 30 }, (_, i) => `tenant${i}`);
        const each = await Promise.all(
          tenants.map((tenant, i) =>
            created(...Array.from({ length: 4 }, (_, k) => ({ tenant, createdAt: 100 * k + i }))),
          ),
        );
        const urgent = await created(
          ...Array.from({ length: 12 }, (_, i) => ({ tenant: 'tenant7', priority: 1, createdAt: 1000 + i })),
        );
        const firsts = each.map(([first]) => first!);
        assert.deepEqual(idsOf(await claim({ limit: 20 })), [...urgent, ...firsts.slice(0, 8)]);
        const claims = await Promise.all(Array.from({ length: 3 }, () => claim({ runner: 'r2', limit: 10 })));
        const rest = claims.flatMap(idsOf);
        for (let taken = rest.length; taken > 0;) {
          const more = idsOf(await claim({ limit: 100 }));
          taken = more.length;
          rest.push(...more);
        }
        assert.deepEqual(
          rest.toSorted(),
          each
            .flat()
            .filter((id) => !firsts.slice(0, 8).includes(id))
            .toSorted(),
        );
      });

      it('beyond a thousand tenants: those of one code are not looked at from the first again for another code', async () => {
        const tenants = Array.from({ length: 1200 }, (_, i) => `tenant${String(i).padStart(4, '0')}`);
        const ids = await created(...tenants.map((tenant) => ({ tenant })));
        await created(...Array.from({ length: 20 }, () => ({ code: 'embedded/w/2' })));
        const codes = ['embedded/w/1', 'embedded/w/2'];
        await claim({ codes, limit: 100 });
        const second = idsOf(await claim({ codes, limit: 100 }));
        assert.ok(second.some((id) => ids.indexOf(id) >= 1000));
      });

      it('takes only what the runner can run, and only of its roots where it has some', async () => {
        const parent = { id: 'root', task: 'kid', item: -1 };
        const [mine, , child] = await created({}, { code: 'embedded/w/2' }, { rootId: 'root', parent });
        const claimable = (change: Partial<Claim>): Promise<boolean> =>
          store.claimable({
            runner: 'r1',
            now: 1,
            limit: 1,
            codes: ['embedded/w/1'],
            roots: null,
            limits: new Map(),
            ...change,
          });
        assert.equal(await claimable({ codes: ['embedded/w/3'] }), false);
        assert.equal(await claimable({ codes: [] }), false);
        assert.equal(await claimable({ roots: ['nobody'] }), false);
        assert.equal(await claimable({ roots: ['root'] }), true);
        assert.deepEqual(await claim({ codes: [] }), []);
        assert.deepEqual(await claim({ roots: [] }), []);
        assert.deepEqual(idsOf(await claim({ roots: ['root'] })), [child]);
        const [full, next] = await created(
          { rootId: 'root', parent, limitKey: 'full', createdAt: 1 },
          { rootId: 'root', parent, createdAt: 2 },
        );
        const limits = new Map([['embedded/w/1 w', 0]]);
        assert.equal(await claimable({ roots: ['root'], limits }), true);
        assert.deepEqual(idsOf(await claim({ roots: ['root'], limits, limit: 1 })), [next]);
        await store.cancel(full!, 'default');
        assert.deepEqual(idsOf(await claim()), [mine]);
      });

      it('loads the tasks and the number of the last event', async () => {
        const id = await owned();
        await commit(
          'r1',
          sampleTransition(id, {
            tasks: [sampleTaskState('a', { status: 'completed', output: '{"x":1}', endedAt: 5 }), sampleTaskState('b')],
            events: [{ seq: 1, type: 'task.started', at: 3, task: 'a', item: null, attempt: 1, data: null }],
          }),
        );
        await store.handBack(id, 'r1', 1);
        const [claimed] = await claim({ runner: 'r2' });
        assert.deepEqual([claimed!.seq, claimed!.because, claimed!.execution.epoch], [1, 'lost', 2]);
        const [a, b] = claimed!.tasks.toSorted((x, y) => (x.task < y.task ? -1 : 1));
        assert.deepEqual(a, sampleTaskState('a', { status: 'completed', output: '{"x":1}', endedAt: 5 }));
        assert.deepEqual(b, sampleTaskState('b'));
      });

      it('gives nothing to a runner that is dead or has no row', async () => {
        await created({});
        await store.markDead('r1', 2_000_000);
        assert.deepEqual(await claim(), []);
        assert.deepEqual(await claim({ runner: 'nobody' }), []);
      });

      it('side by side never gives one execution to two', async () => {
        await created(...Array.from({ length: 100 }, () => ({})));
        const claims = await Promise.all(
          Array.from({ length: 20 }, (_, i) => claim({ runner: i % 2 === 0 ? 'r1' : 'r2', limit: 7 })),
        );
        const ids = claims.flatMap(idsOf);
        assert.equal(ids.length, 100);
        assert.equal(new Set(ids).size, 100);
      });

      it('durability.md, ownership: a limit of one admits one, however many claim at the same moment', async () => {
        const runners = Array.from({ length: 8 }, (_, i) => `claimer${i}`);
        for (const id of runners) await store.registerRunner(sampleRunner(id));
        const limits = new Map([['embedded/w/1 w', 1]]);
        for (const limitKey of ['a', 'b', 'c', 'd', 'e']) {
          await created(...runners.map(() => ({ limitKey })));
          const claims = await Promise.all(runners.map((runner) => claim({ runner, limits })));
          assert.equal(claims.flat().length, 1, limitKey);
        }
      });
    });

    describe('engine.md, limits', () => {
      const code = 'embedded/w/1';

      it('of many keys each admits what its limit allows, the highest priority and the oldest first', async () => {
        const keys = Array.from({ length: 40 }, (_, i) => `key${i}`);
        const each = await Promise.all(
          keys.map((limitKey, i) => created(...[3, 1, 2].map((k) => ({ limitKey, createdAt: 100 * k + i })))),
        );
        const [late] = await created({ limitKey: 'key39', priority: 1, createdAt: 1000 });
        const limits = new Map([[`${code} w`, 2]]);
        const first = idsOf(await claim({ limit: 10, limits }));
        assert.deepEqual(first, [late, ...each.slice(0, 9).map(([, oldest]) => oldest)]);
        const all = [...first];
        for (let taken = 1; taken > 0;) {
          const more = idsOf(await claim({ runner: 'r2', limit: 10, limits }));
          taken = more.length;
          all.push(...more);
        }
        const admitted = each.flatMap(([, oldest, next], i) => (i === 39 ? [oldest] : [oldest, next]));
        assert.deepEqual(new Set(all), new Set([...admitted, late]));
        assert.equal(all.length, admitted.length + 1);
      });

      it('a thousand keys whose limit is reached keep nobody from the one after them', async () => {
        const keys = Array.from({ length: 1000 }, (_, i) => `key${String(i).padStart(4, '0')}`);
        await created(...keys.map((limitKey) => ({ limitKey })));
        const limits = new Map([[`${code} w`, 1]]);
        for (let taken = 0; taken < 1000;) taken += (await claim({ limit: 1000, limits })).length;
        await created(...keys.map((limitKey) => ({ limitKey })));
        const [free] = await created({ limitKey: 'last' });
        const request = { runner: 'r2', now: 1, limit: 10, codes: [code], roots: null, limits };
        assert.equal(await store.claimable(request), true);
        assert.deepEqual(idsOf(await store.claim(request)), [free]);
        assert.equal(await store.claimable(request), false);
      });

      it('what runs of one version counts for the others under the same key', async () => {
        const limitKey = 'shared';
        const other = 'embedded/w/2';
        await created({ limitKey }, { limitKey }, { limitKey, code: other }, { limitKey, code: other });
        const limits = new Map([
          [`${code} w`, 3],
          [`${other} w`, 3],
        ]);
        assert.equal((await claim({ codes: [code, other], limits })).length, 3);
        assert.equal((await claim({ codes: [other, code], limits })).length, 0);
      });
    });

    describe('durability.md, the commit', () => {
      it('writes tasks, steps, logs and events of many executions; a task is overwritten, a step is kept', async () => {
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
        assert.deepEqual(result, { lost: [], held: [], moved: [], taken: [] });
        const change = {
          status: 'waiting',
          wakeAt: 99,
          used: 1,
          error: '{"code":"X"}',
          reason: 'r',
          cause: 'c',
        } as const;
        await commit('r1', sampleTransition(one, { tasks: [sampleTaskState('a', change)] }));
        assert.deepEqual(await store.tasks(one), [sampleTaskState('a', change)]);
        assert.equal(await store.step(one, 'a', -1, 's'), '"once"');
        assert.equal(await store.step(one, 'a', -1, 'other'), undefined);
        assert.equal(await store.step(two, 'a', -1, 's'), undefined);
        const [event] = await store.events(one, 0, 10);
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
        const parsed = (await store.execution(two))!;
        assert.deepEqual([parsed.input, parsed.inputParsed], ['{"n":2}', true]);
      });

      it('the fence: a runner that is dead, or has no row, writes nothing at all', async () => {
        const id = await owned();
        await store.markDead('r1', 2_000_000);
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
        assert.equal(await store.execution(create.id), undefined);
        assert.deepEqual(await store.tasks(id), []);
      });

      it('an execution with another owner or epoch is lost: nothing of it is written, the others are', async () => {
        const [mine, taken, older] = [await owned(), await owned(), await owned()];
        await store.handBack(taken, 'r1', 1);
        await claim({ runner: 'r2' });
        await store.handBack(older, 'r1', 1);
        await claim({ runner: 'r1' });
        const write = { tasks: [sampleTaskState('a')], letGo: sampleLetGo() };
        const result = await commit(
          'r1',
          sampleTransition(taken, write),
          sampleTransition(mine, write),
          sampleTransition(older, write),
          sampleTransition('nobody', write),
        );
        assert.deepEqual(result, { lost: [taken, older, 'nobody'], held: [], moved: [], taken: [] });
        assert.deepEqual(
          [await store.tasks(taken), await store.tasks(older), await store.tasks('nobody')],
          [[], [], []],
        );
        assert.equal((await store.execution(taken))!.owner, 'r2');
        assert.equal((await store.execution(mine))!.status, 'completed');
      });

      it('data that the database refuses names the execution, and nothing of the batch is written', async () => {
        const [good, bad] = [await owned(), await owned()];
        const event = { seq: 1, type: 'task.started', at: 5, task: 'a', item: null, attempt: 1, data: null } as const;
        await assert.rejects(
          commit(
            'r1',
            sampleTransition(good, { tasks: [sampleTaskState('a')] }),
            sampleTransition(bad, { events: [event, event] }),
          ),
          (error) => error instanceof RefusedDataError && error.id === bad && error.cause instanceof Error,
        );
        assert.deepEqual(await store.tasks(good), []);
      });

      it('letting go at the end keeps output, error and the last event, and nobody owns it', async () => {
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
        const letGo = sampleLetGo({
          status: 'failed',
          output: null,
          error: '{"code":"X"}',
          errorTask: 'a',
          events: [last],
        });
        await commit('r1', sampleTransition(id, { letGo }));
        const record = (await store.execution(id))!;
        assert.deepEqual(
          [record.status, record.owner, record.endedAt, record.error, record.errorTask],
          ['failed', null, 1_000_002, '{"code":"X"}', 'a'],
        );
        assert.deepEqual(
          (await store.events(id, 0, 10)).map(({ type, runner }) => [type, runner]),
          [['execution.failed', 'r1']],
        );
        assert.deepEqual(await claim(), []);
      });

      it('letting go to `waiting` frees it until its time, then anyone may take it', async () => {
        const id = await owned();
        const letGo = sampleLetGo({ status: 'waiting', wakeAt: 500, endedAt: null, output: null });
        await commit('r1', sampleTransition(id, { letGo }));
        assert.deepEqual([await store.nextWake(), await claim()], [500, []]);
        assert.equal(await store.wake(499), 0);
        assert.equal(await store.wake(500), 1);
        assert.equal(await store.nextWake(), null);
        const [claimed] = await claim({ runner: 'r2' });
        assert.deepEqual(
          [claimed!.because, claimed!.execution.epoch, claimed!.execution.startedAt],
          ['woken', 2, 1_000_000],
        );
      });

      it('progress sets the count of losses back to 0', async () => {
        const id = await owned();
        for (let i = 0; i < 2; i++) {
          const runner = `dying${i}`;
          await store.registerRunner(sampleRunner(runner));
          await store.handBack(id, 'r1', 1);
          await claim({ runner });
          await store.markDead(runner, 2_000_000);
          assert.equal(await store.releaseOrphans(), 1);
          const [claimed] = await claim({ runner: 'r2' });
          assert.equal(claimed!.execution.losses, 1);
          await commit('r2', sampleTransition(id, { epoch: claimed!.execution.epoch, progressed: true }));
          assert.equal((await store.execution(id))!.losses, 0);
          await store.handBack(id, 'r2', claimed!.execution.epoch);
        }
      });
    });

    describe('durability.md, mail', () => {
      it('of an owned execution lies until its owner takes it in; then it is gone', async () => {
        const [id, other] = [await owned(), await owned()];
        assert.equal(await store.hasMail('r1'), false);
        assert.deepEqual(await store.cancel(id, 'default'), { status: 'sent' });
        assert.deepEqual([await store.hasMail('r1'), await store.hasMail('r2')], [true, false]);
        const mail = await store.mailFor('r1');
        assert.deepEqual(
          mail.map(({ executionId, n, kind }) => [executionId, n, kind]),
          [[id, 1, 'cancel']],
        );
        await commit('r1', sampleTransition(id, { mailTaken: 1 }), sampleTransition(other));
        assert.equal(await store.hasMail('r1'), false);
        assert.deepEqual(await store.mailFor('r1'), []);
        assert.equal((await store.execution(id))!.taken, 1);
      });

      it('that the owner has not seen holds the execution: what is written stands, but it is not let go', async () => {
        const id = await owned();
        await store.cancel(id, 'default');
        const write = { tasks: [sampleTaskState('a')], letGo: sampleLetGo({ inboxSeen: 0 }) };
        assert.deepEqual(await commit('r1', sampleTransition(id, write)), {
          lost: [],
          held: [id],
          moved: [],
          taken: [],
        });
        assert.equal((await store.tasks(id)).length, 1);
        assert.deepEqual([(await store.execution(id))!.owner, (await store.execution(id))!.output], ['r1', null]);
        const seen = { mailTaken: 1, letGo: sampleLetGo({ status: 'cancelled', inboxSeen: 1 }) };
        assert.deepEqual(await commit('r1', sampleTransition(id, seen)), { lost: [], held: [], moved: [], taken: [] });
        assert.equal((await store.execution(id))!.status, 'cancelled');
      });

      it('waits for the next owner where the last one was lost', async () => {
        const id = await owned();
        await store.cancel(id, 'default');
        await store.handBack(id, 'r1', 1);
        await claim({ runner: 'r2' });
        assert.equal(await store.hasMail('r2'), true);
        assert.equal((await store.mailFor('r2')).length, 1);
      });

      it('cancel of one that nobody owns is applied at once; of one that ended or is unknown it is refused', async () => {
        const [pending, waiting] = await created({}, { startAt: 9_000_000 });
        const id = await owned();
        await commit('r1', sampleTransition(id, { letGo: sampleLetGo() }));
        assert.deepEqual(await store.cancel(pending!, 'default'), { status: 'applied', as: 'cancelled' });
        assert.deepEqual(await store.cancel(waiting!, 'default'), { status: 'applied', as: 'cancelled' });
        assert.deepEqual(await store.cancel(id, 'default'), { status: 'ended', as: 'completed' });
        assert.deepEqual(await store.cancel(pending!, 'default'), { status: 'ended', as: 'cancelled' });
        assert.deepEqual(await store.cancel('nobody', 'default'), { status: 'unknown' });
        const record = (await store.execution(waiting!))!;
        assert.deepEqual([record.status, record.wakeAt, record.endedAt === null], ['cancelled', null, false]);
        assert.equal(await store.nextWake(), null);
        assert.deepEqual(
          (await store.events(pending!, 0, 10)).map(({ seq, type }) => [seq, type]),
          [
            [1, 'execution.created'],
            [2, 'execution.cancelling'],
            [3, 'execution.cancelled'],
          ],
        );
      });

      it('of another tenant is for an execution that there is not', async () => {
        const [id] = await created({ tenant: 'other' });
        assert.deepEqual(await store.cancel(id!, 'default'), { status: 'unknown' });
        assert.equal((await store.execution(id!))!.status, 'pending');
      });
    });

    describe('durability.md, death and adoption', () => {
      it('a lease is renewed unless its runner was declared dead', async () => {
        const renewed = await store.renew({ runner: 'r1', leaseMs: 60_000, codes: [] });
        assert.equal(renewed.alive, true);
        const { leaseUntil, leaseMs } = (await store.runners()).find(({ id }) => id === 'r1')!;
        assert.equal(leaseMs, 60_000);
        assert.deepEqual(renewed.runners.map(({ id }) => id).toSorted(), ['r1', 'r2']);
        assert.equal(await store.markDead('r1', leaseUntil), true);
        assert.equal((await store.renew({ runner: 'r1', leaseMs: 60_000, codes: [] })).alive, false);
        assert.equal((await store.renew({ runner: 'nobody', leaseMs: 60_000, codes: [] })).alive, false);
      });

      it('a renewal says whether anything waits for the runner', async () => {
        const signs = async (): Promise<unknown> => {
          const renewal = await store.renew({
            runner: 'r1',
            leaseMs: 60_000,
            codes: ['code'],
          });
          const { mail, work, strays, orphans, nextWake } = renewal;
          return { owned: renewal.owned, mail, work, strays, orphans, nextWake };
        };
        const none = { owned: 0, mail: false, work: false, strays: false, orphans: false, nextWake: null };
        assert.deepEqual(await signs(), none);
        const [id] = await created({ code: 'code' });
        assert.deepEqual(await signs(), { ...none, work: true });
        await claim({ runner: 'r1', limit: 1, codes: ['code'] });
        assert.deepEqual(await signs(), { ...none, owned: 1 });
        await store.signal(id!, 'default', 'go', 'null');
        assert.deepEqual(await signs(), { ...none, owned: 1, mail: true });
        await created({ code: 'code', startAt: 5_000_000 });
        assert.deepEqual(await signs(), { ...none, owned: 1, mail: true, nextWake: 5_000_000 });
        await store.removeRunner('r1');
        assert.deepEqual(await signs(), { ...none, owned: 1, mail: true, orphans: true, nextWake: 5_000_000 });
      });

      it('a runner is declared dead only while its lease is the one that was watched', async () => {
        await store.renew({ runner: 'r1', leaseMs: 60_000, codes: [] });
        const { leaseUntil } = (await store.runners()).find(({ id }) => id === 'r1')!;
        assert.equal(await store.markDead('r1', leaseUntil - 1), false);
        assert.equal(await store.markDead('r1', leaseUntil), true);
        assert.equal(await store.markDead('r1', leaseUntil), false);
      });

      it('what the dead, and those without a row, owned is pending again, and counted as a loss; the living keep theirs', async () => {
        await store.registerRunner(sampleRunner('r3'));
        const [dead, gone, alive] = await created({}, {}, {});
        for (const [runner] of [['r1'], ['r2'], ['r3']] as const) await claim({ runner, limit: 1 });
        await store.markDead('r1', 2_000_000);
        await store.removeRunner('r2');
        assert.equal(await store.releaseOrphans(), 2);
        for (const id of [dead!, gone!]) {
          const { status, owner, losses, reason } = (await store.execution(id))!;
          assert.deepEqual([status, owner, losses, reason], ['pending', null, 1, 'lost']);
        }
        assert.equal((await store.execution(alive!))!.owner, 'r3');
        assert.deepEqual(
          (await store.runners()).map(({ id }) => id),
          ['r3'],
        );
        assert.equal(await store.releaseOrphans(), 0);
      });

      it('what a runner owns is read back; handing back asks for owner and epoch', async () => {
        const id = await owned();
        assert.deepEqual(
          (await store.ownedBy('r1')).map((row) => [row.id, row.epoch]),
          [[id, 1]],
        );
        await store.handBack(id, 'r2', 1);
        await store.handBack(id, 'r1', 2);
        assert.equal((await store.execution(id))!.owner, 'r1');
        await store.handBack(id, 'r1', 1);
        const { status, owner, losses } = (await store.execution(id))!;
        assert.deepEqual([status, owner, losses], ['pending', null, 0]);
      });
    });

    describe('reading', () => {
      it('events after a number, in order, at most so many', async () => {
        const id = await owned();
        const events = Array.from(
          { length: 30 },
          (_, i) =>
            ({ seq: i + 1, type: 'task.started', at: i, task: 'a', item: null, attempt: 1, data: null }) as const,
        );
        await commit('r1', sampleTransition(id, { events }));
        const seqs = async (after: number, limit: number): Promise<number[]> =>
          (await store.events(id, after, limit)).map(({ seq }) => seq);
        assert.deepEqual(await seqs(0, 3), [1, 2, 3]);
        assert.deepEqual(await seqs(28, 10), [29, 30]);
        assert.deepEqual(await seqs(30, 10), []);
      });

      it('outputs are those of completed tasks, without the items of maps', async () => {
        const id = await owned();
        const done = { status: 'completed', output: '1' } as const;
        await commit(
          'r1',
          sampleTransition(id, {
            tasks: [
              sampleTaskState('a', done),
              sampleTaskState('m', { ...done, item: 3 }),
              sampleTaskState('b', { output: '2' }),
            ],
          }),
        );
        assert.deepEqual(await store.outputs(id), new Map([['a', '1']]));
        assert.deepEqual(await store.outputs('nobody'), new Map());
      });

      it('lists by tenant, workflow, status, time and tags; the newest first, page by page', async () => {
        const ids = await created(
          ...Array.from({ length: 6 }, (_, i) => ({
            id: newId(1_000_000 + i),
            createdAt: i,
            workflow: i % 2 === 0 ? 'even' : 'odd',
            tags: JSON.stringify({ i: String(i), "it's": 'x' }),
          })),
        );
        await created({ tenant: 'other' });
        const none = {
          tenant: 'default',
          workflow: null,
          status: null,
          since: null,
          parent: null,
          tags: {},
          after: null,
          limit: 100,
        };
        const list = async (change: Partial<typeof none> | object): Promise<number[]> =>
          (await store.list({ ...none, ...change })).map(({ id }) => ids.indexOf(id));
        assert.deepEqual(await list({}), [5, 4, 3, 2, 1, 0]);
        assert.deepEqual(await list({ workflow: 'even' }), [4, 2, 0]);
        assert.deepEqual(await list({ since: 4 }), [5, 4]);
        assert.deepEqual(await list({ status: 'completed' }), []);
        assert.deepEqual(await list({ tags: { i: '2' } }), [2]);
        assert.deepEqual(await list({ tags: { "it's": 'x', i: '3' } }), [3]);
        assert.deepEqual(await list({ tags: { i: '2', "it's": 'y' } }), []);
        assert.deepEqual(await list({ limit: 2, after: { createdAt: 4, id: ids[4]! } }), [3, 2]);
      });

      it('definitions are the newest of each name', async () => {
        const spec = sampleWorkflow('w');
        await store.writeDefinitions([{ workflow: 'w', code: 'c1', spec }]);
        await store.writeDefinitions([
          { workflow: 'w', code: 'c2', spec: { ...spec, description: 'new' } },
          { workflow: 'a', code: 'c3', spec },
        ]);
        const found = await store.definitions();
        assert.deepEqual(
          found.map(({ workflow, code }) => [workflow, code]),
          [
            ['a', 'c3'],
            ['w', 'c2'],
          ],
        );
        assert.equal(found[1]!.spec.description, 'new');
      });
    });

    describe('scripts', () => {
      it('of a write that throws leave nothing behind', async () => {
        await assert.rejects(
          store.write(function* () {
            yield {
              text: `insert into definitions (workflow, code, spec, updated_at) values ('x', 'c', '{}', 1)`,
              params: [],
            };
            throw new Error('changed my mind');
          }),
          /changed my mind/,
        );
        assert.deepEqual(await store.definitions(), []);
      });

      it('a closed store refuses every verb, and may be closed again', async () => {
        await store.close();
        await assert.rejects(store.execution('x'), { code: 'RUNNER_CLOSED' });
        await assert.rejects(store.createExecutions([sampleExecution()]), { code: 'RUNNER_CLOSED' });
        assert.equal(store.changed(), false);
        await store.close();
      });
    });
  });
}
