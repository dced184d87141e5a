import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Client } from 'pg';
import { newId } from '../../engine/id.ts';
import { release } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { pgbouncer } from '../../testing/pgbouncer.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { sampleExecution, sampleRunner, sampleTaskState, sampleTransition } from '../../testing/samples.ts';
import type { Batch } from '../transition.ts';
import { openStore } from '../open.ts';
import { BusyError } from '../store.ts';
import type { Store } from '../store.ts';

const server = await testPostgres();
const base = typeof server === 'string' ? '' : server.url;
const skip = typeof server === 'string' ? server : false;
if (typeof server !== 'string') after(() => server.stop());
let databases = 0;

async function connect(t: Cleanup, url: string): Promise<Client> {
  const client = new Client({ connectionString: url, options: '-c search_path=cloacina' });
  await client.connect();
  release(t, () => client.end());
  return client;
}

/** The URL of a database whose transactions have that isolation by default. */
async function database(t: Cleanup, isolation: string): Promise<string> {
  const name = `isolated_${process.pid}_${databases++}`;
  const admin = await connect(t, base);
  await admin.query(`create database ${name}`);
  release(t, () => admin.query(`drop database ${name} with (force)`).then(() => undefined));
  await admin.query(`alter database ${name} set default_transaction_isolation = '${isolation}'`);
  const url = new URL(base);
  url.pathname = name;
  return url.href;
}

const places = {
  directly: (_: Cleanup, url: string): Promise<string> => Promise.resolve(url),
  'behind a pooler': async (t: Cleanup, url: string): Promise<string | undefined> => {
    const pooler = await pgbouncer(url);
    if (typeof pooler === 'string') return undefined;
    release(t, () => pooler.stop());
    return pooler.url;
  },
};

async function open(t: Cleanup, url: string): Promise<Store> {
  const store = await openStore(url);
  release(t, () => store.close());
  return store;
}

const names = Array.from({ length: 8 }, (_, i) => `r${i}`);

/** Retries conflicting transactions, as the journal does. */
async function commit(store: Store, batch: Batch): Promise<void> {
  for (;;) {
    try {
      await store.commit(batch);
      return;
    } catch (error) {
      if (!(error instanceof BusyError)) throw error;
    }
  }
}

/** Each runner commits changes of its execution until the test ends it; returns the number of commits. */
async function committing(store: Store, end: AbortSignal): Promise<number> {
  for (const id of names) await store.registerRunner(sampleRunner(id));
  const counts = names.map(async (runner) => {
    const create = sampleExecution({ id: newId(1_000_000), owned: true });
    await commit(store, { runner, lane: 0, n: 1, transitions: [sampleTransition(create.id, { create })] });
    let n = 1;
    for (; !end.aborted; n++) {
      const change = { tasks: [sampleTaskState('a', { attempt: n })] };
      await commit(store, { runner, lane: 0, n: n + 1, transitions: [sampleTransition(create.id, change)] });
    }
    return n;
  });
  return (await Promise.all(counts)).reduce((sum, n) => sum + n, 0);
}

/** Keeps the leases of all until each has been renewed twenty times; returns the failures. */
async function keeping(t: Cleanup, store: Store): Promise<readonly string[]> {
  const failures: string[] = [];
  const kept = names.map(async (runner) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let renewals = 0;
    const keeper = store.keepLease!({
      runner,
      leaseMs: 450,
      stallMs: 60_000,
      buildIds: ['embedded/w/1'],
      onRenewal: () => (++renewals === 20 ? resolve() : undefined),
      onFailure: ({ message }) => void failures.push(message),
      onStall: () => undefined,
      onGone: (error) => void failures.push(error.message),
    });
    release(t, () => keeper.close());
    await promise;
  });
  await Promise.all(kept);
  return failures;
}

describe("durability.md, Per database: the server's defaults do not matter", { skip }, () => {
  for (const [how, through] of Object.entries(places)) {
    it(`runners that renew at the same moment do not disturb each other (serializable, ${how})`, async (t) => {
      const url = await through(t, await database(t, 'serializable'));
      if (url === undefined) return t.skip('there is no pgbouncer');
      const store = await open(t, url);
      const end = new AbortController();
      const commits = committing(store, end.signal);
      const renewals = names.map(async (runner) => {
        for (let i = 0; i < 30; i++) await store.renew({ runner, leaseMs: 60_000, buildIds: ['embedded/w/1'] });
      });
      await Promise.all(renewals).finally(() => end.abort());
      t.diagnostic(`${await commits} commits beside ${names.length * 30} renewals`);
    });

    it(`the threads that keep leases do not disturb each other either (serializable, ${how})`, async (t) => {
      const url = await through(t, await database(t, 'serializable'));
      if (url === undefined) return t.skip('there is no pgbouncer');
      const store = await open(t, url);
      const end = new AbortController();
      const commits = committing(store, end.signal);
      const failures = await keeping(t, store);
      end.abort();
      await commits;
      // on a loaded host an answer may also come late
      assert.deepEqual(
        failures.filter((message) => /serializ/.test(message)),
        [],
      );
    });

    it(`a renewal that waited for another change of its lease continues from that (repeatable read, ${how})`, async (t) => {
      const direct = await database(t, 'repeatable read');
      const url = await through(t, direct);
      if (url === undefined) return t.skip('there is no pgbouncer');
      const store = await open(t, url);
      await store.registerRunner(sampleRunner('r1'));
      const [other, observer] = [await connect(t, direct), await connect(t, direct)];
      await other.query(`begin; update runner_leases set renewed_at = 7 where runner = 'r1'`);
      const renewed = store.renew({ runner: 'r1', leaseMs: 60_000, buildIds: [] });
      const waits = `select from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'`;
      while ((await observer.query(waits)).rows.length === 0) await setImmediate();
      await other.query('commit');
      assert.equal((await renewed).alive, true);
      assert.equal((await store.runners())[0]!.leaseMs, 60_000);
    });
  }

  it('connections that a pooler lends to other programs are left unchanged', async (t) => {
    const direct = await database(t, 'serializable');
    // it ignores the startup parameters of a connection, and so looks like the server itself
    const pooler = await pgbouncer(direct, ['statement_timeout', 'idle_in_transaction_session_timeout']);
    if (typeof pooler === 'string') return t.skip(pooler);
    release(t, () => pooler.stop());
    const store = await open(t, pooler.url);
    const end = new AbortController();
    const commits = committing(store, end.signal);
    await keeping(t, store);
    end.abort();
    await commits;
    const others = await Promise.all(Array.from({ length: 8 }, () => connect(t, pooler.url)));
    const asked = `select current_setting('default_transaction_isolation') as isolation, pg_sleep(0.1)`;
    const answers = await Promise.all(others.map((other) => other.query<{ isolation: string }>(asked)));
    assert.deepEqual(new Set(answers.map(({ rows }) => rows[0]!.isolation)), new Set(['serializable']));
  });
});
