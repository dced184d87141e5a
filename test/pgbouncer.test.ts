import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client, Runner, unchecked, workflow } from '../src/index.ts';
import { release } from '../src/testing/engine-rig.ts';
import { pgbouncer } from '../src/testing/pgbouncer.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import type { TestPostgres } from '../src/testing/postgres-server.ts';
import { storeSuite } from '../src/testing/store-suite.ts';
import { openStore } from '../src/store/open.ts';
import { silent } from './processes/workflows.ts';

async function pooled(): Promise<TestPostgres | string> {
  const server = await testPostgres();
  if (typeof server === 'string') return server;
  after(() => server.stop());
  return pgbouncer(server.url);
}

const place = await pooled();
let schemas = 0;

if (typeof place === 'string') {
  describe('behind pgbouncer', () => {
    it('all works as it does without', (t) => t.skip(place));
  });
} else {
  after(() => place.stop());
  const fresh = (): string => `${place.url}?schema=pooled_${process.pid}_${schemas++}`;
  storeSuite('PostgreSQL behind pgbouncer, which pools by transaction', () => openStore(fresh()));

  describe('durability.md, wake-ups: behind a pooler that swallows LISTEN', () => {
    it('two runners share the work of a client, and signals reach whoever waits', async (t) => {
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

    it('a runner that waits hears of the end of what another one ran', async (t) => {
      const w = workflow('w', { input: unchecked<{ n: number }>() });
      const done = w.returns(w.task('a', ({ input }) => input.n + 1));
      const url = fresh();
      const runs = await Runner.open(url, { workflows: [done], logger: silent });
      release(t, () => runs.close());
      const waits = await Runner.open(url, { logger: silent });
      release(t, () => waits.close());
      await setTimeout(2500); // whether notices come has been tried out
      for (let n = 0; n < 3; n++) {
        const start = performance.now();
        assert.equal((await waits.execute('w', { n })).output, n + 1);
        assert.ok(performance.now() - start < 3000, `it heard of it after ${performance.now() - start} ms`);
      }
    });
  });
}
