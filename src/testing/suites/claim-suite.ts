import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Claim } from '../../store/store.ts';
import { sampleRunner, sampleTaskState, sampleTransition } from '../samples.ts';
import type { StorePlace } from '../store-place.ts';

/** Rules of claiming, for every database. */
export function claimSuite(place: StorePlace): void {
  const { commit, claim, idsOf, owned, created } = place;

  describe('durability.md, Claiming: which runner takes which execution', () => {
    it('a claim takes the highest priority first, then the oldest, up to the limit, and raises the epoch', async () => {
      const [b, c, a] = await created({ createdAt: 2 }, { createdAt: 3 }, { createdAt: 9, priority: 1 });
      const claimed = await claim({ limit: 2 });
      assert.deepEqual(idsOf(claimed), [a, b]);
      const { execution, seq, pendingReason, tasks } = claimed[0]!;
      assert.deepEqual(
        [execution.status, execution.owner, execution.epoch, execution.startedAt, seq, pendingReason, tasks],
        ['running', 'r1', 1, 1_000_010, 1, null, []],
      );
      assert.deepEqual(idsOf(await claim({ runner: 'r2' })), [c]);
      assert.deepEqual(await claim({ runner: 'r2' }), []);
    });

    it('tenants take turns within one priority, so no tenant waits for the whole backlog of another', async () => {
      const many = await created(...Array.from({ length: 20 }, (_, i) => ({ createdAt: i, tenant: 'busy' })));
      const [late, later] = await created({ createdAt: 100, tenant: 'small' }, { createdAt: 101, tenant: 'small' });
      assert.deepEqual(idsOf(await claim({ limit: 4 })), [many[0], late, many[1], later]);
    });

    it('many tenants take turns too: the highest priority first, and all in the end', async () => {
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

    it('of a thousand tenants and several builds each has its turn before any has a second one', async () => {
      const tenants = Array.from({ length: 1200 }, (_, i) => `tenant${String(i).padStart(4, '0')}`);
      const [first, second] = [
        await created(...tenants.map((tenant) => ({ tenant }))),
        await created(...tenants.map((tenant) => ({ tenant }))),
      ];
      const others = await created(...Array.from({ length: 20 }, () => ({ buildId: 'embedded/w/2' })));
      const buildIds = ['embedded/w/1', 'embedded/w/2'];
      const taken: string[] = [];
      while (taken.length < 1201)
        taken.push(...idsOf(await claim({ buildIds, limit: Math.min(100, 1201 - taken.length) })));
      assert.equal(new Set(taken).size, 1201);
      assert.ok(first.every((id) => taken.includes(id)));
      assert.ok(second.every((id) => !taken.includes(id)));
      assert.equal(others.filter((id) => taken.includes(id)).length, 1);
    });

    it('a lower priority has its turn when the highest has nothing left that a claim may take', async () => {
      const limits = new Map([['embedded/w/1 w', 1]]);
      const [, mine] = await created({ limitKey: 'k', priority: 9 }, { priority: -3 }, { limitKey: 'k', priority: 5 });
      const [first] = await claim({ limits, limit: 1 });
      assert.equal(first!.execution.priority, 9);
      assert.deepEqual(idsOf(await claim({ limits, limit: 10 })), [mine]);
    });

    it('a claim takes only executions that the runner can run, and only from its roots if it names some', async () => {
      const parent = { id: 'root', task: 'kid', item: -1 };
      const [mine, , child] = await created({}, { buildId: 'embedded/w/2' }, { rootId: 'root', parent });
      const claimable = (change: Partial<Claim>): Promise<boolean> =>
        place.store.claimable({
          runner: 'r1',
          now: 1,
          limit: 1,
          buildIds: ['embedded/w/1'],
          roots: null,
          limits: new Map(),
          ...change,
        });
      assert.equal(await claimable({ buildIds: ['embedded/w/3'] }), false);
      assert.equal(await claimable({ buildIds: [] }), false);
      assert.equal(await claimable({ roots: ['nobody'] }), false);
      assert.equal(await claimable({ roots: ['root'] }), true);
      assert.deepEqual(await claim({ buildIds: [] }), []);
      assert.deepEqual(await claim({ roots: [] }), []);
      assert.deepEqual(idsOf(await claim({ roots: ['root'] })), [child]);
      const [full, next] = await created(
        { rootId: 'root', parent, limitKey: 'full', createdAt: 1 },
        { rootId: 'root', parent, createdAt: 2 },
      );
      const limits = new Map([['embedded/w/1 w', 0]]);
      assert.equal(await claimable({ roots: ['root'], limits }), true);
      assert.deepEqual(idsOf(await claim({ roots: ['root'], limits, limit: 1 })), [next]);
      await place.store.cancel(full!, 'default');
      assert.deepEqual(idsOf(await claim()), [mine]);
    });

    it('a claim loads the tasks and the number of the last event', async () => {
      const id = await owned();
      await commit(
        'r1',
        sampleTransition(id, {
          tasks: [sampleTaskState('a', { status: 'completed', output: '{"x":1}', endedAt: 5 }), sampleTaskState('b')],
          events: [{ seq: 1, type: 'task.started', at: 3, task: 'a', item: null, attempt: 1, data: null }],
        }),
      );
      await place.store.releaseExecution(id, 'r1', 1);
      const [claimed] = await claim({ runner: 'r2' });
      assert.deepEqual([claimed!.seq, claimed!.pendingReason, claimed!.execution.epoch], [1, 'lost', 2]);
      const [a, b] = claimed!.tasks.toSorted((x, y) => (x.task < y.task ? -1 : 1));
      assert.deepEqual(a, sampleTaskState('a', { status: 'completed', output: '{"x":1}', endedAt: 5 }));
      assert.deepEqual(b, sampleTaskState('b'));
    });

    it('a claim leaves out the items of a map that has ended', async () => {
      const id = await owned();
      const items = (task: string, status: 'completed' | 'running') => [
        sampleTaskState(task, { status }),
        ...[0, 1].map((item) => sampleTaskState(task, { item, status: 'completed', output: '"long"' })),
      ];
      await commit('r1', sampleTransition(id, { tasks: [...items('done', 'completed'), ...items('open', 'running')] }));
      await place.store.releaseExecution(id, 'r1', 1);
      const [claimed] = await claim({ runner: 'r2' });
      assert.deepEqual(
        claimed!.tasks.map(({ task, item }) => `${task} ${item}`),
        ['done -1', 'open -1', 'open 0', 'open 1'],
      );
    });

    it('a dead or unknown runner gets nothing', async () => {
      await created({});
      await place.store.markDead('r1', 2_000_000);
      assert.deepEqual(await claim(), []);
      assert.deepEqual(await claim({ runner: 'nobody' }), []);
    });

    it('durability.md, Poison suspects: a claim that a living runner gives back charges no load', async () => {
      const [id] = await created({});
      const kill = async (runner: string): Promise<void> => {
        await place.store.registerRunner(sampleRunner(runner));
        const [claimed] = await claim({ runner });
        assert.equal(claimed!.execution.id, id);
        assert.ok(await place.store.markDead(runner, 2_000_000));
        await place.store.releaseOrphans();
      };
      await kill('k1');
      await kill('k2');
      for (let i = 0; i < 10; i++) {
        const [claimed] = await claim();
        await place.store.releaseExecution(id!, 'r1', claimed!.execution.epoch);
        await place.store.releaseExecution(id!, 'r1', claimed!.execution.epoch); // a repetition changes nothing
      }
      for (let i = 3; i < 7; i++) {
        await kill(`k${i}`);
        assert.equal((await place.store.execution(id!))!.status, 'pending');
      }
      await kill('k7');
      const { status, reason } = (await place.store.execution(id!))!;
      assert.deepEqual([status, reason], ['paused', 'CRASH_LOOP'], 'five runners died while they loaded it');
    });

    it('concurrent claims never return the same execution twice', async () => {
      await created(...Array.from({ length: 100 }, () => ({})));
      const claims = await Promise.all(
        Array.from({ length: 20 }, (_, i) => claim({ runner: i % 2 === 0 ? 'r1' : 'r2', limit: 7 })),
      );
      const ids = claims.flatMap(idsOf);
      assert.equal(ids.length, 100);
      assert.equal(new Set(ids).size, 100);
    });

    it('durability.md, Ownership: a limit of one admits one, however many claims run at the same moment', async () => {
      const runners = Array.from({ length: 8 }, (_, i) => `claimer${i}`);
      for (const id of runners) await place.store.registerRunner(sampleRunner(id));
      const limits = new Map([['embedded/w/1 w', 1]]);
      for (const limitKey of ['a', 'b', 'c', 'd', 'e']) {
        await created(...runners.map(() => ({ limitKey })));
        const claims = await Promise.all(runners.map((runner) => claim({ runner, limits })));
        assert.equal(claims.flat().length, 1, limitKey);
      }
    });
  });

  describe('engine.md, Limits: claims admit no more than a limit allows', () => {
    const code = 'embedded/w/1';

    it('each of many keys admits what its limit allows, the highest priority and the oldest first', async () => {
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

    it('a thousand keys at their limit do not block the next key', async () => {
      const keys = Array.from({ length: 1000 }, (_, i) => `key${String(i).padStart(4, '0')}`);
      await created(...keys.map((limitKey) => ({ limitKey })));
      const limits = new Map([[`${code} w`, 1]]);
      for (let taken = 0; taken < 1000;) taken += (await claim({ limit: 1000, limits })).length;
      await created(...keys.map((limitKey) => ({ limitKey })));
      const [free] = await created({ limitKey: 'last' });
      const request = { runner: 'r2', now: 1, limit: 10, buildIds: [code], roots: null, limits };
      assert.equal(await place.store.claimable(request), true);
      assert.deepEqual(idsOf(await place.store.claim(request)), [free]);
      assert.equal(await place.store.claimable(request), false);
    });

    it('each version keeps to its own limit under the same key, and the oldest execution comes first', async () => {
      const other = 'embedded/w/2';
      const limits = new Map([
        [`${code} w`, 1],
        [`${other} w`, 3],
      ]);
      for (const [first, taken] of [
        [code, [code, other, other]],
        [other, [other, other, other]],
      ] as const) {
        const buildIds = [code, other];
        const second = first === code ? other : code;
        for (const list of [buildIds, buildIds.toReversed()]) {
          const limitKey = `${first} ${list.join()}`;
          const made = await created(
            ...[1, 2, 3].flatMap(() => [first, second].map((buildId) => ({ limitKey, buildId }))),
          );
          const claimed = (await claim({ buildIds: list, limits })).filter(({ execution }) =>
            made.includes(execution.id),
          );
          assert.deepEqual(claimed.map(({ execution }) => execution.buildId).toSorted(), [...taken]);
        }
      }
    });

    it('running executions of one version count for the others under the same key', async () => {
      const limitKey = 'shared';
      const other = 'embedded/w/2';
      await created({ limitKey }, { limitKey }, { limitKey, buildId: other }, { limitKey, buildId: other });
      const limits = new Map([
        [`${code} w`, 3],
        [`${other} w`, 3],
      ]);
      assert.equal((await claim({ buildIds: [code, other], limits })).length, 3);
      assert.equal((await claim({ buildIds: [other, code], limits })).length, 0);
    });
  });
}
