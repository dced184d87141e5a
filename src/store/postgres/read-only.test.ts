import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Client } from 'pg';
import { StoreUnavailableError } from '../../core/error.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openClient, release } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { sampleExecution, sampleRunner } from '../../testing/samples.ts';
import { openStore } from '../open.ts';

const server = await testPostgres();
const serverUrl = typeof server === 'string' ? '' : server.url;

/** A write that the server refuses for now is repeated so long: another server may be promoted. */
const hasty = { patienceMs: 200 };
const patient = { patienceMs: 20_000 };

function isReadOnly(pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StoreUnavailableError, String(error));
    assert.equal(error.code, 'DATABASE_READ_ONLY');
    assert.match(error.message, pattern);
    return true;
  };
}

async function connected(t: Cleanup, url: string): Promise<Client> {
  const client = new Client(url);
  await client.connect();
  release(t, () => client.end());
  return client;
}

interface Place {
  readonly url: string;
  readonly name: string;
  /** The owner, in the same database. */
  readonly owner: Client;
}

/** A database for one test, which changes its settings and privileges. */
async function database(t: Cleanup, prefix: string): Promise<Place> {
  const admin = await connected(t, serverUrl);
  const name = `${prefix}_${process.pid}`;
  await admin.query(`create database ${name}`);
  release(t, async () => {
    await admin.query(`drop database ${name} with (force)`);
    await admin.query(`drop role if exists ${name}`);
  });
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  await (await openStore(url.href)).close();
  return { url: url.href, name, owner: await connected(t, url.href) };
}

/** The URL of a new user that may read all tables. */
async function reader({ url, name, owner }: Place): Promise<string> {
  await owner.query(`create role ${name} login`);
  await owner.query(`grant usage on schema cloacina to ${name}`);
  await owner.query(`grant select on all tables in schema cloacina to ${name}`);
  const theirs = new URL(url);
  theirs.username = name;
  return theirs.href;
}

describe('operating.md, Failures: a PostgreSQL database that takes no writes', () => {
  if (typeof server === 'string') {
    it('the tests have a server', (t) => t.skip(server));
    return;
  }
  after(() => server.stop());

  it('a write is DATABASE_READ_ONLY while the server takes none; reads go on, and later writes succeed', async (t) => {
    const { url, name, owner } = await database(t, 'spell');
    await owner.query(`alter database ${name} set default_transaction_read_only = on`);
    const store = await openStore(url, hasty);
    release(t, () => store.close());
    assert.deepEqual(await store.definitions(), []);
    const why = /the server takes no writes: it is a standby, or default_transaction_read_only is on/;
    await assert.rejects(store.registerRunner(sampleRunner('r1')), isReadOnly(why));
    await assert.rejects(store.createExecutions([sampleExecution()]), isReadOnly(why));
    const fresh = `${url}?schema=fresh`;
    await assert.rejects(openStore(fresh, hasty), isReadOnly(/could not be opened: .*the server takes no writes/));
    const writes = store.createExecutions([sampleExecution()]);
    await assert.rejects(writes, isReadOnly(why));
    await owner.query(`set default_transaction_read_only = off`);
    await owner.query(`alter database ${name} reset default_transaction_read_only`);
    await store.createExecutions([sampleExecution()]);
  });

  it('a user without the privilege to write is DATABASE_READ_ONLY at once', async (t) => {
    const place = await database(t, 'grants');
    const url = await reader(place);
    const begun = performance.now();
    const store = await openStore(url, patient);
    release(t, () => store.close());
    assert.deepEqual(await store.definitions(), []);
    const why = /permission denied for table \w+; grant the user of the URL the privilege/;
    await assert.rejects(store.createExecutions([sampleExecution()]), isReadOnly(why));
    const fresh = `${url}?schema=another`;
    await assert.rejects(openStore(fresh, patient), isReadOnly(/could not be opened: permission denied for database/));
    assert.ok(performance.now() - begun < patient.patienceMs / 2, 'it was repeated');
  });

  it('a caller that waits for a result waits until the database answers it again', async (t) => {
    const place = await database(t, 'waiting');
    const owners = await openStore(place.url);
    release(t, () => owners.close());
    const [created] = await owners.createExecutions([sampleExecution()]);
    const store = await openStore(await reader(place), hasty);
    release(t, () => store.close());
    const clock = new ManualClock();
    const { id, tenant } = (await owners.execution(created!.id))!;
    await place.owner.query(`revoke select on cloacina.executions from ${place.name}`);
    await assert.rejects(store.execution(id), isReadOnly(/permission denied/));
    const outcome = openClient(t, store, clock, tenant).handle(id).outcome();
    const waiter = { isOver: false };
    void outcome.finally(() => (waiter.isOver = true));
    await owners.cancel(id, tenant);
    await clock.advance(2000);
    assert.equal(waiter.isOver, false);
    await place.owner.query(`grant select on cloacina.executions to ${place.name}`);
    while (!waiter.isOver) await clock.advance(500);
    assert.equal((await outcome).status, 'cancelled');
  });
});
