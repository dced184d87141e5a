import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Client } from 'pg';
import { reportCrashLoop, reportLoaded } from '../../package/registry/reports.ts';
import type { Report } from '../../package/registry/reports.ts';
import { release } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { isHeldUp, postgresPlace } from '../../testing/postgres-place.ts';
import type { PostgresPlace } from '../../testing/postgres-place.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { SampleRegistry, samplePinned } from '../../testing/sample-registry.ts';
import { sampleEffects, sampleExecution, sampleTransition } from '../../testing/samples.ts';
import { PinRefusedError } from '../transition.ts';
import type { NewExecution, Pin, Transition } from '../transition.ts';
import type { Script, Tx } from '../script.ts';

interface Place extends PostgresPlace {
  readonly sample: SampleRegistry;
  /** Version 1.0.0 of the package, which is live. */
  readonly one: Pin;
  /** An execution without a package, owned by r1. */
  readonly known: string;
}

async function place(t: Cleanup, url: string): Promise<Place> {
  const { store, client } = await postgresPlace(t, url, ['r1']);
  const sample = new SampleRegistry(t, store);
  const one = await sample.register('1.0.0');
  const create = sampleExecution({ owned: true });
  await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(create.id, { create })] });
  return { store, sample, client, one, known: create.id };
}

/** The changes of an `unregister` of one version before its commit. */
async function unregistering({ client }: Place, version = '1.0.0'): Promise<void> {
  await client.query('begin');
  await client.query('select id from packages where version = $1 for update', [version]);
  await client.query(`update packages set status = 'deleted' where version = $1`, [version]);
}

/** A cancelled execution of that version. */
async function cancelled({ store }: Place, pin: Pin): Promise<string> {
  const create = samplePinned(pin);
  await store.createExecutions([create]);
  await store.cancel(create.id, 'default');
  return create.id;
}

/** A way to pin an execution to a version. */
interface Way {
  /** Begins to pin and returns the outcome: null if it is pinned, or the code of the refusal. */
  readonly pin: (here: Place) => Promise<() => Promise<string | null>>;
  /** True if the execution follows its channel. */
  readonly follows: boolean;
  /** True if it waits for the row of the execution `known`, or of a given one, while it holds the version. */
  readonly behind?: (here: Place) => string;
}

async function codeOf(promise: Promise<unknown>): Promise<string | null> {
  try {
    const delivery = await promise;
    return delivery instanceof Object && 'status' in delivery && delivery.status === 'package_gone'
      ? 'PACKAGE_NOT_FOUND'
      : null;
  } catch (error) {
    if (error instanceof PinRefusedError) return [...error.refused.values()][0]!.code;
    return String(Reflect.get(error as Error, 'code'));
  }
}

/** Writes a change of the execution that r1 owns, and optionally creates another one. */
function commit({ store, known }: Place, change: Partial<Transition>, create?: NewExecution): Promise<unknown> {
  const made = create === undefined ? [] : [sampleTransition(create.id, { create })];
  return store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [...made, sampleTransition(known, change)] });
}

const other = { effects: sampleEffects({ itemsDropped: ['nothing'] }) };
let ended = '';

const ways: Readonly<Record<string, Way>> = {
  'a start': {
    follows: true,
    pin: async ({ store, one }) => {
      const create = samplePinned(one);
      return () => codeOf(store.createExecutions([create]));
    },
  },
  'a start with an idempotency key': {
    follows: true,
    pin: async ({ store, one }) => {
      const create = samplePinned(one, { idempotencyKey: 'k', inputHash: 'h' });
      return () => codeOf(store.createExecutions([create]));
    },
  },
  'a start of a runner’s own (one statement)': {
    follows: true,
    behind: ({ known }) => known,
    pin: async (here) => {
      const create = samplePinned(here.one, { owned: true });
      return () => codeOf(commit(here, {}, create));
    },
  },
  'a start of a runner’s own (a transaction)': {
    follows: true,
    behind: ({ known }) => known,
    pin: async (here) => {
      const create = samplePinned(here.one, { owned: true });
      return () => codeOf(commit(here, other, create));
    },
  },
  'a child (one statement)': {
    follows: true,
    behind: ({ known }) => known,
    pin: async (here) => {
      const effects = sampleEffects({ children: [childOf(here)] });
      return () => codeOf(commit(here, { effects }));
    },
  },
  'a child (a transaction)': {
    follows: true,
    behind: ({ known }) => known,
    pin: async (here) => {
      const effects = sampleEffects({ ...other.effects, children: [childOf(here)] });
      return () => codeOf(commit(here, { effects }));
    },
  },
  'a retry': {
    follows: false,
    behind: () => ended,
    pin: async (here) => {
      const id = await cancelled(here, here.one);
      ended = id;
      const { digest: code } = here.one;
      return () => codeOf(here.store.retry({ id, tenant: 'default', buildId: code, reset: [], gone: [] }));
    },
  },
  'a fork': {
    follows: false,
    behind: () => ended,
    pin: async (here) => {
      const id = await cancelled(here, here.one);
      ended = id;
      const create = samplePinned(here.one, { followsChannel: false });
      return () => codeOf(here.store.fork({ create, from: { id, task: 'collect' }, keep: [] }));
    },
  },
};

