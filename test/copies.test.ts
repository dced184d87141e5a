import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import * as library from '../src/index.ts';
import { openStore } from '../src/store/open.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { copyOfLibrary } from './copies/copy.ts';
import { openWith } from './copies/runner.ts';
import type { Opened, Place } from './copies/runner.ts';

const server = await testPostgres();
if (typeof server !== 'string') after(() => server.stop());
let schemas = 0;

const databases: Readonly<Record<string, { readonly skip: string | false; readonly url: (t: Cleanup) => string }>> = {
  SQLite: { skip: false, url: (t) => `sqlite:${join(tempFolder(t), 'shared.db')}` },
  PostgreSQL: {
    skip: typeof server === 'string' ? server : false,
    url: () => `${typeof server === 'string' ? '' : server.url}?schema=copies_${process.pid}_${schemas++}`,
  },
};

async function openMain(t: Cleanup, url: string): Promise<Opened & { readonly place: Place; readonly id: string }> {
  const place = { database: url, folder: tempFolder(t) };
  const main = await openWith(library, 'main', place);
  release(t, () => main.runner.close({ drain: 0 }));
  const { id } = await main.runner.start(main.work, { n: 1 });
  return { ...main, place, id };
}

/** Waits until both runners have renewed their leases twice, so each has observed the other. */
async function untilLooked(database: string): Promise<void> {
  const store = await openStore(database);
  try {
    const renewals = new Map<string, Set<number>>();
    while (renewals.size < 2 || [...renewals.values()].some((seen) => seen.size < 3)) {
      for (const { id, leaseUntil, dead } of await store.runners()) {
        assert.equal(dead, false, 'a healthy runner was declared dead');
        renewals.set(id, (renewals.get(id) ?? new Set()).add(leaseUntil));
      }
      assert.ok(renewals.size <= 2, 'a runner registered anew');
      await setTimeout(20);
    }
  } finally {
    await store.close();
  }
}

function deaths(logged: readonly string[]): readonly string[] {
  return logged.filter((line) => /died|dead/.test(line));
}

/** Both executions are ended, and each has begun once. */
async function endBoth({ runner, place, id }: Awaited<ReturnType<typeof openMain>>, other: string): Promise<void> {
  writeFileSync(join(place.folder, 'go'), '');
  for (const one of [id, other]) assert.equal((await runner.handle(one).outcome()).status, 'completed');
  assert.deepEqual(readFileSync(join(place.folder, 'began'), 'utf8').trim().split('\n').toSorted(), ['1', '2']);
}

for (const [name, { skip, url }] of Object.entries(databases)) {
  describe(`several runners of one process do not disturb each other, on ${name}`, { skip }, () => {
    it('two runners of two copies of the library run side by side', async (t) => {
      // loading it blocks for longer than a runner waits for a database
      const copy = await copyOfLibrary(t);
      const main = await openMain(t, url(t));
      const other = await openWith(copy, 'copy', main.place);
      release(t, () => other.runner.close({ drain: 0 }));
      const { id } = await other.runner.start(other.work, { n: 2 });
      await untilLooked(main.place.database);
      await endBoth(main, id);
      assert.deepEqual(deaths([...main.logged, ...other.logged]), []);
    });

    it('a runner in a worker thread runs beside one in the main thread', async (t) => {
      const main = await openMain(t, url(t));
      const worker = new Worker(new URL('copies/thread.ts', import.meta.url), { workerData: main.place });
      release(t, async () => void (await worker.terminate()));
      const [id] = (await once(worker, 'message')) as [string];
      await untilLooked(main.place.database);
      await endBoth(main, id);
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
      worker.postMessage('close');
      const [logged] = (await once(worker, 'message')) as [string[]];
      assert.deepEqual(deaths([...main.logged, ...logged]), []);
    });
  });
}
