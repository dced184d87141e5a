import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { Client, Runner, workflow } from '../src/index.ts';
import type { AnyWorkflow } from '../src/index.ts';
import { openStore } from '../src/store/open.ts';
import { all } from '../src/store/script.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import type { TestPostgres } from '../src/testing/postgres-server.ts';

/** Two deployments of one program with the same graph. */
function first(): AnyWorkflow {
  const order = workflow('order', { concurrency: { limit: 1 }, retention: '1h' });
  const ok = order.wait('ok', { signal: 'approved', schema: z.object({ by: z.string() }) });
  return order.returns(order.task('ship', { needs: { ok } }, ({ needs }) => needs.ok));
}

function second(): AnyWorkflow {
  const order = workflow('order', { retention: '90d' });
  const ok = order.wait('ok', { signal: 'released', schema: z.object({ user: z.number() }) });
  return order.returns(order.task('ship', { needs: { ok } }, ({ needs }) => needs.ok));
}

let folder = '';
let server: TestPostgres | string = '';
let places = 0;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cloacina-definitions-'));
  server = await testPostgres();
});

after(async () => {
  if (typeof server !== 'string') await server.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

const databases = {
  SQLite: () => `sqlite:${join(folder, `${places++}.db`)}`,
  PostgreSQL: () => (typeof server === 'string' ? null : `${server.url}?schema=definitions_${process.pid}_${places++}`),
};

async function deploy(url: string, deployed: AnyWorkflow): Promise<Runner> {
  return await Runner.open(url, { workflows: [deployed] });
}

async function written(url: string): Promise<readonly unknown[]> {
  const store = await openStore(url);
  try {
    return await store.read(function* () {
      const builds = yield* all('select build_id, spec, written_at as at from builds order by build_id');
      const newest = yield* all('select workflow, spec, updated_at as at from definitions order by workflow');
      return [...builds, ...newest];
    });
  } finally {
    await store.close();
  }
}

for (const [name, newUrl] of Object.entries(databases)) {
  describe(`a deployment that changes a definition and keeps its graph, on ${name}`, () => {
    test('new and open executions take signals by the new names and schemas', async (t) => {
      const url = newUrl();
      if (url === null) return t.skip(server as string);
      const older = await deploy(url, first());
      const open = await older.start('order');
      await older.close();

      await using runner = await deploy(url, second());
      await using client = await Client.open(url);
      const fresh = await client.start('order');
      for (const by of [runner, client]) {
        for (const { id } of [open, fresh]) {
          await assert.rejects(by.signal(id, 'approved', { by: 'ada' }), {
            code: 'SIGNAL_UNKNOWN',
            message: /waits for the signal 'approved'; it waits for 'released'/,
          });
          await assert.rejects(by.signal(id, 'released', { user: 'ada' }), { code: 'SIGNAL_INVALID' });
        }
      }
      await client.signal(open.id, 'released', { user: 1 });
      await runner.signal(fresh.id, 'released', { user: 2 });
      assert.deepEqual(
        [(await runner.handle(open.id).result()).output, (await runner.handle(fresh.id).result()).output],
        [{ user: 1 }, { user: 2 }],
      );
    });

    test('forks have the new limit and the new retention', async (t) => {
      const url = newUrl();
      if (url === null) return t.skip(server as string);
      const older = await deploy(url, first());
      const { id } = await older.start('order');
      await older.signal(id, 'approved', { by: 'ada' });
      await older.handle(id).result();
      await older.close();

      await using runner = await deploy(url, second());
      const fork = await runner.fork(id, { from: 'ok' });
      const store = await openStore(url);
      const [row] = await store.read(() =>
        all<{ limit_key: string | null; retention: number }>(
          'select limit_key, retention from executions where id = $1',
          fork.id,
        ),
      );
      await store.close();
      assert.deepEqual({ ...row }, { limit_key: null, retention: 90 * 86_400_000 });
    });

    test('the last deployment to open counts, and opening again without a change writes nothing', async (t) => {
      const url = newUrl();
      if (url === null) return t.skip(server as string);
      await using older = await deploy(url, first());
      await using newer = await deploy(url, second());
      await using client = await Client.open(url);
      const { id } = await client.start('order');
      await assert.rejects(client.signal(id, 'approved', { by: 'ada' }), { code: 'SIGNAL_UNKNOWN' });
      const once = await written(url);
      await (await deploy(url, second())).close();
      assert.deepEqual(await written(url), once);

      await using again = await deploy(url, first());
      assert.equal(new Set([older.id, newer.id, again.id]).size, 3, 'all are open');
      await assert.rejects(client.signal(id, 'released', { user: 1 }), { code: 'SIGNAL_UNKNOWN' });
      await client.signal(id, 'approved', { by: 'ada' });
    });
  });
}