function childOf({ one, known }: Place): NewExecution {
  return samplePinned(one, { rootId: known, parent: { id: known, task: 'kid', item: -1 } });
}

/** The report of a runner about a version, without its transaction. */
function reportOf({ package: name, version, digest }: Pin): Omit<Report, keyof Tx> {
  return { runner: 'r1', version: { tenant: 'default', name, version, digest }, conditions: [], onActivate: undefined };
}

const server = await testPostgres();
if (typeof server === 'string') {
  describe('races for a package version on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  const { url } = server;
  after(() => server.stop());

  for (const [what, way] of Object.entries(ways)) {
    describe(`durability.md, Per database: ${what} holds the version's row`, () => {
      it('the act waits for an unregister under way, and is refused when that has committed', async (t) => {
        const here = await place(t, url);
        const begin = await way.pin(here);
        await unregistering(here);
        const pinned = begin();
        assert.ok(await isHeldUp(pinned));
        await here.client.query('commit');
        assert.equal(await pinned, 'PACKAGE_NOT_FOUND');
        const open = await here.client.query('select 1 from executions where digest is not null and ended_at is null');
        assert.equal(open.rowCount, 0, 'nothing is pinned to what is gone');
      });

      it('the act continues when the unregister is rolled back', async (t) => {
        const here = await place(t, url);
        const begin = await way.pin(here);
        await unregistering(here);
        const pinned = begin();
        assert.ok(await isHeldUp(pinned));
        await here.client.query('rollback');
        assert.equal(await pinned, null);
        await assert.rejects(here.sample.registry.unregister('p'), { code: 'PACKAGE_IN_USE', activeCount: 1 });
      });

      if (way.follows) {
        it('the act uses the current version of the channel if that moved before the version was removed', async (t) => {
          const here = await place(t, url);
          const begin = await way.pin(here);
          const { digest: two } = await here.sample.register('2.0.0');
          await here.sample.registry.activate('p', '1.0.0');
          await unregistering(here);
          await here.client.query(`update channels set version = '2.0.0', digest = $1`, [two]);
          const pinned = begin();
          assert.ok(await isHeldUp(pinned));
          await here.client.query('commit');
          assert.equal(await pinned, null);
          const { rows } = await here.client.query<{ digest: string }>(
            'select digest from executions where digest is not null',
          );
          assert.deepEqual(rows, [{ digest: two }]);
        });
      }

      const { behind } = way;
      if (behind === undefined) return;
      it('the act delays an unregister, which then counts it', async (t) => {
        const here = await place(t, url);
        const begin = await way.pin(here);
        await here.client.query('begin');
        await here.client.query('select 1 from executions where id = $1 for update', [behind(here)]);
        const pinned = begin();
        assert.ok(await isHeldUp(pinned));
        const unregistered = here.sample.registry.unregister('p');
        assert.ok(await isHeldUp(unregistered), 'it waits for whoever has the version');
        await here.client.query('commit');
        assert.equal(await pinned, null);
        await assert.rejects(unregistered, { code: 'PACKAGE_IN_USE', activeCount: 1 });
      });

      it('the act waits for the version without a lock on an execution', async (t) => {
        const here = await place(t, url);
        const begin = await way.pin(here);
        await unregistering(here);
        const pinned = begin();
        assert.ok(await isHeldUp(pinned));
        const text = 'select 1 from executions where id = $1 for update skip locked';
        assert.equal((await here.client.query(text, [behind(here)])).rowCount, 1);
        await here.client.query('commit');
        await pinned;
      });
    });
  }

  describe("durability.md, The caller's transaction: a start in it holds the version", () => {
    it("an unregister waits for the caller's end: committed starts count, rolled-back ones do not", async (t) => {
      for (const [end, code] of [
        ['commit', 'PACKAGE_IN_USE'],
        ['rollback', null],
      ] as const) {
        const { store, sample, client, one } = await place(t, url);
        await client.query('begin');
        await store.createWithin!(client, [samplePinned(one)]);
        const unregistered = codeOf(sample.registry.unregister('p'));
        assert.ok(await isHeldUp(unregistered));
        await client.query(end);
        assert.equal(await unregistered, code);
      }
    });

    it("a start whose version is being unregistered waits for that, and leaves the caller's transaction usable", async (t) => {
      const here = await place(t, url);
      const { store, client, one } = here;
      await unregistering(here);
      const caller = new Client({ connectionString: url });
      await caller.connect();
      release(t, () => caller.end());
      await caller.query('begin');
      const early = sampleExecution();
      await store.createWithin!(caller, [early]);
      const creates = [sampleExecution(), samplePinned(one)];
      const started = codeOf(store.createWithin!(caller, creates));
      assert.ok(await isHeldUp(started));
      await client.query('commit');
      assert.equal(await started, 'PACKAGE_NOT_FOUND');
      await caller.query('commit');
      assert.notEqual(await store.execution(early.id), undefined);
      for (const { id } of creates) assert.equal(await store.execution(id), undefined);
    });

    it('an open transaction does not delay acts that keep the version: a yank, a report, a move of the channel', async (t) => {
      const { store, sample, client, one } = await place(t, url);
      await client.query('begin');
      await store.createWithin!(client, [samplePinned(one)]);
      const { registry } = sample;
      const report = (script: (report: Report) => Script<boolean>): Promise<boolean> =>
        store.write((tx) => script({ ...tx, ...reportOf(one) }));
      await report(reportLoaded);
      await sample.register('2.0.0');
      await registry.rollback('p');
      await registry.yank('p', '1.0.0');
      await report((made) => reportCrashLoop(made, 'it crashed'));
      assert.equal((await registry.show('p')).versions[0]!.status, 'quarantined');
      await client.query('commit');
    });

    it('docs/transactions.md: its user needs UPDATE of a column of packages if there is a package', async (t) => {
      const { store, client, one } = await place(t, url);
      const { rows } = await client.query<{ schema: string }>('select current_schema() as schema');
      const { schema } = rows[0]!;
      const role = `${schema}_caller`;
      await client.query(`create role ${role} login; grant usage on schema ${schema} to ${role};
        grant insert, select on all tables in schema ${schema} to ${role}`);
      release(t, () => client.query(`drop owned by ${role}; drop role ${role}`).then(() => undefined));
      const there = new URL(url);
      there.username = role;
      const caller = new Client({ connectionString: there.href });
      await caller.connect();
      release(t, () => caller.end());
      const start = async (create: NewExecution): Promise<string | null> => {
        await caller.query('begin');
        const code = await codeOf(store.createWithin!(caller, [create]));
        await caller.query(code === null ? 'commit' : 'rollback');
        return code;
      };
      assert.equal(await start(sampleExecution()), null);
      assert.equal(await start(samplePinned(one)), '42501');
      await client.query(`grant update (id) on packages to ${role}`);
      assert.equal(await start(samplePinned(one)), null);
    });

    it('an open transaction does not delay an unregister that is refused anyway', async (t) => {
      const { store, sample, client, one } = await place(t, url);
      await store.createExecutions([samplePinned(one)]);
      await client.query('begin');
      await store.createWithin!(client, [samplePinned(one)]);
      await assert.rejects(sample.registry.unregister('p'), { code: 'PACKAGE_IN_USE', activeCount: 1 });
      await assert.rejects(sample.registry.unregister('p', '1.0.0'), { code: 'PACKAGE_ACTIVE' });
      await client.query('commit');
    });
  });

  describe('registry.md: a channel moves to a version only while the version exists', () => {
    it('a rollback waits for the unregister of its target, and then finds nothing', async (t) => {
      const here = await place(t, url);
      await here.sample.register('2.0.0');
      await unregistering(here);
      const back = codeOf(here.sample.registry.rollback('p'));
      assert.ok(await isHeldUp(back));
      await here.client.query('commit');
      assert.equal(await back, 'PACKAGE_NOT_FOUND');
      assert.equal((await here.sample.registry.show('p')).channels['live']!.version, '2.0.0');
    });

    it('the version to which a crash loop steps back, and moves waiting executions, is not removed meanwhile', async (t) => {
      const here = await place(t, url);
      const { store, sample, client } = here;
      await store.write((tx) => reportLoaded({ ...tx, ...reportOf(here.one) }));
      const two = await sample.register('2.0.0');
      const waits = samplePinned(two);
      await store.createExecutions([waits]);
      await unregistering(here);
      const reported = store.write((tx) => reportCrashLoop({ ...tx, ...reportOf(two) }, 'it crashed'));
      assert.ok(await isHeldUp(reported));
      await client.query('commit');
      await reported;
      assert.equal((await sample.registry.show('p')).channels['live']!.version, '2.0.0');
      assert.deepEqual((await store.execution(waits.id))!.pin, two);
    });

    it('collecting locks the version before its bytes, as unregister and publish do', async (t) => {
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
