import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Runner, workflow } from '../src/index.ts';
import type { AnyWorkflow, Logger } from '../src/index.ts';
import { release } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { startedServer } from '../src/testing/postgres-server.ts';
import type { PostgresServer } from '../src/testing/postgres-server.ts';
import { TcpProxy } from '../src/testing/tcp-proxy.ts';
import { Control } from './chaos/control.ts';

const leaseMs = 1500;

interface Place {
  readonly server: PostgresServer;
  readonly url: string;
  readonly control: Control;
}

const server = await startedServer();
let schemas = 0;

function place(of: PostgresServer, through = of.port): Place {
  const schema = `outage_${schemas++}`;
  return {
    server: of,
    url: `postgres://postgres@127.0.0.1:${through}/postgres?schema=${schema}`,
    control: new Control(`${of.url}?options=-csearch_path%3D${schema}`),
  };
}

interface Opened {
  readonly runner: Runner;
  readonly logged: readonly string[];
}

async function open(t: Cleanup, url: string, ...workflows: readonly AnyWorkflow[]): Promise<Opened> {
  const logged: string[] = [];
  const log = (_: object, message: string): void => void logged.push(message);
  const logger: Logger = { debug: () => undefined, info: log, warn: log, error: log };
  const runner = await Runner.open(url, { workflows, logger, lease: `${leaseMs}ms` });
  release(t, () => runner.close({ drain: 0 }));
  return { runner, logged };
}

/** A workflow whose only task waits until the test ends it, and the known facts about its runs. */
function held(): { readonly workflow: ReturnType<typeof build>; readonly runs: string[]; go(): void } {
  const runs: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const build = () => {
    const w = workflow('held');
    const a = w.task('a', async ({ attempt }) => {
      runs.push(`attempt ${attempt}`);
      await promise;
      return attempt;
    });
    return w.returns(w.task('b', { needs: { a } }, ({ needs }) => needs.a));
  };
  return { workflow: build(), runs, go: resolve };
}

if (typeof server === 'string') {
  describe('a PostgreSQL server that goes away', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.remove());

  describe('durability.md, Death and adoption: a database outage kills no runner', () => {
    it('all runners resume after an outage longer than every lease, and tasks that ended meanwhile count', async (t) => {
      const { url, control } = place(server);
      const proxy = await TcpProxy.open(() => server.port);
      release(t, () => proxy.close());
      const work = held();
      const one = await open(t, url, work.workflow);
      const two = await open(t, url.replace(`:${server.port}/`, `:${proxy.port}/`), work.workflow);
      await control.query(`update runners set host = 'elsewhere' where id = $1`, two.runner.id);
      const handle = await one.runner.start(work.workflow);
      while (work.runs.length === 0) await setTimeout(10);
      await setTimeout(leaseMs); // each has observed a lease of the other
      const before = await control.query<{ id: string }>('select id from runners order by id');
      await server.stop();
      // its result waits for the database
      work.go();
      await setTimeout(2 * leaseMs);
      // one of them reconnects a little later, after the other has polled already
      proxy.refuse();
      await server.start();
      await setTimeout(0.7 * leaseMs);
      proxy.pass();
      assert.equal((await handle.result()).output, 1);
      await setTimeout(2 * leaseMs);
      assert.deepEqual(await control.query('select id from runners order by id'), before);
      assert.deepEqual(work.runs, ['attempt 1']);
      const logged = [...one.logged, ...two.logged];
      assert.ok(!logged.some((message) => /died|declared dead/.test(message)), logged.join('\n'));
    });
  });

  describe('durability.md, The journal: commits have a client deadline', () => {
    it('a runner without a network loses its executions to another; its late batch and its late result are refused', async (t) => {
      const proxy = await TcpProxy.open(() => server.port);
      release(t, () => proxy.close());
      const cutOff = place(server, proxy.port);
      const { control } = cutOff;
      const direct = cutOff.url.replace(`:${proxy.port}/`, `:${server.port}/`);
      const work = held();
      const lost = await open(t, cutOff.url, work.workflow);
      const { id } = await lost.runner.start(work.workflow);
      while (work.runs.length === 0) await setTimeout(10);
      // the first reports another host: its lease is the only sign of its death
      const other = await open(t, direct, work.workflow);
      await control.query(`update runners set host = 'elsewhere' where id = $1`, lost.runner.id);
      proxy.swallow();
      const start = performance.now();
      while (work.runs.length < 2 && performance.now() - start < 20_000) await setTimeout(20);
      assert.equal(work.runs.length, 2, 'the other has taken it');
      work.go();
      assert.equal((await other.runner.handle(id).result()).output, 2);
      const events = await control.query(
        'select seq, type, runner from events where execution_id = $1 order by seq',
        id,
      );
      proxy.pass();
      while (!lost.logged.some((message) => /declared dead/.test(message))) await setTimeout(20);
      await setTimeout(leaseMs / 3);
      assert.deepEqual(
        await control.query('select seq, type, runner from events where execution_id = $1 order by seq', id),
        events,
      );
    });
  });

  describe("durability.md, Per database: the server's defaults do not matter", () => {
    it('a commit runs as read committed with synchronous_commit on', async (t) => {
      const admin = new Control(server.url);
      await admin.query('create database strange');
      for (const setting of ["default_transaction_isolation = 'serializable'", 'synchronous_commit = off']) {
        await admin.query(`alter database strange set ${setting}`);
      }
      const url = server.url.replace(/postgres$/, 'strange');
      const w = workflow('w', { concurrency: { limit: 5 } });
      const a = w.task('a', () => 1);
      const kid = workflow('kid');
      const done = w.returns(
        w.task(
          'b',
          { needs: { a, k: w.child('k', kid.returns(kid.task('x', () => 2)), { input: () => ({}) }) } },
          ({ needs }) => needs.a + needs.k,
        ),
      );
      const { runner } = await open(t, url, done);
      const control = new Control(url);
      // a trigger records the settings of each transaction that writes an event
      await control.query('create table seen (setting text primary key)');
      await control.query(`create function see() returns trigger language plpgsql as $$ begin
        insert into public.seen values (current_setting('transaction_isolation') || ', ' || current_setting('synchronous_commit')) on conflict do nothing;
        return null; end $$`);
      await control.query('create trigger see after insert on cloacina.events for each row execute function see()');
      const handles = await runner.startMany(
        done,
        Array.from({ length: 100 }, () => ({})),
      );
      const outcomes = await Promise.all(handles.map((handle) => handle.outcome()));
      assert.ok(outcomes.every(({ status }) => status === 'completed'));
      assert.deepEqual(await control.query('select setting from seen'), [{ setting: 'read committed, on' }]);
    });
  });
}
