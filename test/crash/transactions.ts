/**
 * The process that the test of transactions kills: a runner whose callers start executions in their own transactions,
 * each with a row in `calls`, and whose tasks each write one row into `done` by `ctx.transaction`.
 */
import { writeSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { Pool } from 'pg';
import type { PoolClient } from 'pg';
import { Runner, workflow } from '../../src/index.ts';
import type { Ctx } from '../../src/index.ts';

const [database, mode] = process.argv.slice(2) as [string, 'load' | 'finish'];
const isPostgres = database.startsWith('postgres:');
const schema = isPostgres ? `${new URL(database).searchParams.get('schema')}.` : '';
const insertDone = `insert into ${schema}done (execution, task, item) values`;
const insertCall = `insert into ${schema}calls (execution) values`;

/** A row and the end of the task together. */
function once(ctx: Ctx<unknown>, item = -1): Promise<number> {
  const row = [ctx.executionId, ctx.task, item] as const;
  if (!isPostgres) {
    return ctx.transaction((db: DatabaseSync) => {
      db.prepare(`${insertDone} (?, ?, ?)`).run(...row);
      return 1;
    });
  }
  return ctx.transaction(async (tx: PoolClient) => {
    await tx.query(`${insertDone} ($1, $2, $3)`, [...row]);
    return 1;
  });
}

const chain = workflow('chain');
// all cuts come from outside, and none of them is to use up the attempts
const retry = { attempts: 1000, delay: 1 };
const first = chain.task('first', { retry }, (ctx) => once(ctx));
const items = chain.map('items', { needs: { first }, over: () => [0, 1, 2], retry }, (ctx) => once(ctx, ctx.index));
const last = chain.task('last', { needs: { items }, retry }, (ctx) => once(ctx));
const done = chain.returns(last);

const runner = await Runner.open(database, { workflows: [done], logger: silent() });
const pool = isPostgres ? new Pool({ connectionString: database, max: 8 }) : undefined;

if (mode === 'load') {
  for (let lane = 0; lane < 16; lane++) void keepCalling();
} else {
  const open = async (): Promise<number> => {
    const statuses = ['pending', 'running', 'waiting'] as const;
    const pages = await Promise.all(statuses.map((status) => runner.executions.list({ status, limit: 1 })));
    return pages.reduce((sum, page) => sum + page.items.length, 0);
  };
  while ((await open()) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  await runner.close();
  await pool?.end();
}

async function keepCalling(): Promise<void> {
  for (;;) {
    const execution = await (pool === undefined ? callOnSqlite() : callOnPostgres(pool));
    // acknowledged: from here on both exist
    writeSync(1, `${execution.id}\n`);
    await execution.result();
  }
}

type Call = ReturnType<typeof callOnSqlite>;

function callOnSqlite(): ReturnType<typeof runner.start<unknown, number>> {
  return runner.transaction((db, start) => {
    const execution = start(done);
    db.prepare(`${insertCall} (?)`).run(execution.id);
    return execution;
  });
}

async function callOnPostgres(from: Pool): Call {
  const client = await from.connect();
  await client.query('begin');
  const execution = await runner.start(done, {}, { tx: client });
  await client.query(`${insertCall} ($1)`, [execution.id]);
  await client.query('commit');
  client.release();
  return execution;
}

function silent(): { debug(): void; info(): void; warn(): void; error(data: object, message: string): void } {
  const nothing = (): void => undefined;
  return { debug: nothing, info: nothing, warn: nothing, error: (data, message) => console.error(message, data) };
}
