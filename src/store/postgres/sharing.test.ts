import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Client } from 'pg';
import { workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openRig, release } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { sampleExecution } from '../../testing/samples.ts';
import { migrations } from '../migrations/migrate.ts';
import type { Migration } from '../migrations/migrate.ts';
import { openStore } from '../open.ts';
import type { StoreOptions } from '../open.ts';
import type { Store } from '../store.ts';

const server = await testPostgres();
const base = typeof server === 'string' ? '' : server.url;
const skip = typeof server === 'string' ? server : false;
if (typeof server !== 'string') after(() => server.stop());
let schemas = 0;

/** The changes of a later version: a column in some tables and a new table. */
const next: Migration = {
  number: 1000,
  name: 'next',
  text: `alter table executions add column colour text; alter table task_executions add column colour text;
    alter table events add column colour text; create table colours (colour text primary key)`,
  oldest: migrations.at(-1)!.number,
};

function url(): string {
  return `${base}?schema=sharing_${process.pid}_${schemas++}`;
}

async function open(t: Cleanup, place: string, options: StoreOptions = {}): Promise<Store> {
  const store = await openStore(place, options);
  release(t, () => store.close());
  return store;
}

async function connect(t: Cleanup): Promise<Client> {
  const client = new Client(base);
  await client.connect();
  release(t, () => client.end());
  return client;
}

function pipeline(): ReturnType<typeof workflow> {
  const w = workflow('pipeline');
  const a = w.task('a', () => 1);
  w.task('b', { needs: { a } }, ({ needs }) => needs.a + 1);
  return w;
}

describe('many processes on one PostgreSQL', { skip }, () => {
  it('twenty processes that open it at once migrate it once', async (t) => {
    const place = url();
    const stores = await Promise.all(Array.from({ length: 20 }, () => open(t, place, { patienceMs: 30_000 })));
    const numbers = await stores[0]!.read(function* () {
      const { rows } = yield { text: 'select number from cloacina_migrations order by number', params: [] };
      return rows.map((row) => row['number']);
    });
    assert.deepEqual(
      numbers,
      migrations.map(({ number }) => number),
    );
  });

  it('an older runner continues, and opens again, beside one whose schema is newer', async (t) => {
    const place = url();
    const clock = new ManualClock();
    const options = { now: () => clock.now() };
    const older = await openRig(t, { store: await open(t, place, options), clock, workflows: [pipeline()] });
    const before = await older.client.execute('pipeline');
    // each of its connections has prepared the statements of the older version by now
    const look = (): Promise<unknown> =>
      Promise.all(
        Array.from({ length: 10 }, async () => {
          const { tasks } = await older.client.executions.get(before.executionId);
          const events = await older.client.executions.events(before.executionId);
          return [tasks.length, events.length];
        }),
      );
    const seen = await look();
    const newer = await openRig(t, {
      store: await open(t, place, { ...options, migrations: [...migrations, next] }),
      clock,
      workflows: [pipeline()],
    });
    for (const { client } of [older, newer]) {
      for (let i = 0; i < 20; i++) {
        assert.deepEqual((await client.execute('pipeline')).outputs, before.outputs);
        const [taken] = await client.startMany('pipeline', [{}]);
        assert.equal((await taken!.outcome()).status, 'completed');
      }
    }
    assert.deepEqual(await look(), seen);
    await older.close();
    const again = await openRig(t, { store: await open(t, place, options), clock, workflows: [pipeline()] });
    assert.deepEqual((await again.client.execute('pipeline')).outputs, before.outputs);
  });

  it('a runner that a newer schema does not support is refused, and the error says what it needs', async (t) => {
    const place = url();
    await open(t, place, { migrations: [...migrations, { ...next, oldest: 1000 }] });
    await assert.rejects(open(t, place), { code: 'DATABASE_TOO_NEW', message: /schema 1000.*knows schemas up to/s });
  });

  it('a migration gives way to a holder of a table, so it delays no other program', async (t) => {
    const place = url();
    const store = await open(t, place);
    const schema = new URL(place).searchParams.get('schema')!;
    const reader = await connect(t);
    await reader.query(`begin; select count(*) from ${schema}.executions`);
    const migrated = open(t, place, { migrations: [...migrations, next] });
    const waits: number[] = [];
    for (let i = 0; i < 30; i++) {
      const start = performance.now();
      await store.createExecutions([sampleExecution()]);
      waits.push(performance.now() - start);
    }
    await reader.query('commit');
    await migrated;
    assert.ok(Math.max(...waits) < 3000, `a start waited for ${Math.max(...waits)} ms`);
  });

  it('the schema of the URL holds everything, whatever the search path of a connection', async (t) => {
    const place = url();
    const role = `nowhere_${process.pid}`;
    const admin = await connect(t);
    await admin.query(`create role ${role} login superuser; alter role ${role} set search_path to ''`);
    release(t, () => admin.query(`drop owned by ${role} cascade; drop role ${role}`).then(() => undefined));
    const there = new URL(place);
    there.username = role;
    const rig = await openRig(t, { store: await open(t, there.href), workflows: [pipeline()] });
    assert.deepEqual((await rig.client.execute('pipeline')).outputs, { a: 1, b: 2 });
  });

  it('without a schema in the URL all tables are in the schema cloacina, and none in the caller’s own', async (t) => {
    const admin = await connect(t);
    const name = `plain_${process.pid}`;
    await admin.query(`create database ${name}`);
    const plain = new URL(base);
    plain.pathname = `/${name}`;
    const store = await openStore(plain.href);
    try {
      await store.createExecutions([sampleExecution()]);
      const client = new Client(plain.href);
      await client.connect();
      const text = `select distinct schemaname as place from pg_tables where schemaname !~ '^(pg_|information_schema)'`;
      assert.deepEqual((await client.query(text)).rows, [{ place: 'cloacina' }]);
      assert.equal((await client.query('select 1 from cloacina.executions')).rowCount, 1);
      await client.end();
    } finally {
      await store.close();
      await admin.query(`drop database ${name}`);
    }
  });

  it('a user without the right to create schemas opens and migrates an existing one', async (t) => {
    const place = url();
    const schema = new URL(place).searchParams.get('schema')!;
    const role = `tenant_${process.pid}`;
    const admin = await connect(t);
    await admin.query(`create role ${role} login; create schema ${schema} authorization ${role}`);
    release(t, () => admin.query(`drop owned by ${role} cascade; drop role ${role}`).then(() => undefined));
    const theirs = new URL(place);
    theirs.username = role;
    const rig = await openRig(t, { store: await open(t, theirs.href), workflows: [pipeline()] });
    assert.deepEqual((await rig.client.execute('pipeline')).outputs, { a: 1, b: 2 });
    await open(t, theirs.href, { migrations: [...migrations, next] });
    theirs.searchParams.set('schema', `${schema}_missing`);
    await assert.rejects(open(t, theirs.href), {
      code: 'DATABASE_READ_ONLY',
      message: /permission denied for database/,
    });
  });
});

