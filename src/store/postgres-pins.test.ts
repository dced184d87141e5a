import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client } from 'pg';
import { reportCrashLoop, reportLoaded } from '../package/registry-outcomes.ts';
import { release } from '../testing/engine-rig.ts';
import type { Cleanup } from '../testing/engine-rig.ts';
import { testPostgres } from '../testing/postgres-server.ts';
import { SampleRegistry, samplePinned } from '../testing/sample-registry.ts';
import { sampleRunner } from '../testing/store-suite.ts';
import type { Pin } from './batch.ts';
import { openStore } from './open.ts';
import type { Store } from './store.ts';

/** What another connection holds up waits for it; what does not wait is answered long before. */
const momentMs = 300;

interface Place {
  readonly store: Store;
  readonly sample: SampleRegistry;
  /** Another connection to the same schema. */
  readonly client: Client;
  /** Version 1.0.0 of the package, which is live. */
  readonly one: Pin;
}

let schemas = 0;

async function place(t: Cleanup, url: string): Promise<Place> {
  const schema = `pins_${process.pid}_${schemas++}`;
  const store = await openStore(`${url}?schema=${schema}`);
  release(t, () => store.close());
  await store.registerRunner(sampleRunner('r1'));
  const client = new Client({ connectionString: url, options: `-c search_path=${schema}` });
  await client.connect();
  release(t, () => client.end());
  const sample = new SampleRegistry(t, store);
  const one = await sample.register('1.0.0');
  return { store, sample, client, one };
}

/** What an `unregister` of one version has done before it commits. */
async function unregistering({ client }: Place, version = '1.0.0'): Promise<void> {
  await client.query('begin');
  await client.query('select id from packages where version = $1 for update', [version]);
  await client.query(`update packages set status = 'deleted' where version = $1`, [version]);
}

/** Whether a promise is still open after a moment. */
async function isHeldUp(promise: Promise<unknown>): Promise<boolean> {
  const held = Symbol('held');
  const settled = promise.then(
    () => undefined,
    () => undefined,
  );
  return (await Promise.race([settled, setTimeout(momentMs, held)])) === held;
}

async function codeOf(promise: Promise<unknown>): Promise<string | null> {
  try {
    await promise;
    return null;
  } catch (error) {
    return String(Reflect.get(error as Error, 'code'));
  }
}

const server = await testPostgres();
if (typeof server === 'string') {
  describe('races for a package version on PostgreSQL', () => {
    it('are run on a server', (t) => t.skip(server));
  });
} else {
  const { url } = server;
  after(() => server.stop());

  describe('packages.md: a channel comes to a version only while that is there', () => {
    it('a roll-back waits for the unregister of where it would go, and then finds nothing', async (t) => {
      const here = await place(t, url);
      await here.sample.register('2.0.0');
      await unregistering(here);
      const back = codeOf(here.sample.registry.rollback('p'));
      assert.ok(await isHeldUp(back));
      await here.client.query('commit');
      assert.equal(await back, 'PACKAGE_NOT_FOUND');
      assert.equal((await here.sample.registry.show('p')).channels['live']!.version, '2.0.0');
    });

    it('what a crash loop steps back to, and gives waiting executions to, is not taken away meanwhile', async (t) => {
      const here = await place(t, url);
      const { store, sample, client } = here;
      await store.write((dialect) =>
        reportLoaded({
          runner: 'r1',
          digest: here.one.digest,
          at: 1,
          conditions: [],
          dialect,
          onActivate: undefined,
        }),
      );
      const two = await sample.register('2.0.0');
      const waits = samplePinned(two);
      await store.createExecutions([waits]);
      await unregistering(here);
      const reported = store.write((dialect) =>
        reportCrashLoop(
          { runner: 'r1', digest: two.digest, at: 1_000_000, conditions: [], dialect, onActivate: undefined },
          'it crashed',
        ),
      );
      assert.ok(await isHeldUp(reported));
      await client.query('commit');
      await reported;
      assert.equal((await sample.registry.show('p')).channels['live']!.version, '2.0.0');
      assert.deepEqual((await store.execution(waits.id))!.pin, two);
    });

    it('collecting locks the version before its bytes, as those do who unregister and publish', async (t) => {
      const here = await place(t, url);
      const { sample, client } = here;
      await sample.register('2.0.0');
      await sample.registry.unregister('p', '1.0.0');
      await client.query('begin');
      await client.query(`select 1 from packages where version = '1.0.0' for update`);
      const collected = sample.registry.gc({ graceMs: 0 });
      assert.ok(await isHeldUp(collected));
      const bytes = await client.query('select 1 from package_bytes where digest = $1 for update skip locked', [
        here.one.digest,
      ]);
      assert.equal(bytes.rowCount, 1);
      await client.query('commit');
      assert.equal((await collected).length, 1);
    });
  });
}
