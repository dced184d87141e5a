import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'node:test';
import type { TestContext } from 'node:test';
import {
  AmbiguousWorkflowError,
  CloacinaError,
  ConflictError,
  PackageExistsError,
  PackageInUseError,
  PackageNotFoundError,
} from '../../core/error.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { openStore } from '../../store/open.ts';
import { run } from '../../store/script.ts';
import type { Script, Tx } from '../../store/script.ts';
import { eventHash, storedEvents } from '../../store/registry/log.ts';
import type { Store } from '../../store/store.ts';
import { sampleManifest, sampleWorkflow } from '../../testing/sample-package.ts';
import { packArchive } from '../archive/archive.ts';
import type { PackedArchive } from '../archive/archive.ts';
import { Registry } from './registry.ts';
import type { RegistryOptions } from './registry.ts';
import { reportCrashLoop, reportFailed, reportLoaded } from './reports.ts';
import type { Report } from './reports.ts';
import { openStorage } from '../storage/open.ts';
import type { PackageStorage } from '../storage/storage.ts';

const dayMs = 86_400_000;

/** A statement that adds a condition of a runner, of the live version (null) or of these bytes. */
function conditionOf(digest: string | null, word: string, status: number, serial = 1): string {
  const bytes = digest === null ? `(select digest from packages where version = '2.0.0')` : `'${digest}'`;
  return `insert into package_conditions (runner, tenant, digest, condition, status, reason, message, serial, at)
    values ('r1', 'default', ${bytes}, '${word}', ${status}, 'Ready', null, ${serial}, 1)`;
}

interface Place {
  readonly folder: string;
  readonly store: Store;
  readonly storage: PackageStorage;
  readonly registry: Registry;
  now: number;
  open(options?: Partial<RegistryOptions>): Registry;
}

async function place(t: TestContext, options: Partial<RegistryOptions> = {}): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'registry-'));
  const clock = { now: 1_800_000_000_000 };
  const store = await openStore(`sqlite:${join(folder, 'db.sqlite')}`, { now: () => clock.now });
  t.after(async () => {
    await store.close();
    await rm(folder, { recursive: true });
  });
  const storage = openStorage(pathToFileURL(join(folder, 'packages')).href);
  const open = (more: Partial<RegistryOptions> = {}): Registry =>
    new Registry({ store, storage, tenant: 'default', actor: 'test', ...options, ...more });
  return Object.assign(clock, { folder, store, storage, open, registry: open() });
}

interface Sample {
  readonly name?: string;
  readonly workflows?: readonly string[];
  readonly code?: string;
}

async function pack(version: string, sample: Sample = {}): Promise<PackedArchive> {
  const { name = 'demo', workflows = ['etl'], code: text = `// ${version}\n` } = sample;
  const manifest = { ...sampleManifest(name, version), workflows: workflows.map((one) => sampleWorkflow(one)) };
  return packArchive(manifest, new Map([['code/index.mjs', Buffer.from(text)]]));
}

async function pin(store: Store, digest: string, options: { tenant?: string; version?: string } = {}): Promise<string> {
  const id = randomUUID();
  const { tenant = 'default', version = '1.0.0' } = options;
  const text = `insert into executions (id, tenant, workflow, package, version, digest, build_id, status, epoch, created_at, input, input_parsed, root_id)
    values ($1, $2, 'etl', 'demo', $4, $3, $3, 'running', 1, 0, '{}', 1, $1)`;
  await store.write(() => run(text, id, tenant, digest, version));
  return id;
}

async function end(store: Store, id: string): Promise<void> {
  await store.write(() => run(`update executions set status = 'completed', ended_at = 1 where id = $1`, id));
}

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof CloacinaError && error.code === expected;
}

test('registry.md, publish: a version exists, is not active, and its bytes are stored under their digest', async (t) => {
  const { registry, storage } = await place(t);
  const one = await pack('1.0.0');
  const published = await registry.publish(one.bytes);
  assert.equal(published.created, true);
  assert.deepEqual(
    { name: published.name, version: published.version, digest: published.digest },
    { name: 'demo', version: '1.0.0', digest: one.digest },
  );
  const [item] = await registry.list();
  assert.deepEqual(item, {
    id: published.id,
    name: 'demo',
    version: '1.0.0',
    digest: one.digest,
    bytes: one.bytes.length,
    active: false,
    status: 'published',
    registeredAt: 1_800_000_000_000,
  });
  assert.deepEqual(Buffer.from(await storage.get(one.digest)), Buffer.from(one.bytes));
  assert.equal(await registry.resolve('etl'), undefined, 'nothing points to it');
});

