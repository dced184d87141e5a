import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client, Runner, workflow } from '../src/index.ts';
import { release } from '../src/testing/engine-rig.ts';
import { PostgresServer } from '../src/testing/postgres-server.ts';
import { TcpProxy } from '../src/testing/tcp-proxy.ts';
import { Control } from './chaos/control.ts';
import { silent } from './processes/workflows.ts';

const lanes = 8;
const loadMs = 2000;
const settleMs = 30_000;

interface Pair {
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  /** The proxy through which the standby follows. */
  readonly way: TcpProxy;
}

/** A primary and a standby that must have a commit before it is acknowledged, unless a session asks for less. */
async function pair(t: TestContext, more: Readonly<Record<string, string>> = {}): Promise<Pair | null> {
  let primary: PostgresServer;
  try {
    const settings = { synchronous_standby_names: 'standby', synchronous_commit: 'off', ...more };
    primary = await PostgresServer.create(settings);
  } catch (error) {
    t.skip(`no PostgreSQL can be started here: ${String(error)}`);
    return null;
  }
  release(t, () => primary.remove());
  const way = await TcpProxy.open(() => primary.port);
  release(t, () => way.close());
  const standby = await primary.standby('standby', way.port);
  release(t, () => standby.remove());
  await primary.start();
  await standby.start();
  const control = new Control(primary.url);
  const isFollowed = async (): Promise<boolean> => {
    const rows = await control.query<{ sync_state: string }>('select sync_state from pg_stat_replication');
    return rows.some(({ sync_state: state }) => state === 'sync');
  };
  while (!(await isFollowed())) await setTimeout(20);
  return { primary, standby, way };
}

describe('durability.md, Per database: failover to a synchronous standby', () => {
  it('with both hosts in one URL no acknowledged execution is lost and work resumes on its own', async (t) => {
    const hosts = await pair(t);
    if (hosts === null) return;
    const { primary, standby, way } = hosts;
    const url = `postgres://postgres@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/postgres?schema=failover`;
    const w = workflow('w');
    const a = w.task('a', { retry: { attempts: 1000 } }, async () => {
      await setTimeout(20);
      return 1;
    });
    const done = w.returns(w.task('b', { needs: { a }, retry: { attempts: 1000 } }, ({ needs }) => needs.a + 1));
    for (let i = 0; i < 2; i++) {
      const runner = await Runner.open(url, { workflows: [done], logger: silent, lease: '3s' });
      release(t, () => runner.close());
    }
    const client = await Client.open(url);
    release(t, () => client.close());

    const acknowledged: string[] = [];
    const load = new AbortController();
    const lane = async (): Promise<void> => {
      while (!load.signal.aborted) {
        try {
          acknowledged.push((await client.start(done)).id);
        } catch (error) {
          // the execution may exist or not: nothing was acknowledged
          assert.match(String(Reflect.get(error as object, 'code')), /^(STORE_UNAVAILABLE|OUTCOME_UNKNOWN)$/);
        }
        await setTimeout(5);
      }
    };
    const ended = Promise.all(Array.from({ length: lanes }, lane));
    await setTimeout(loadMs);
    // the last writes of the primary do not reach the standby, and must not be acknowledged
    way.swallow();
    await setTimeout(loadMs / 4);
    await primary.kill();
    way.cut();
    const before = acknowledged.length;
    const control = new Control(`${standby.url}?options=-csearch_path%3Dfailover`);
    await control.query('select pg_promote()');
    const start = performance.now();
    while (acknowledged.length < before + lanes && performance.now() - start < settleMs) await setTimeout(20);
    const awayMs = Math.round(performance.now() - start);
    await setTimeout(loadMs / 2);
    load.abort();
    await ended;
    assert.ok(before > lanes && acknowledged.length > before + lanes, `${before}, then ${acknowledged.length}`);

    while ((await control.unfinished()) > 0) {
      assert.ok(performance.now() - start < settleMs, `${await control.unfinished()} executions do not end`);
      await setTimeout(50);
    }
    const rows = await control.query<{ id: string; status: string; output: string }>(
      'select id, status, output from executions',
    );
    const byId = new Map(rows.map((row) => [row.id, row]));
    for (const id of acknowledged) assert.deepEqual(byId.get(id), { id, status: 'completed', output: '2' });
    const gaps = await control.query(
      'select execution_id from events group by execution_id having max(seq) <> count(*) or min(seq) <> 1',
    );
    assert.deepEqual(gaps, []);
    t.diagnostic(
      `${before} acknowledged before, ${acknowledged.length - before} after; new ones ${awayMs} ms after the promotion`,
    );
  });

  it('a standby is passed over whatever the default isolation level is', async (t) => {
    const hosts = await pair(t, { default_transaction_isolation: 'serializable' });
    if (hosts === null) return;
    const { primary, standby } = hosts;
    const client = await Client.open(
      `postgres://postgres@127.0.0.1:${standby.port},127.0.0.1:${primary.port}/postgres`,
    );
    release(t, () => client.close());
    assert.deepEqual((await client.executions.list()).items, []);
  });
});
