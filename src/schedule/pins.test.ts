import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client } from 'pg';
import type { ResolvedWorkflow } from '../engine/client/start.ts';
import { openStore } from '../store/open.ts';
import type { Store } from '../store/store.ts';
import { ManualClock } from '../testing/clock.ts';
import { release } from '../testing/engine-rig.ts';
import type { Cleanup } from '../testing/engine-rig.ts';
import { testPostgres } from '../testing/postgres-server.ts';
import { SampleRegistry } from '../testing/sample-registry.ts';
import { ScheduleLoop } from './loop.ts';
import { Schedules } from './schedules.ts';

interface Place {
  readonly store: Store;
  readonly sample: SampleRegistry;
  readonly schedules: Schedules;
  /** Fires due schedules; returns the reported error of a failed start, or null if an execution was started. */
  fire(): Promise<{ readonly code: string } | null>;
}

/** A due schedule of `p/w` on a database without a runner; a callback runs after the workflow lookup. */
async function place(t: Cleanup, url: string, then: (sample: SampleRegistry) => Promise<void>): Promise<Place> {
  const clock = new ManualClock();
  const store = await openStore(url, { now: () => clock.now() });
  release(t, () => store.close());
  const sample = new SampleRegistry(t, store);
  await sample.register('1.0.0');
  await sample.register('2.0.0');
  await sample.registry.activate('p', '1.0.0');
  const lookUp = async (name: string): Promise<ResolvedWorkflow> => {
    const { spec, pin } = (await sample.registry.resolve(name))!;
    return { spec, buildId: pin.digest, pin, code: null };
  };
  let isDue = false;
  const resolve = async (name: string): Promise<ResolvedWorkflow> => {
    const found = await lookUp(name);
    if (isDue) await then(sample);
    return found;
  };
  const common = { store, clock, maxPayload: 10_000 };
  const schedules = new Schedules({ ...common, tenant: 'default', resolve, onChange: () => undefined });
  await schedules.add('nightly', { workflow: 'p/w', every: '1h' });
  await clock.advance('1h');
  isDue = true;
  const fire = async (): Promise<{ readonly code: string } | null> => {
    const { promise, resolve: done } = Promise.withResolvers<{ readonly code: string } | null>();
    const loop = new ScheduleLoop({
      ...common,
      logger: {
        debug: () => undefined,
        info: () => undefined,
        warn: (details) => done(details as { readonly code: string }),
        error: (details) => done(details as { readonly code: string }),
      },
      tenants: null,
      resolve: (_tenant, name) => resolve(name),
      notify: () => done(null),
    });
    try {
      return await promise;
    } finally {
      await loop.close();
    }
  };
  return { store, sample, schedules, fire };
}

const unregister = async ({ registry }: SampleRegistry): Promise<void> => {
  await registry.unregister('p');
};

/** The outcomes of the slots, the latest first. */
async function slots({ schedules }: Place): Promise<unknown[]> {
  const rows = await schedules.history('nightly');
  return rows.map(({ outcome, error }) => [outcome, error?.code ?? null]);
}

function suite(name: string, url: () => string): void {
  describe(`durability.md, Per database: a schedule holds the version that it starts: ${name}`, () => {
    it('a slot whose package is gone when it fires has failed with the reason', async (t) => {
      const here = await place(t, url(), unregister);
      assert.equal((await here.fire())!.code, 'PACKAGE_NOT_FOUND');
      assert.deepEqual(await slots(here), [['failed', 'PACKAGE_NOT_FOUND']]);
    });

    it('a slot starts the version that the channel has when it fires', async (t) => {
      const here = await place(t, url(), async ({ registry }) => {
        await registry.activate('p', '2.0.0');
        await registry.unregister('p', '1.0.0');
      });
      assert.equal(await here.fire(), null);
      assert.deepEqual(await slots(here), [['started', null]]);
      const [slot] = await here.schedules.history('nightly');
      assert.equal((await here.store.execution(slot!.executionId!))!.pin!.version, '2.0.0');
    });

    it('a due slot of the old rule fails likewise when a schedule is changed', async (t) => {
      const here = await place(t, url(), unregister);
      await here.schedules.update('nightly', { every: '2h' });
      assert.deepEqual(await slots(here), [['failed', 'PACKAGE_NOT_FOUND']]);
    });
  });
}

suite('SQLite', () => 'sqlite::memory:');

const momentMs = 300;
let schemas = 0;
const server = await testPostgres();
if (typeof server === 'string') {
  describe('schedules hold versions on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.stop());
  const fresh = (): string => `${server.url}?schema=slots_${process.pid}_${schemas++}`;
  suite('PostgreSQL', fresh);

  describe('durability.md, Per database: a schedule that fires against an unregister under way', () => {
    const acts: Readonly<Record<string, (here: Place) => Promise<unknown>>> = {
      'a slot': (here) => here.fire(),
      'a change of the rule': ({ schedules }) => schedules.update('nightly', { every: '2h' }),
    };
    for (const [what, act] of Object.entries(acts)) {
      it(`${what} waits for the version without a lock on a schedule`, async (t) => {
        const url = fresh();
        const here = await place(t, url, () => Promise.resolve());
        const schema = new URL(url).searchParams.get('schema')!;
        const client = new Client({ connectionString: server.url, options: `-c search_path=${schema}` });
        await client.connect();
        release(t, () => client.end());
        await client.query('begin');
        await client.query(`select 1 from packages for update`);
        await client.query(`update packages set status = 'deleted'`);
        const fired = act(here);
        const held = Symbol('held');
        assert.equal(await Promise.race([fired, setTimeout(momentMs, held)]), held);
        assert.equal((await client.query('select 1 from schedules for update skip locked')).rowCount, 1);
        await client.query('commit');
        await fired;
        assert.deepEqual(await slots(here), [['failed', 'PACKAGE_NOT_FOUND']]);
      });
    }
  });
}