test('registry.md, Reading a file: a file that requires another engine is refused before anything of it is stored', async (t) => {
  const { registry, storage } = await place(t);
  const manifest = { ...sampleManifest('demo', '1.0.0'), engine: { cloacina: '^99.0.0', node: '>=24' } };
  const { bytes, digest } = await packArchive(manifest, new Map([['code/index.mjs', Buffer.from('')]]));
  for (const act of [() => registry.register(bytes), () => registry.publish(bytes)]) {
    await assert.rejects(act, (error: unknown) => {
      assert(error instanceof CloacinaError && error.code === 'ENGINE_UNSUPPORTED');
      assert.match(error.message, /package demo v1\.0\.0 does not run here: it needs cloacina \^99\.0\.0, and this is/);
      return true;
    });
  }
  assert.deepEqual([await registry.list(), await storage.has(digest)], [[], false]);
});

test('registry.md, register: publishes and activates in one act; the same bytes again never move the channel', async (t) => {
  const { registry } = await place(t);
  const one = await pack('1.0.0');
  const two = await pack('2.0.0');
  const first = await registry.register(one.bytes);
  assert.deepEqual({ created: first.created, activated: first.activated }, { created: true, activated: true });
  await registry.register(two.bytes);
  const late = await registry.register(one.bytes);
  assert.deepEqual(late, { ...first, created: false, activated: false });
  assert.deepEqual((await registry.show('demo')).channels, { live: { version: '2.0.0', serial: 2 } });
  const idle = await registry.register((await pack('3.0.0')).bytes, { activate: false });
  assert.deepEqual({ created: idle.created, activated: idle.activated }, { created: true, activated: false });
  const canary = await registry.register((await pack('4.0.0')).bytes, { channel: 'canary' });
  assert.equal(canary.activated, true);
  assert.deepEqual((await registry.show('demo')).channels, {
    canary: { version: '4.0.0', serial: 1 },
    live: { version: '2.0.0', serial: 2 },
  });
});

test('registry.md, publish: other bytes under a version that exists are PACKAGE_EXISTS and are not stored', async (t) => {
  const { registry, storage } = await place(t);
  await registry.register((await pack('1.0.0')).bytes);
  const other = await pack('1.0.0', { code: '// other\n' });
  await assert.rejects(registry.register(other.bytes), (error) => {
    assert(error instanceof PackageExistsError);
    assert.deepEqual([error.packageName, error.version, error.code], ['demo', '1.0.0', 'PACKAGE_EXISTS']);
    return true;
  });
  assert.equal(await storage.has(other.digest), false);
  assert.equal((await registry.list()).length, 1);
});

test('registry.md, reading a file: a damaged file leaves neither bytes nor rows nor events', async (t) => {
  const { registry, folder } = await place(t);
  const { bytes } = await pack('1.0.0');
  await assert.rejects(registry.register(bytes.subarray(0, bytes.length - 20)), code('ARCHIVE_CORRUPT'));
  assert.deepEqual(await registry.list(), []);
  assert.deepEqual(await registry.events(), []);
  assert.deepEqual(await readdir(folder).then((names) => names.includes('packages')), false);
});

test('registry.md, publish: two processes that register the same bytes at once make one version', async (t) => {
  const here = await place(t);
  const other = await openStore(`sqlite:${join(here.folder, 'db.sqlite')}`, { now: () => here.now });
  t.after(() => other.close());
  const { bytes } = await pack('1.0.0');
  const results = await Promise.all(
    [here.store, other, here.store, other].map((store) => here.open({ store }).register(bytes)),
  );
  assert.equal(results.filter((result) => result.created).length, 1);
  assert.equal(new Set(results.map((result) => result.id)).size, 1);
  assert.equal((await here.registry.events()).length, 2);
  assert.deepEqual((await here.registry.verify()).problems, []);
});

