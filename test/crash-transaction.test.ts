import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Pool } from 'pg';
import { tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';

const script = fileURLToPath(new URL('./crash/transactions.ts', import.meta.url));
const kills = 12;
const busyCalls = 20;
const tables = `create table done (execution text not null, task text not null, item integer not null);
  create table calls (execution text not null);`;

/** A database with the tables of the test beside those of Cloacina. */
interface Place {
  readonly url: string;
  readonly ask: (text: string) => Promise<readonly Record<string, unknown>[]>;
}

function onSqlite(t: Cleanup): Promise<Place> {
  const file = join(tempFolder(t), 'crash.db');
  const db = new DatabaseSync(file, { timeout: 10_000 });
  t.after(() => db.close());
  db.exec(`pragma journal_mode = wal; ${tables}`);
  return Promise.resolve({ url: `sqlite:${file}`, ask: (text) => Promise.resolve(db.prepare(text).all()) });
}

const server = await testPostgres();
after(() => (typeof server === 'string' ? undefined : server.stop()));

async function onPostgres(t: Cleanup): Promise<Place> {
  const { url } = server as { readonly url: string };
  const schema = `crash_transaction_${process.pid}`;
  const pool = new Pool({ connectionString: url, options: `-c search_path=${schema}` });
  pool.on('error', () => undefined); // of the end of the server
  t.after(() => pool.end());
  await pool.query(`create schema ${schema}; set search_path to ${schema}; ${tables}`);
  return { url: `${url}?schema=${schema}`, ask: async (text) => (await pool.query(text)).rows };
}

interface Child {
  readonly process: ChildProcess;
  /** Enough calls were acknowledged for tasks to be in progress at any moment. */
  readonly loaded: Promise<void>;
}

function start(url: string, mode: 'load' | 'finish', acknowledged: Set<string>): Child {
  const child = spawn(process.execPath, [script, url, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.once('exit', () => reject(new Error('the runner ended by itself')));
  promise.catch(() => undefined); // waiting callers get the error
  let text = '';
  let count = 0;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n');
    text = lines.pop()!; // an id that the kill cut short was not acknowledged
    for (const line of lines) acknowledged.add(line);
    count += lines.length;
    if (count >= busyCalls) resolve();
  });
  return { process: child, loaded: promise };
}

async function killAndCheck(place: Place): Promise<void> {
  const acknowledged = new Set<string>();
  for (let time = 0; time < kills; time++) {
    const child = start(place.url, 'load', acknowledged);
    await child.loaded;
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 100));
    child.process.kill('SIGKILL');
    await once(child.process, 'close');
  }
  const last = start(place.url, 'finish', acknowledged);
  const [code] = (await once(last.process, 'close')) as [number];
  assert.equal(code, 0, 'the last runner finishes the executions of the killed ones');
  await check(place, acknowledged);
}

async function check({ ask }: Place, acknowledged: ReadonlySet<string>): Promise<void> {
  const list = async (text: string): Promise<string[]> => (await ask(text)).map((row) => String(row['x']));
  const calls = await list('select execution as x from calls order by execution');
  const executions = await list('select id as x from executions order by id');
  assert.deepEqual(executions, calls, "an execution exists if and only if its caller's row does");
  for (const id of acknowledged) assert.ok(calls.includes(id), `acknowledged call ${id}`);
  assert.ok(acknowledged.size >= kills, `there was load: ${acknowledged.size} calls`);
  const open = await list(`select id as x from executions where status <> 'completed'`);
  assert.deepEqual(open, [], 'every execution completed');
  const rows = await list(`select execution || ' ' || task || ' ' || item as x from done order by 1`);
  const ended = await list(
    `select execution_id || ' ' || task || ' ' || item as x from task_executions
     where status = 'completed' and (task <> 'items' or item >= 0) order by 1`,
  );
  assert.deepEqual(rows, ended, 'exactly one row for every task that completed');
  assert.equal(rows.length, calls.length * 5);
  const cut = await list('select execution_id as x from task_executions where attempt > 1');
  assert.ok(cut.length > 0, 'some attempts were cut and repeated');
  const gaps = await list(
    'select execution_id as x from events group by execution_id having max(seq) <> count(*) or min(seq) <> 1',
  );
  assert.deepEqual(gaps, [], 'event numbers are gapless');
  const twice = await list(
    `select execution_id as x from events where type = 'task.completed' group by execution_id, task, item having count(*) > 1`,
  );
  assert.deepEqual(twice, [], 'no task completed twice');
}

describe(
  "durability.md, The caller's transaction: a runner and its callers killed with SIGKILL under load",
  { concurrency: 2 },
  () => {
    const what = `each completed task has one row, and each execution has its caller's row (${kills} kills)`;

    it(`on SQLite, ${what}`, async (t) => {
      await killAndCheck(await onSqlite(t));
    });

    it(`on PostgreSQL, ${what}`, { skip: typeof server === 'string' ? server : false }, async (t) => {
      await killAndCheck(await onPostgres(t));
    });
  },
);
