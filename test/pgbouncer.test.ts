import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client as Postgres } from 'pg';
import { Client, Runner, unchecked, workflow } from '../src/index.ts';
import { release } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { pgbouncer } from '../src/testing/pgbouncer.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import type { TestPostgres } from '../src/testing/postgres-server.ts';
import { sampleEffects, sampleExecution, sampleRunner, sampleTransition } from '../src/testing/samples.ts';
import { storeSuite } from '../src/testing/suites/store-suite.ts';
import { openStore } from '../src/store/open.ts';
import { silent } from './processes/workflows.ts';

const timeouts = ['statement_timeout', 'idle_in_transaction_session_timeout'];

interface Places {
  readonly direct: TestPostgres;
  /** It refuses the startup parameters. */
  readonly refusing: TestPostgres;
  /** It ignores the startup parameters. */
  readonly ignoring: TestPostgres;
}

async function pooled(): Promise<Places | string> {
  const direct = await testPostgres();
  if (typeof direct === 'string') return direct;
  after(() => direct.stop());
  const refusing = await pgbouncer(direct.url);
  if (typeof refusing === 'string') return refusing;
  after(() => refusing.stop());
  const ignoring = await pgbouncer(direct.url, timeouts);
  if (typeof ignoring === 'string') return ignoring;
  after(() => ignoring.stop());
  return { direct, refusing, ignoring };
}

const places = await pooled();
let schemas = 0;

if (typeof places === 'string') {
  describe('behind pgbouncer', () => {
    it('every verb works as without it', (t) => t.skip(places));
  });
} else {
  const place = places.refusing;
  const fresh = (): string => `${place.url}?schema=pooled_${process.pid}_${schemas++}`;
  storeSuite('PostgreSQL behind pgbouncer, which pools by transaction', () => openStore(fresh()));

  describe('durability.md, Wake-ups: behind a pooler that swallows LISTEN', () => {
    it('two runners share the work of a client, and signals reach waiting executions', async (t) => {
      const w = workflow('w', { input: unchecked<{ n: number }>() });
      const items = w.map('items', { over: ({ input }) => [input.n, input.n] }, ({ item }) => item + 1);
      const go = w.wait('go', { signal: 'go', schema: unchecked<number>() });
      const sum = w.task('sum', { needs: { items, go } }, ({ needs }) => needs.items[0]! + needs.items[1]! + needs.go);
      const done = w.returns(sum);
      const url = fresh();
      for (let i = 0; i < 2; i++) {
        const runner = await Runner.open(url, { workflows: [done], logger: silent, lease: '2s' });
        release(t, () => runner.close());
      }
      const client = await Client.open(url);
      release(t, () => client.close());
      const handles = await client.startMany(
        done,
        Array.from({ length: 40 }, (_, n) => ({ n })),
      );
      for (const { id } of handles) await client.signal(id, 'go', 10);
      const outputs = await Promise.all(handles.map(async (handle) => (await handle.result()).output));
      assert.deepEqual(
        outputs,
        handles.map((_, n) => 2 * (n + 1) + 10),
      );
      const runners = new Set<string | null>();
      for (const { id } of handles) {
        for (const { runner } of await client.executions.events(id)) if (runner !== null) runners.add(runner);
      }
      t.diagnostic(`${runners.size} runners took part`);
    });

    it('a waiting runner learns of the end of an execution that another one ran', async (t) => {
      const w = workflow('w', { input: unchecked<{ n: number }>() });
      const done = w.returns(w.task('a', ({ input }) => input.n + 1));
      const url = fresh();
      const runs = await Runner.open(url, { workflows: [done], logger: silent });
      release(t, () => runs.close());
      const waits = await Runner.open(url, { logger: silent });
      release(t, () => waits.close());
      await setTimeout(2500); // the runner has tested for notifications
      for (let n = 0; n < 3; n++) {
        const start = performance.now();
        assert.equal((await waits.execute('w', { n })).output, n + 1);
        assert.ok(performance.now() - start < 3000, `it was notified after ${performance.now() - start} ms`);
      }
    });
  });

  const connect = async (t: Cleanup, schema: string): Promise<Postgres> => {
    const client = new Postgres({ connectionString: places.direct.url, options: `-c search_path=${schema}` });
    await client.connect();
    release(t, () => client.end());
    return client;
  };

  describe('durability.md, Death and adoption: server-side timeouts bound how long a commit under way holds its runner', () => {
    // a transaction first: with a single statement the pooler may be detected early
    const forms = { 'as a transaction': sampleEffects({ itemsDropped: ['nothing'] }), 'as one statement': null };
    for (const how of ['refusing', 'ignoring'] as const) {
      for (const [form, effects] of Object.entries(forms)) {
        it(`a pooler that is ${how} them does not change that (${form})`, async (t) => {
          const schema = `pooled_${process.pid}_${schemas++}`;
          const store = await openStore(`${places[how].url}?schema=${schema}`, { deadlineMs: 1500 });
          release(t, () => store.close());
          await store.registerRunner(sampleRunner('r1'));
          const create = sampleExecution({ owned: true });
          await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(create.id, { create })] });
          const [other, observer] = [await connect(t, schema), await connect(t, schema)];
          const { rows } = await other.query<{ pid: number }>('select pg_backend_pid() as pid');
          await other.query('begin; select from executions for update');
          const waiting = async (): Promise<boolean> => {
            const text = 'select from pg_stat_activity where $1 = any(pg_blocking_pids(pid))';
            return (await observer.query(text, [rows[0]!.pid])).rows.length > 0;
          };
          const start = performance.now();
          const commit = store.commit({
            runner: 'r1',
            lane: 0,
            n: 2,
            transitions: [sampleTransition(create.id, { effects })],
          });
          commit.catch(() => undefined); // no caller is left to receive the error
          while (!(await waiting())) assert.ok(performance.now() - start < 5000, 'it does not wait for that row');
          assert.equal(await store.markDead('r1', 2_000_000), false, 'its commit holds it');
          while (await waiting()) {
            assert.ok(performance.now() - start < 8000, 'the server still waits for a row that is held');
            await setTimeout(20);
          }
          assert.equal(await store.markDead('r1', 2_000_000), true);
        });
      }
    }
  });
}