test('registry.md, activate: compare-and-set on the serial of the channel', async (t) => {
  const { registry } = await place(t);
  await registry.register((await pack('1.0.0')).bytes);
  await registry.publish((await pack('2.0.0')).bytes);
  await assert.rejects(registry.activate('demo', '2.0.0', { expectedSerial: 7 }), ConflictError);
  const head = await registry.activate('demo', '2.0.0', { expectedSerial: 1 });
  assert.deepEqual([head.version, head.serial], ['2.0.0', 2]);
  await assert.rejects(registry.activate('demo', '1.0.0', { expectedSerial: 1 }), ConflictError);
  assert.equal((await registry.activate('demo', '2.0.0')).serial, 2, 'already registered: nothing changes');
  await assert.rejects(registry.activate('demo', '9.0.0'), PackageNotFoundError);
  await assert.rejects(registry.activate('absent', '1.0.0'), PackageNotFoundError);
  await registry.activate('demo', '1.0.0', { channel: 'canary', expectedSerial: 0 });
});

test('registry.md, activate: new executions use the version that the channel has now', async (t) => {
  const { registry } = await place(t);
  const one = await pack('1.0.0');
  const two = await pack('2.0.0', { workflows: ['etl', 'extra'] });
  await registry.register(one.bytes);
  const found = await registry.resolve('etl');
  assert.deepEqual(found?.pin, { package: 'demo', version: '1.0.0', digest: one.digest });
  assert.equal(found?.spec.tasks.length, 3);
  await registry.register(two.bytes);
  assert.equal((await registry.resolve('etl'))?.pin.digest, two.digest);
  assert.deepEqual(
    (await registry.workflows()).map(({ name, version }) => [name, version]),
    [
      ['etl', '2.0.0'],
      ['extra', '2.0.0'],
    ],
  );
  await registry.activate('demo', '1.0.0');
  assert.equal(await registry.resolve('extra'), undefined);
});

test('registry.md, names: a name that two packages have is AMBIGUOUS_WORKFLOW; package/workflow tells them apart', async (t) => {
  const { registry } = await place(t);
  await registry.register((await pack('1.0.0', { name: 'a' })).bytes);
  await registry.register((await pack('1.0.0', { name: '@scope/b' })).bytes);
  await assert.rejects(registry.resolve('etl'), (error) => {
    assert(error instanceof AmbiguousWorkflowError);
    assert.deepEqual(error.candidates, ['@scope/b/etl', 'a/etl']);
    return true;
  });
  assert.equal((await registry.resolve('a/etl'))?.pin.package, 'a');
  assert.equal((await registry.resolve('@scope/b/etl'))?.pin.package, '@scope/b');
  assert.equal(await registry.resolve('c/etl'), undefined);
  assert.equal(await registry.resolve('a/other'), undefined);
});

test('registry.md, Activate: rollback: goes back step by step, and skips versions that cannot run', async (t) => {
  const { registry } = await place(t);
  for (const version of ['1.0.0', '2.0.0', '3.0.0', '4.0.0']) await registry.register((await pack(version)).bytes);
  await registry.yank('demo', '3.0.0');
  assert.equal((await registry.rollback('demo')).version, '2.0.0');
  assert.equal((await registry.rollback('demo')).version, '1.0.0');
  await assert.rejects(registry.rollback('demo'), code('PACKAGE_NOT_FOUND'));
  await registry.activate('demo', '4.0.0');
  assert.equal((await registry.rollback('demo')).version, '1.0.0');
  await assert.rejects(registry.rollback('absent'), PackageNotFoundError);
});

test('registry.md, yank: pinned executions go on, new ones are refused', async (t) => {
  const { registry, store } = await place(t);
  const one = await pack('1.0.0');
  await registry.register(one.bytes);
  await pin(store, one.digest);
  await registry.yank('demo', '1.0.0', { why: 'wrong totals' });
  await assert.rejects(registry.resolve('etl'), code('PACKAGE_UNAVAILABLE'));
  await registry.publish((await pack('2.0.0')).bytes);
  await registry.yank('demo', '2.0.0');
  await assert.rejects(registry.activate('demo', '2.0.0'), code('PACKAGE_UNAVAILABLE'));
  await registry.unyank('demo', '1.0.0');
  assert.equal((await registry.resolve('etl'))?.pin.version, '1.0.0');
  await assert.rejects(registry.yank('demo', '9.0.0'), PackageNotFoundError);
});