describe('many queries at the same moment', { skip }, () => {
  it('the queries wait for each other, and the engine waits for none of them', async (t) => {
    const place = url();
    const rig = await openRig(t, { store: await open(t, place), workflows: [pipeline()] });
    const { executionId } = await rig.client.execute('pipeline');
    const client = await connect(t);
    await client.query(`set search_path to ${new URL(place).searchParams.get('schema')}`);
    // a start with that key waits for this transaction
    await client.query('begin');
    await client.query(
      `insert into executions select (jsonb_populate_record(null::executions, to_jsonb(e) || '{"id":"held","root_id":"held","idempotency_key":"k"}')).*
       from executions e where id = $1`,
      [executionId],
    );
    const starts = Promise.all(
      Array.from({ length: 40 }, () => rig.client.start('pipeline', {}, { idempotencyKey: 'k' })),
    );
    const waiting = `select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and query like '%executions%'`;
    const watcher = await connect(t);
    while ((await watcher.query<{ n: number }>(waiting)).rows[0]!.n < 5) await setImmediate();
    assert.deepEqual((await rig.client.execute('pipeline')).outputs, { a: 1, b: 2 });
    await client.query('rollback');
    assert.equal(new Set((await starts).map(({ id }) => id)).size, 1);
  });
});

describe('several hosts in one URL', { skip }, () => {
  it('an unreachable host is passed over', async (t) => {
    const given = new URL(url());
    const { host } = given;
    const place = given.href.replace(host, `127.0.0.1:1,${host},127.0.0.1:2`);
    const rig = await openRig(t, { store: await open(t, place), workflows: [pipeline()] });
    assert.deepEqual((await rig.client.execute('pipeline')).outputs, { a: 1, b: 2 });
  });
});
