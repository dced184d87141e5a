import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client } from 'pg';
import { CloacinaError } from '../../core/error.ts';
import { upsertPackageSchedules } from '../../schedule/declared.ts';
import { openStore } from '../../store/open.ts';
import type { Script } from '../../store/script.ts';
import type { Store } from '../../store/store.ts';
import { release } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { isHeldUp } from '../../testing/postgres-place.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { samplePackage } from '../../testing/sample-package.ts';
import { sampleRunner } from '../../testing/samples.ts';
import type { PackedArchive } from '../archive/archive.ts';
import { Registry } from './registry.ts';
import type { RegistryProblem } from './replay.ts';
import { reportCrashLoop, reportFailed, reportLoaded } from './reports.ts';
import type { Report } from './reports.ts';
import { openStorage } from '../storage/open.ts';

/** Concurrent actors, and the number of acts of each. */
const actors = 8;
const turns = 40;

type Outcome = (report: Report) => Script<boolean>;

interface Place {
  readonly store: Store;
  /** Another connection to the same database. */
  readonly client: Client;
  readonly database: string;
  /** The tenants a and b, which have the same bytes. */
  readonly registries: readonly [Registry, Registry];
  /** Versions 1.0.0, 1.0.1, ... of a package; the first three are registered. */
  readonly packed: readonly PackedArchive[];
  /** The report of a runner about a version of a tenant; default a. */
  readonly report: (n: number, outcome: Outcome, tenant?: string) => Promise<boolean>;
}

let databases = 0;

/** A separate database, because the server counts deadlocks by database, with a short deadlock timeout. */
async function place(t: Cleanup, url: string): Promise<Place> {
  const database = `order_${process.pid}_${databases++}`;
  const there = new URL(url);
  there.pathname = `/${database}`;
  const admin = new Client({ connectionString: url });
  await admin.connect();
  release(t, () => admin.end());
  await admin.query(`create database ${database}`);
  release(t, () => admin.query(`drop database ${database} with (force)`).then(() => undefined));
  await admin.query(`alter database ${database} set deadlock_timeout = '20ms'`);
  let now = 1_000_000;
  const store = await openStore(there.href, { now: () => now++ });
  release(t, () => store.close());
  await store.registerRunner(sampleRunner('r1'));
  const client = new Client({ connectionString: there.href, options: '-c search_path=cloacina' });
  await client.connect();
  release(t, () => client.end());
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-order-'));
  release(t, () => rmSync(folder, { recursive: true, force: true }));
  const storage = openStorage(pathToFileURL(folder).href);
  const onActivate = upsertPackageSchedules;
  const registryOf = (tenant: string): Registry => new Registry({ store, storage, tenant, actor: 'test', onActivate });
  const registries = [registryOf('a'), registryOf('b')] as const;
  const packed: PackedArchive[] = [];
  for (let n = 0; n < 40; n++) packed.push(await samplePackage(`// ${n}\n`, 'p', `1.0.${n}`));
  for (const registry of registries) for (const { bytes } of packed.slice(0, 3)) await registry.register(bytes);
  const report = (n: number, outcome: Outcome, tenant = 'a'): Promise<boolean> => {
    const version = { tenant, name: 'p', version: `1.0.${n}`, digest: packed[n]!.digest };
    const common = { runner: 'r1', version, conditions: [], onActivate };
    return store.write((tx) => outcome({ ...tx, ...common }));
  };
  return { store, client, database, registries, packed, report };
}

/** The number of deadlocks that the server ended in a database. Connections report theirs when they are closed. */
async function deadlocks(url: string, database: string): Promise<number> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const text = `select (select deadlocks from pg_stat_database where datname = $1) as found,
    (select count(*) from pg_stat_activity where datname = $1 and backend_type = 'client backend') as open`;
  try {
    for (;;) {
      const { rows } = await client.query<{ found: string; open: string }>(text, [database]);
      if (rows[0]!.open === '0') return Number(rows[0]!.found);
      await setTimeout(10);
    }
  } finally {
    await client.end();
  }
}