test('registry.md, Unregister: the head of a channel, and versions with pinned executions, are refused', async (t) => {
  const { registry, store } = await place(t);
  const one = await pack('1.0.0');
  await registry.register(one.bytes);
  await registry.register((await pack('2.0.0')).bytes);
  await assert.rejects(registry.unregister('demo', '2.0.0'), code('PACKAGE_ACTIVE'));
  const executions = [await pin(store, one.digest), await pin(store, one.digest)];
  await assert.rejects(registry.unregister('demo', '1.0.0'), (error) => {
    assert(error instanceof PackageInUseError);
    assert.deepEqual([error.activeCount, error.version], [2, '1.0.0']);
    return true;
  });
  await assert.rejects(registry.unregister('demo'), PackageInUseError);
  assert.equal((await registry.list()).length, 2);
  for (const id of executions) await end(store, id);
  assert.deepEqual(await registry.unregister('demo', '1.0.0'), { name: 'demo', removed: ['1.0.0'] });
  await assert.rejects(registry.unregister('demo', '1.0.0'), PackageNotFoundError);
  assert.equal((await registry.resolve('etl'))?.pin.version, '2.0.0');
});

test('registry.md, Unregister: a name removes the whole package, and its version numbers stay refused', async (t) => {
  const { registry } = await place(t);
  const one = await pack('1.0.0');
  await registry.register(one.bytes);
  await registry.register((await pack('2.0.0')).bytes);
  assert.deepEqual(await registry.unregister('demo'), { name: 'demo', removed: ['1.0.0', '2.0.0'] });
  assert.deepEqual(await registry.list(), []);
  assert.equal(await registry.resolve('etl'), undefined);
  await assert.rejects(registry.show('demo'), PackageNotFoundError);
  await assert.rejects(registry.get('demo'), PackageNotFoundError);
  await assert.rejects(registry.register(one.bytes), code('PACKAGE_DELETED'));
  await assert.rejects(registry.register((await pack('2.0.0', { code: '// x\n' })).bytes), code('PACKAGE_DELETED'));
  await registry.register((await pack('3.0.0')).bytes);
  assert.deepEqual((await registry.show('demo')).channels, { live: { version: '3.0.0', serial: 3 } });
  await assert.rejects(registry.unregister('absent'), PackageNotFoundError);
});

test('registry.md, tenants: packages of another tenant are neither seen nor counted', async (t) => {
  const here = await place(t);
  const other = here.open({ tenant: 'other' });
  const one = await pack('1.0.0');
  await here.registry.register(one.bytes);
  await other.register((await pack('1.0.0', { code: '// theirs\n' })).bytes);
  await pin(here.store, one.digest, { tenant: 'other' });
  assert.equal((await here.registry.list()).length, 1);
  assert.notEqual((await here.registry.resolve('etl'))?.pin.digest, (await other.resolve('etl'))?.pin.digest);
  assert.deepEqual(
    (await other.events()).map((event) => event.tenant),
    ['other', 'other'],
  );
  await here.registry.unregister('demo');
  assert.equal((await other.list()).length, 1);
  assert.deepEqual((await here.registry.verify()).problems, []);
});

