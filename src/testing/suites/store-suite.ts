import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newId } from '../../engine/id.ts';
import type { Store } from '../../store/store.ts';
import { claimSuite } from './claim-suite.ts';
import { commitSuite } from './commit-suite.ts';
import { controlSuite } from './control-suite.ts';
import { retentionSuite } from './retention-suite.ts';
import { sampleWorkflow } from '../sample-package.ts';
import { sampleExecution, sampleFilter, sampleRunner, sampleTaskState, sampleTransition } from '../samples.ts';
import { storePlace } from '../store-place.ts';

/** The contract of every store, whatever its database. `open` returns a new, empty one; the suite closes it. */
export function storeSuite(name: string, open: () => Promise<Store>): void {
  describe(`store suite: ${name}`, () => {
    const place = storePlace(open);
    const { commit, claim, owned, created } = place;

    describe('creating', () => {
      it('an execution keeps all of its fields', async () => {
        const create = sampleExecution({
          tenant: 't',
          priority: -3,
          tags: '{"a":"b"}',
          inputParsed: false,
          schedule: { id: 's', name: 'nightly', slot: 77, isCatchUp: true },
          parent: { id: 'p', task: 'kid', item: 4 },
        });
        await place.store.createExecutions([create]);
        const record = (await place.store.execution(create.id))!;
        for (const key of [
          'id',
          'tenant',
          'workflow',
          'buildId',
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
        const { status, owner, epoch, startedAt, endedAt, crashCount, inboxSeq, inboxAcked } = record;
        assert.deepEqual(
          { status, owner, epoch, startedAt, endedAt, crashCount, inboxSeq, inboxAcked },
          {
            status: 'pending',
            owner: null,
            epoch: 0,
            startedAt: null,
            endedAt: null,
            crashCount: 0,
            inboxSeq: 0,
            inboxAcked: 0,
          },
        );
        const events = await place.store.events(create.id, 0, 10);
        assert.deepEqual(
          events.map(({ seq, type, at, runner }) => [seq, type, at, runner]),
          [[1, 'execution.created', 1_000_000, null]],
        );
      });

      it('text comes back as it was: any Unicode, quotes, and a megabyte', async () => {
        const input = JSON.stringify({ text: `'";--\u0000\uD800 ${'\u{1F600}é'.repeat(250_000)}` });
        const [id] = await created({ input, tags: '{"ключ":"значение"}' });
        const record = (await place.store.execution(id!))!;
        assert.equal(record.input, input);
        assert.equal(record.tags, '{"ключ":"значение"}');
      });

      it('an execution that a runner owns from the start is running, in epoch 1', async () => {
        const record = (await place.store.execution(await owned()))!;
        assert.deepEqual(
          [record.status, record.owner, record.epoch, record.startedAt],
          ['running', 'r1', 1, 1_000_000],
        );
      });

      it('an execution with a start in the future waits', async () => {
        const [id] = await created({ startAt: 5_000_000 });
        const record = (await place.store.execution(id!))!;
        assert.deepEqual([record.status, record.wakeAt], ['waiting', 5_000_000]);
      });

      it('many executions are created all or none', async () => {
        const one = sampleExecution();
        await assert.rejects(place.store.createExecutions([one, sampleExecution(), one]));
        assert.equal(await place.store.execution(one.id), undefined);
      });

      it('one idempotency key used by many at the same moment makes one execution, and all of them get it', async () => {
        const creates = Array.from({ length: 8 }, () => sampleExecution({ idempotencyKey: 'once', tags: '{"a":"b"}' }));
        const answers = (await Promise.all(creates.map((create) => place.store.createExecutions([create])))).flat();
        assert.equal(new Set(answers.map(({ id }) => id)).size, 1);
        assert.equal(answers.filter((answer) => answer.created).length, 1);
      });

      it('an idempotency key is unique per tenant and workflow, and names the execution that has it', async () => {
        const first = sampleExecution({ idempotencyKey: 'k', inputHash: 'h1' });
        assert.deepEqual(await place.store.createExecutions([first]), [
          { id: first.id, created: true, buildId: 'embedded/w/1', inputHash: 'h1' },
        ]);
        const [again, otherTenant, otherWorkflow] = await place.store.createExecutions([
          sampleExecution({ idempotencyKey: 'k', inputHash: 'h2' }),
          sampleExecution({ idempotencyKey: 'k', tenant: 'other' }),
          sampleExecution({ idempotencyKey: 'k', workflow: 'other' }),
        ]);
        assert.deepEqual(again, { id: first.id, created: false, buildId: 'embedded/w/1', inputHash: 'h1' });
        assert.ok(otherTenant!.created && otherWorkflow!.created);
      });
    });

    describe('durability.md, death and adoption', () => {
      it('a lease is renewed unless its runner was declared dead', async () => {
        const renewed = await place.store.renew({ runner: 'r1', leaseMs: 60_000, buildIds: [] });
        assert.equal(renewed.alive, true);
        const { leaseUntil, leaseMs } = (await place.store.runners()).find(({ id }) => id === 'r1')!;
        assert.equal(leaseMs, 60_000);
        assert.deepEqual(renewed.runners.map(({ id }) => id).toSorted(), ['r1', 'r2']);
        assert.equal(await place.store.markDead('r1', leaseUntil), true);
        assert.equal((await place.store.renew({ runner: 'r1', leaseMs: 60_000, buildIds: [] })).alive, false);
        assert.equal((await place.store.renew({ runner: 'nobody', leaseMs: 60_000, buildIds: [] })).alive, false);
      });

      it('a renewal says whether work waits for the runner', async () => {
        const signs = async (): Promise<unknown> => {
          const renewal = await place.store.renew({
            runner: 'r1',
            leaseMs: 60_000,
            buildIds: ['buildId'],
          });
          const { hasMessages, hasWork, hasRetiredBuilds, hasOrphans, nextWake } = renewal;
          return {
            owned: renewal.owned,
            messages: hasMessages,
            work: hasWork,
            strays: hasRetiredBuilds,
            orphans: hasOrphans,
            nextWake,
          };
        };
        const none = { owned: 0, messages: false, work: false, strays: false, orphans: false, nextWake: null };
        assert.deepEqual(await signs(), none);
        const [id] = await created({ buildId: 'buildId' });
        assert.deepEqual(await signs(), { ...none, work: true });
        await claim({ runner: 'r1', limit: 1, buildIds: ['buildId'] });
        assert.deepEqual(await signs(), { ...none, owned: 1 });
        await place.store.signal(id!, 'default', 'go', 'null');
        assert.deepEqual(await signs(), { ...none, owned: 1, messages: true });
        await created({ buildId: 'buildId', startAt: 5_000_000 });
        assert.deepEqual(await signs(), { ...none, owned: 1, messages: true, nextWake: 5_000_000 });
        await place.store.removeRunner('r1');
        assert.deepEqual(await signs(), { ...none, owned: 1, messages: true, orphans: true, nextWake: 5_000_000 });
      });

      it('a runner is declared dead only if its lease is still the observed one', async () => {
        await place.store.renew({ runner: 'r1', leaseMs: 60_000, buildIds: [] });
        const { leaseUntil } = (await place.store.runners()).find(({ id }) => id === 'r1')!;
        assert.equal(await place.store.markDead('r1', leaseUntil - 1), false);
        assert.equal(await place.store.markDead('r1', leaseUntil), true);
        assert.equal(await place.store.markDead('r1', leaseUntil), false);
      });

      it('executions of dead or unknown owners become pending with one loss counted, and those of living owners are kept', async () => {
        await place.store.registerRunner(sampleRunner('r3'));
        const [dead, gone, alive] = await created({}, {}, {});
        for (const [runner] of [['r1'], ['r2'], ['r3']] as const) await claim({ runner, limit: 1 });
        await place.store.markDead('r1', 2_000_000);
        await place.store.removeRunner('r2');
        assert.equal(await place.store.releaseOrphans(), 2);
        for (const id of [dead!, gone!]) {
          const { status, owner, crashCount, reason } = (await place.store.execution(id))!;
          assert.deepEqual([status, owner, crashCount, reason], ['pending', null, 1, 'lost']);
        }
        assert.equal((await place.store.execution(alive!))!.owner, 'r3');
        assert.deepEqual(
          (await place.store.runners()).map(({ id }) => id),
          ['r3'],
        );
        assert.equal(await place.store.releaseOrphans(), 0);
      });

      it('a runner can list its executions, and a release requires owner and epoch', async () => {
        const id = await owned();
        assert.deepEqual(
          (await place.store.ownedBy('r1')).map((row) => [row.id, row.epoch]),
          [[id, 1]],
        );
        await place.store.releaseExecution(id, 'r2', 1);
        await place.store.releaseExecution(id, 'r1', 2);
        assert.equal((await place.store.execution(id))!.owner, 'r1');
        await place.store.releaseExecution(id, 'r1', 1);
        const { status, owner, crashCount } = (await place.store.execution(id))!;
        assert.deepEqual([status, owner, crashCount], ['pending', null, 0]);
      });
    });

    describe('reading', () => {
      it('events after a number are read in order, up to a limit', async () => {
        const id = await owned();
        const events = Array.from(
          { length: 30 },
          (_, i) =>
            ({ seq: i + 1, type: 'task.started', at: i, task: 'a', item: null, attempt: 1, data: null }) as const,
        );
        await commit('r1', sampleTransition(id, { events }));
        const seqs = async (after: number, limit: number): Promise<number[]> =>
          (await place.store.events(id, after, limit)).map(({ seq }) => seq);
        assert.deepEqual(await seqs(0, 3), [1, 2, 3]);
        assert.deepEqual(await seqs(28, 10), [29, 30]);
        assert.deepEqual(await seqs(30, 10), []);
      });

      it('outputs are those of completed tasks, without map items', async () => {
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
        assert.deepEqual(await place.store.outputs(id), new Map([['a', '1']]));
        assert.deepEqual(await place.store.outputs('nobody'), new Map());
      });

      it('a list filters by tenant, workflow, status, time and tags, newest first, with pages', async () => {
        const ids = await created(
          ...Array.from({ length: 6 }, (_, i) => ({
            id: newId(1_000_000 + i),
            createdAt: i,
            workflow: i % 2 === 0 ? 'even' : 'odd',
            tags: JSON.stringify({ i: String(i), "it's": 'x' }),
          })),
        );
        await created({ tenant: 'other' });
        const none = sampleFilter({ limit: 100 });
        const list = async (change: Partial<typeof none> | object): Promise<number[]> =>
          (await place.store.list({ ...none, ...change })).map(({ id }) => ids.indexOf(id));
        assert.deepEqual(await list({}), [5, 4, 3, 2, 1, 0]);
        assert.deepEqual(await list({ workflow: 'even' }), [4, 2, 0]);
        assert.deepEqual(await list({ since: 4 }), [5, 4]);
        assert.deepEqual(await list({ status: 'completed' }), []);
        assert.deepEqual(await list({ tags: { i: '2' } }), [2]);
        assert.deepEqual(await list({ tags: { "it's": 'x', i: '3' } }), [3]);
        assert.deepEqual(await list({ tags: { i: '2', "it's": 'y' } }), []);
        assert.deepEqual(await list({ limit: 2, after: { createdAt: 4, id: ids[4]! } }), [3, 2]);
      });

      it('the newest definition of each name is read', async () => {
        const spec = sampleWorkflow('w');
        await place.store.writeDefinitions([{ workflow: 'w', buildId: 'c1', spec }]);
        await place.store.writeDefinitions([
          { workflow: 'w', buildId: 'c2', spec: { ...spec, description: 'new' } },
          { workflow: 'a', buildId: 'c3', spec },
        ]);
        const found = await place.store.definitions();
        assert.deepEqual(
          found.map(({ workflow, buildId }) => [workflow, buildId]),
          [
            ['a', 'c3'],
            ['w', 'c2'],
          ],
        );
        assert.equal(found[1]!.spec.description, 'new');
        await place.store.writeDefinitions([{ workflow: 'w', buildId: 'c1', spec: { ...spec, retention: 5 } }]);
        assert.equal((await place.store.newestDefinition('w'))?.buildId, 'c1');
        const codes = await Promise.all(['c1', 'c2', 'c3', 'c4'].map((code) => place.store.definition(code)));
        assert.deepEqual(
          codes.map((known) => known?.retention),
          [5, null, null, undefined],
        );
      });
    });

    describe('scripts', () => {
      it('a write script that throws leaves nothing behind', async () => {
        await assert.rejects(
          place.store.write(function* () {
            yield {
              text: `insert into definitions (workflow, build_id, spec, updated_at) values ('x', 'c', '{}', 1)`,
              params: [],
            };
            throw new Error('changed my mind');
          }),
          /changed my mind/,
        );
        assert.deepEqual(await place.store.definitions(), []);
      });

      it('a closed store refuses every verb and may be closed again', async () => {
        await place.store.close();
        await assert.rejects(place.store.execution('x'), { code: 'RUNNER_CLOSED' });
        await assert.rejects(place.store.createExecutions([sampleExecution()]), { code: 'RUNNER_CLOSED' });
        assert.equal(place.store.changed(), false);
        await place.store.close();
      });
    });

    claimSuite(place);
    commitSuite(place);
    retentionSuite(place);
    controlSuite(place);
  });
}