/** Waits for an act, which may be refused: concurrent acts make some of them impossible. */
async function done(acted: Promise<unknown>): Promise<void> {
  try {
    await acted;
  } catch (error) {
    if (!(error instanceof CloacinaError && /^(PACKAGE_|CONFLICT)/.test(error.code))) throw error;
  }
}

/** Every kind of act, on one of the initial versions or on new ones. */
function act(here: Place, kind: number, turn: number): Promise<unknown> {
  const { registries, packed, report } = here;
  const registry = registries[turn % 2]!;
  const tenant = turn % 4 < 2 ? 'a' : 'b';
  const n = turn % 3;
  const version = `1.0.${n}`;
  const fresh = turn % packed.length;
  const acts: readonly (() => Promise<unknown>)[] = [
    () => registry.register(packed[fresh]!.bytes),
    () => registry.activate('p', version),
    () => registry.rollback('p'),
    () => report(n, (made) => reportCrashLoop(made, 'it crashed'), tenant),
    () => registry.activate('p', version, { channel: turn % 5 < 2 ? 'live' : 'next' }),
    () => report(n, reportLoaded, tenant),
    () => registry.yank('p', version),
    () => registry.unyank('p', version),
    () => report(n, (made) => reportFailed(made, 'it does not load'), tenant),
    () => registry.unregister('p', `1.0.${fresh}`),
    () => registry.gc({ graceMs: 0 }),
  ];
  return acts[kind % acts.length]!();
}

const server = await testPostgres();
if (typeof server === 'string') {
  describe('acts on a registry on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  const { url } = server;
  after(() => server.stop());

  describe('versions-are-held.md: acts on a registry lock in one order', () => {
    it('acts of every kind, of two tenants with the same bytes, at the same moment: none waits in a circle', async (t) => {
      const here = await place(t, url);
      let turn = 0;
      const actor = async (n: number): Promise<void> => {
        for (let i = 0; i < turns; i++) await done(act(here, n * 3 + i * 4, turn++));
      };
      await Promise.all(Array.from({ length: actors }, (_, n) => actor(n)));
      const { problems } = await here.registries[0].verify();
      // without a grace period, collection deletes bytes that are being published
      const isOfTables = ({ code }: RegistryProblem): boolean => code !== 'BYTES_MISSING';
      assert.deepEqual(problems.filter(isOfTables), []);
      await here.client.end();
      await here.store.close();
      assert.equal(await deadlocks(url, here.database), 0);
    });

    it('an act that waits for a channel does not hold the log', async (t) => {
      const here = await place(t, url);
      const { registries, packed, report, client } = here;
      const [registry] = registries;
      const acts: readonly (readonly [string, () => Promise<unknown>])[] = [
        ['a new version', () => registry.register(packed[3]!.bytes)],
        ['an activation', () => registry.activate('p', '1.0.1')],
        ['a yank', () => registry.yank('p', '1.0.0')],
        ['a crash loop', () => report(1, (made) => reportCrashLoop(made, 'it crashed'))],
        ['an unregister of a version', () => registry.unregister('p', '1.0.2')],
        ['an unregister of a package', () => registry.unregister('p')],
      ];
      for (const [what, begin] of acts) {
        await client.query('begin');
        await client.query(`select 1 from channels where tenant = 'a' for update`);
        const acted = begin();
        assert.ok(await isHeldUp(acted), what);
        const free = await client.query('select 1 from registry_head for update skip locked');
        assert.equal(free.rowCount, 1, what);
        await client.query('commit');
        await acted;
      }
    });

    it('the second of two acts that create a channel sees the channel of the first', async (t) => {
      const { client, registries } = await place(t, url);
      const options = { channel: 'next', expectedSerial: 0 };
      await client.query('begin');
      await client.query('select 1 from registry_head for update');
      const first = registries[0].activate('p', '1.0.0', options);
      assert.ok(await isHeldUp(first));
      const second = registries[0].activate('p', '1.0.1', options);
      assert.ok(await isHeldUp(second));
      await client.query('commit');
      assert.equal((await first).serial, 1);
      await assert.rejects(second, { code: 'CONFLICT' });
    });
  });
}