test('registry.md, Register: get and show: the manifest, the channels, the versions, and the reports of live runners', async (t) => {
  const { registry, store } = await place(t);
  const one = await pack('1.0.0');
  await registry.register(one.bytes);
  await registry.publish((await pack('2.0.0')).bytes);
  const live = await registry.get('demo');
  assert.deepEqual([live.version, live.active, live.manifest.workflows[0]?.name], ['1.0.0', true, 'etl']);
  assert.equal((await registry.get('demo', '2.0.0')).active, false);
  const runner = {
    name: 'worker',
    host: 'h',
    pid: 1,
    pidStarted: null,
    leaseUntil: 0,
    dead: false,
    queues: ['default'],
    slots: 0,
  };
  await store.registerRunner({ ...runner, id: 'r1' });
  for (const owner of ['r1', 'gone']) {
    for (const [condition, status] of [
      ['loaded', 1],
      ['fetched', 1],
      ['healthy', 0],
    ] as const) {
      const text = `insert into package_conditions (runner, tenant, digest, condition, status, reason, message, serial, at)
        values ($1, 'default', $2, $3, $4, 'Why', null, 2, 5)`;
      await store.write(() => run(text, owner, one.digest, condition, status));
    }
  }
  const document = await registry.show('demo');
  assert.deepEqual(document.channels, { live: { version: '1.0.0', serial: 1 } });
  assert.deepEqual(
    document.versions.map(({ version, workflows }) => [version, workflows]),
    [
      ['1.0.0', ['etl']],
      ['2.0.0', ['etl']],
    ],
  );
  const rest = { reason: 'Why', message: null, serial: 2, at: 5 };
  assert.deepEqual(document.versions[0]?.runners, [
    {
      runner: 'r1',
      name: 'worker',
      conditions: [
        { condition: 'fetched', status: true, ...rest },
        { condition: 'loaded', status: true, ...rest },
        { condition: 'healthy', status: false, ...rest },
      ],
    },
  ]);
  assert.deepEqual(document.versions[1]?.runners, []);
});

test('registry.md, Log: every act writes one event with actor, action, before, after and reason', async (t) => {
  const { registry } = await place(t, { actor: 'cli:ada' });
  const one = await pack('1.0.0');
  const two = await pack('2.0.0');
  await registry.register(one.bytes, { why: 'first' });
  await registry.register(two.bytes);
  await registry.rollback('demo', { why: 'totals differ' });
  await registry.yank('demo', '2.0.0');
  await registry.unregister('demo', '2.0.0');
  const events = await registry.events();
  assert.deepEqual(
    events.map(({ n, act, version, channel }) => [n, act, version, channel]),
    [
      [1, 'publish', '1.0.0', null],
      [2, 'activate', '1.0.0', 'live'],
      [3, 'publish', '2.0.0', null],
      [4, 'activate', '2.0.0', 'live'],
      [5, 'rollback', '1.0.0', 'live'],
      [6, 'yank', '2.0.0', null],
      [7, 'unregister', '2.0.0', null],
    ],
  );
  const rollback = events[4]!;
  assert.deepEqual(rollback.before, { version: '2.0.0', digest: two.digest, serial: 2 });
  assert.deepEqual(rollback.after, { version: '1.0.0', digest: one.digest, serial: 3 });
  assert.deepEqual([rollback.actor, rollback.why, rollback.at], ['cli:ada', 'totals differ', 1_800_000_000_000]);
  assert.deepEqual(
    (await registry.events({ after: 3, limit: 2 })).map((event) => event.n),
    [4, 5],
  );
  assert.equal(await registry.serial(), 7);
  assert.deepEqual(await registry.verify(), { events: 7, packages: 1, problems: [] });
});

