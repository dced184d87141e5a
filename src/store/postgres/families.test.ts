import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { Client } from 'pg';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { isHeldUp, postgresPlace } from '../../testing/postgres-place.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { sampleEffects, sampleExecution, sampleTaskState, sampleTransition } from '../../testing/samples.ts';
import type { Store } from '../store.ts';

/** A parent with two children and a grandchild; the order of their ids differs from the order of their creation. */
const [grandchild, child, parent, sibling] = ['f0', 'f1', 'f2', 'f3'] as const;

async function family(store: Store, owned: boolean): Promise<void> {
  const of = (id: string, task: string): object => ({ rootId: parent, parent: { id, task, item: -1 } });
  const root = sampleExecution({ id: parent, owned });
  if (owned)
    await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(parent, { create: root })] });
  else await store.createExecutions([root]);
  await store.createExecutions([
    sampleExecution({ id: child, ...of(parent, 'c') }),
    sampleExecution({ id: sibling, ...of(parent, 's') }),
    sampleExecution({ id: grandchild, ...of(child, 'g') }),
  ]);
}

/**
 * A transaction that waits for the first of the rows must hold none of the others: a commit that holds the first can
 * lock the others.
 */
async function waitsForTheFirst(client: Client, rows: readonly string[], act: () => Promise<unknown>): Promise<void> {
  const [first, ...others] = rows.toSorted();
  await client.query('begin');
  await client.query('select 1 from executions where id = $1 for update', [first]);
  const acting = act();
  assert.ok(await isHeldUp(acting));
  const free = `select id from executions where id = any($1) order by id for update skip locked`;
  const { rows: found } = await client.query<{ id: string }>(free, [others]);
  await client.query('commit');
  await acting;
  assert.deepEqual(
    found.map(({ id }) => id),
    others,
  );
}

const server = await testPostgres();
if (typeof server === 'string') {
  describe('families on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  const { url } = server;
  after(() => server.stop());
  const place = (t: Cleanup): ReturnType<typeof postgresPlace> => postgresPlace(t, url, ['r1', 'r2']);
  const statuses = async (store: Store, ...ids: readonly string[]): Promise<readonly string[]> =>
    Promise.all(ids.map(async (id) => (await store.execution(id))!.status));

  describe('durability.md, The journal: rows of other executions are locked in the order of their ids, also by a cancel', () => {
    it('a cancel of an execution locks its children and grandchildren in order', async (t) => {
      const { store, client } = await place(t);
      await family(store, false);
      const rows = [grandchild, child, parent, sibling];
      await waitsForTheFirst(client, rows, () => store.cancel(parent, 'default'));
      assert.deepEqual(new Set(await statuses(store, ...rows)), new Set(['cancelled']));
    });

    it('a cancel of a child locks the parent, which is told, in order', async (t) => {
      const { store, client } = await place(t);
      await family(store, false);
      await waitsForTheFirst(client, [parent, sibling], () => store.cancel(sibling, 'default'));
      assert.deepEqual(await statuses(store, parent, sibling, child), ['pending', 'cancelled', 'pending']);
      assert.equal((await store.execution(parent))!.inboxSeq, 1);
    });

    it('a cancel by the commit of a parent locks in order', async (t) => {
      const { store, client } = await place(t);
      await family(store, true);
      const effects = sampleEffects({ cancelChildren: [sibling, child] });
      const batch = { runner: 'r1', lane: 0, n: 2, transitions: [sampleTransition(parent, { effects })] };
      await waitsForTheFirst(client, [grandchild, child, parent, sibling], () => store.commit(batch));
      assert.deepEqual(await statuses(store, grandchild, child, sibling), ['cancelled', 'cancelled', 'cancelled']);
    });

    it('a cancel by a retry under another definition locks in order', async (t) => {
      const { store, client } = await place(t);
      await family(store, true);
      const tasks = [sampleTaskState('c', { status: 'failed' })];
      await store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [sampleTransition(parent, { tasks })] });
      await client.query(`update executions set status = 'failed', owner = null, ended_at = 1 where id = $1`, [parent]);
      const retry = { id: parent, tenant: 'default', buildId: 'embedded/w/2', reset: ['c'], gone: [], repin: null };
      await waitsForTheFirst(client, [grandchild, child, parent], () => store.retry(retry));
      assert.deepEqual(await statuses(store, parent, grandchild, child), ['pending', 'cancelled', 'cancelled']);
    });
  });
}