for (const [what, statement, problem] of [
  ['an event changed', `update registry_events set why = 'hm' where n = 2`, 'LOG_BROKEN'],
  ['an event removed', 'delete from registry_events where n = 2', 'LOG_BROKEN'],
  ['the last event removed', 'delete from registry_events where n = 6', 'LOG_CUT'],
  ['a digest changed', `update packages set digest = 'sha256:0' where version = '1.0.0'`, 'ROW_DIFFERS'],
  ['a version removed', `delete from packages where version = '1.0.0'`, 'ROW_DIFFERS'],
  ['a channel moved', `update channels set version = '1.0.0'`, 'ROW_DIFFERS'],
  ['a channel removed', 'delete from channels', 'ROW_DIFFERS'],
  ['a manifest changed', `update packages set manifest = '{}' where version = '1.0.0'`, 'ROW_DIFFERS'],
  [
    'the digest of a channel',
    `update channels set digest = (select digest from packages where version = '1.0.0')`,
    'ROW_DIFFERS',
  ],
  ['the time of an activation', 'update channels set activated_at = activated_at + 1', 'ROW_DIFFERS'],
  ['a wanted version', `update channels set wanted_version = '1.0.0', wanted_digest = digest`, 'ROW_DIFFERS'],
  ['a channel of a tenant without packages', `update channels set tenant = 'other'`, 'ROW_DIFFERS'],
  ['a workflow added', `insert into channel_workflows values ('default', 'more', 'demo')`, 'ROW_DIFFERS'],
  ['a workflow removed', 'delete from channel_workflows', 'ROW_DIFFERS'],
  ['a health set', `update packages set health = 'healthy' where version = '1.0.0'`, 'ROW_DIFFERS'],
  ['a size changed', `update packages set bytes = bytes + 1 where version = '1.0.0'`, 'ROW_DIFFERS'],
  ['a time of publishing', `update packages set registered_at = 1 where version = '1.0.0'`, 'ROW_DIFFERS'],
  ['a tombstone removed', `delete from packages where version = '0.9.0'`, 'ROW_DIFFERS'],
  ['a tombstone revived', `update packages set status = 'published' where version = '0.9.0'`, 'ROW_DIFFERS'],
  ['a condition of an unknown version', conditionOf('sha256:0', 'loaded', 1), 'ROW_DIFFERS'],
  ['a condition of an unknown word', conditionOf(null, 'happy', 1), 'ROW_DIFFERS'],
  ['a version healthy that no runner has reported', conditionOf(null, 'healthy', 1), 'ROW_DIFFERS'],
  ['a condition of a later act', conditionOf(null, 'fetched', 1, 99), 'ROW_DIFFERS'],
] as const) {
  test(`registry.md, Log: registry verify: finds ${what} by hand`, async (t) => {
    const { registry, store } = await place(t);
    await registry.publish((await pack('0.9.0')).bytes);
    await registry.unregister('demo', '0.9.0');
    await registry.register((await pack('1.0.0')).bytes);
    await registry.register((await pack('2.0.0')).bytes);
    assert.deepEqual((await registry.verify()).problems, []);
    await store.write(() => run(statement));
    const { problems } = await registry.verify();
    assert.equal(problems[0]?.code, problem, JSON.stringify(problems));
  });
}

test('registry.md, Log: registry verify: compares the log with a head that was noted elsewhere', async (t) => {
  const { registry, store } = await place(t);
  await registry.register((await pack('1.0.0')).bytes);
  const noted = await registry.head();
  assert.equal(noted.n, 2);
  await registry.register((await pack('2.0.0')).bytes);
  assert.notEqual((await registry.head()).hash, noted.hash);
  assert.deepEqual((await registry.verify({ head: noted })).problems, []);
  const found = async (): Promise<readonly unknown[]> =>
    (await registry.verify({ head: noted })).problems.map(({ code: one, what }) => [one, what]);

  // the chain has no key: whoever writes the database can compute it anew
  let hash = '';
  for (const event of await store.read(() => storedEvents(0, 100))) {
    const changed = { ...event, why: 'another reason' };
    hash = eventHash(hash, changed);
    await store.write(() =>
      run('update registry_events set why = $2, hash = $3 where n = $1', event.n, changed.why, hash),
    );
  }
  await store.write(() => run('update registry_head set hash = $1', hash));
  assert.deepEqual((await registry.verify()).problems, [], 'the chain alone proves nothing against its writer');
  assert.deepEqual(await found(), [['LOG_BROKEN', 'event 2']]);

  await store.write(function* () {
    yield* run('delete from registry_events');
    yield* run(`update registry_head set n = 0, hash = ''`);
    for (const table of ['packages', 'channels', 'channel_workflows']) yield* run(`delete from ${table}`);
  });
  assert.deepEqual((await registry.verify()).problems, []);
  assert.deepEqual(await found(), [['LOG_CUT', 'the log']]);
});

test('registry.md, Log: registry verify: knows what reports of runners do to a version', async (t) => {
  const { registry, store } = await place(t);
  const packed = [await pack('1.0.0'), await pack('2.0.0'), await pack('3.0.0')];
  const runner = { name: 'w', host: 'h', pid: 1, pidStarted: null, leaseUntil: 0, dead: false, slots: 0 };
  await store.registerRunner({ ...runner, id: 'r1', queues: ['default'] });
  const report = (n: number, outcome: (made: Report) => Script<boolean>): Promise<boolean> => {
    const version = { tenant: 'default', name: 'demo', version: `${n}.0.0`, digest: packed[n - 1]!.digest };
    return store.write((tx) => outcome({ ...tx, runner: 'r1', version, conditions: [], onActivate: undefined }));
  };
  const crash = (made: Report): Script<boolean> => reportCrashLoop(made, 'it crashed');
  const check = async (what: string): Promise<void> =>
    assert.deepEqual((await registry.verify()).problems, [], `after ${what}`);
  await registry.register(packed[0]!.bytes);
  await report(1, reportLoaded);
  await check('a load');
  await registry.register(packed[1]!.bytes);
  await report(2, (made) => reportFailed(made, 'it does not load'));
  assert.equal((await registry.show('demo')).channels['live']?.wanted, '2.0.0');
  await check('a load that failed');
  await registry.yank('demo', '2.0.0');
  assert.equal((await registry.show('demo')).channels['live']?.wanted, undefined);
  await check('a yank of a wanted version');
  await registry.unyank('demo', '2.0.0');
  await registry.activate('demo', '2.0.0');
  await report(2, reportLoaded);
  await report(2, crash);
  await check('a crash loop');
  await report(2, reportLoaded);
  await report(2, crash);
  await check('a second crash loop of what goes on');
  await registry.activate('demo', '2.0.0');
  await check('a second chance');
  await registry.register(packed[2]!.bytes);
  await report(3, (made) => reportFailed(made, 'it does not load'));
  await report(3, reportLoaded);
  assert.equal((await registry.show('demo')).channels['live']?.version, '3.0.0');
  await registry.unregister('demo', '2.0.0');
  await registry.unregister('demo');
  await check('the end of all');
});

test('registry.md, Log: registry verify: finds stored bytes that were flipped or are missing', async (t) => {
  const { registry, folder, storage } = await place(t);
  const one = await pack('1.0.0');
  const two = await pack('2.0.0');
  await registry.register(one.bytes);
  await registry.register(two.bytes);
  await storage.delete(two.digest);
  const flipped = Uint8Array.from(one.bytes);
  flipped[flipped.length - 4]! ^= 1;
  await writeFile(join(folder, 'packages', `${one.digest.replace(':', '-')}.cloacina`), flipped);
  const { problems } = await registry.verify();
  assert.deepEqual(
    problems.map(({ code: found, what }) => [found, what]),
    [
      ['DIGEST_MISMATCH', 'demo v1.0.0'],
      ['BYTES_MISSING', 'demo v2.0.0'],
    ],
  );
  await assert.rejects(registry.bytes('demo', '1.0.0'), code('DIGEST_MISMATCH'));
  await registry.register(one.bytes);
  await registry.register(two.bytes);
  assert.deepEqual((await registry.verify()).problems, [], 'registering the same bytes again repairs them');
});

test('registry.md, publish: a crash between bytes and row leaves an orphan that gc sweeps after the grace', async (t) => {
  const here = await place(t);
  const one = await pack('1.0.0');
  const crashing: Store = { ...here.store };
  crashing.write = async (script) => {
    if (await here.storage.has(one.digest)) throw new Error('the process died here');
    return here.store.write(script);
  };
  await assert.rejects(here.open({ store: crashing }).register(one.bytes), /died here/);
  assert.equal(await here.storage.has(one.digest), true);
  assert.deepEqual(await here.registry.list(), [], 'there is never half a package');
  assert.deepEqual(await here.registry.gc(), [], 'it may belong to a publish in progress');
  here.now += dayMs;
  assert.deepEqual(await here.registry.gc({ dryRun: true }), [{ digest: one.digest, name: null, version: null }]);
  assert.equal(await here.storage.has(one.digest), true);
  await here.registry.gc();
  assert.equal(await here.storage.has(one.digest), false);
  assert.deepEqual((await here.registry.verify()).problems, []);
  assert.equal((await here.registry.register(one.bytes)).created, true);
});

test('registry.md, Collecting: bytes are deleted only after the grace, and never while an execution is pinned to them', async (t) => {
  const here = await place(t);
  const one = await pack('1.0.0');
  const two = await pack('2.0.0');
  await here.registry.register(one.bytes);
  await here.registry.register(two.bytes);
  here.now += 10 * dayMs;
  assert.deepEqual(await here.registry.gc(), [], 'bytes of existing versions are kept, whatever their age');
  await here.registry.unregister('demo', '1.0.0');
  here.now += dayMs - 1;
  assert.deepEqual(await here.registry.gc(), []);
  here.now += 1;
  const late = await pin(here.store, one.digest); // retried after the version was deleted
  assert.deepEqual(await here.registry.gc(), []);
  await end(here.store, late);
  assert.deepEqual(await here.registry.gc(), [{ digest: one.digest, name: 'demo', version: '1.0.0' }]);
  assert.deepEqual([await here.storage.has(one.digest), await here.storage.has(two.digest)], [false, true]);
  assert.deepEqual((await here.registry.verify()).problems, []);
  assert.equal((await here.registry.events()).at(-1)?.act, 'collect');
});

test('registry.md, Collecting: bytes that another tenant has are kept, and a publish begins the grace anew', async (t) => {
  const here = await place(t);
  const other = here.open({ tenant: 'other' });
  const one = await pack('1.0.0');
  await here.registry.register(one.bytes);
  await other.register(one.bytes);
  await here.registry.unregister('demo');
  here.now += 2 * dayMs;
  assert.deepEqual(await here.registry.gc(), []);
  await other.unregister('demo');
  here.now += dayMs;
  await here.open({ tenant: 'third' }).publish(one.bytes);
  assert.deepEqual(await here.registry.gc(), []);
  assert.equal(await here.storage.has(one.digest), true);
});

test('registry.md, Collecting: a publish that meets the deletion of the same bytes is refused, and works afterwards', async (t) => {
  const here = await place(t);
  const one = await pack('1.0.0');
  await here.registry.register(one.bytes);
  await here.registry.unregister('demo');
  here.now += dayMs;
  const other = here.open({ tenant: 'other' });
  const storage: PackageStorage = Object.create(here.storage) as PackageStorage;
  storage.delete = async (digest) => {
    await assert.rejects(other.register(one.bytes), ConflictError);
    await here.storage.delete(digest);
  };
  storage.has = here.storage.has.bind(here.storage);
  await here.open({ storage }).gc();
  assert.equal((await other.register(one.bytes)).created, true);
  assert.deepEqual((await here.registry.verify()).problems, []);
});

test('scheduling.md: packaged schedules are written in the transaction that activates, and removed at unregister', async (t) => {
  const seen: (readonly [string, readonly string[]])[] = [];
  let refuse = false;
  // oxlint-disable-next-line require-yield -- a script without a statement
  const onActivate = function* (_tx: Tx, _tenant: string, name: string, workflows: readonly WorkflowSpec[]) {
    if (refuse) throw new Error('the schedule is refused');
    seen.push([name, workflows.map((spec) => spec.name)]);
  };
  const { registry } = await place(t, { onActivate });
  await registry.register((await pack('1.0.0')).bytes);
  await registry.publish((await pack('2.0.0', { workflows: ['b', 'a'] })).bytes);
  await registry.activate('demo', '2.0.0', { channel: 'canary' });
  await registry.activate('demo', '2.0.0');
  await registry.rollback('demo');
  refuse = true;
  await assert.rejects(registry.register((await pack('3.0.0')).bytes), /is refused/);
  assert.equal((await registry.list()).length, 2, 'publish and activation are one transaction');
  refuse = false;
  await registry.unregister('demo');
  assert.deepEqual(seen, [
    ['demo', ['etl']],
    ['demo', ['b', 'a']],
    ['demo', ['etl']],
    ['demo', []],
  ]);
  assert.deepEqual((await registry.verify()).problems, []);
});

test('registry.md: runners of this process are notified of an act once it is durable, and not of a failed one', async (t) => {
  let notifications = 0;
  const { registry } = await place(t, { onChange: () => notifications++ });
  await registry.register((await pack('1.0.0')).bytes);
  assert.equal(notifications, 1);
  await assert.rejects(registry.activate('demo', '2.0.0'));
  assert.equal(notifications, 1);
  await registry.yank('demo', '1.0.0');
  assert.equal(notifications, 2);
});
