// Accepted and refused uses of the caller's and of the task's transactions: every `@ts-expect-error` must stay an
// error. Checked by tsc, never run.
import type { DatabaseSync } from 'node:sqlite';
import type { Pool, PoolClient } from 'pg';
import { unchecked, workflow } from '../../src/index.ts';
import type { Client, ExecutionHandle, Json, Runner, StartOptions, Task } from '../../src/index.ts';

interface Order {
  id: string;
  cents: number;
}
const w = workflow('book', { input: unchecked<Order>() });

// the return value of the function is the output of the task, and its parameter has the declared type
const postgres = w.task('postgres', ({ input, transaction }) =>
  transaction(async (tx: PoolClient) => {
    await tx.query('update accounts set cents = cents - $1 where id = $2', [input.cents, input.id]);
    return { booked: input.cents };
  }),
);
const a: Task<'book', { booked: number }> = postgres;
const sqlite = w.task('sqlite', async (ctx) =>
  ctx.transaction((tx: DatabaseSync) => Number(tx.prepare('delete from carts where id = ?').run(ctx.input.id).changes)),
);
const b: Task<'book', number> = sqlite;
const items = w.map('items', { needs: { sqlite }, over: ({ needs }) => [needs.sqlite, 2] }, ({ item, transaction }) =>
  transaction((tx: DatabaseSync) => {
    tx.prepare('insert into numbers (n) values (?)').run(item);
    return String(item);
  }),
);
const c: Task<'book', string[]> = items;
const nothing = w.task('nothing', ({ transaction }) => transaction((tx: DatabaseSync) => tx.exec('delete from carts')));
const d: Task<'book', void> = nothing;
const after = w.task(
  'after',
  { needs: { postgres, items } },
  ({ needs }) => needs.postgres.booked + needs.items.length,
);
// @ts-expect-error without a type it is unknown
w.task('e', ({ transaction }) => transaction((tx) => tx.exec('delete from carts')));
// @ts-expect-error its output is not a text
const f: Task<'book', string> = postgres;
// @ts-expect-error a date as output
w.task('g', ({ transaction }) => transaction(() => new Date()));
// @ts-expect-error a promise of a date as output
w.task('h', ({ transaction }) => transaction(async (tx: PoolClient) => (await tx.query('select 1'), [new Date()])));
// @ts-expect-error a function as output
w.task('i', ({ transaction }) => transaction(() => ({ undo: () => 1 })));
// @ts-expect-error it is a function that is run
w.task('j', ({ transaction }) => transaction('delete from carts'));
// @ts-expect-error the output is durable with the commit only
w.task('k', ({ transaction }) => transaction(() => 1) + 1);
// @ts-expect-error no definition has one
w.transaction(() => 1);
const book = w.returns(after);

// a start in the caller's own transaction
declare const runner: Runner;
declare const client: Client;
declare const tx: PoolClient;
declare const pool: Pool;
declare const order: Order;
const started: ExecutionHandle<number> = await runner.start(book, order, { tx, priority: 1 });
const many: readonly ExecutionHandle<number>[] = await client.startMany(book, [order, order], { tx });
const byName: ExecutionHandle<Json> = await client.start('book', order, { tx });
// any object with `query(text, values)` that returns rows is accepted too; the rest is checked at run time
void client.start(book, order, { tx: { query: (_text: string, _values: unknown[]) => Promise.resolve([]) } });
void client.start(book, order, { tx: pool });
// @ts-expect-error a text is no transaction
void client.start(book, order, { tx: 'begin' });
// @ts-expect-error execute would wait for a result that cannot come before the commit
void runner.execute(book, order, { tx });
// @ts-expect-error the same by its name
void runner.execute('book', order, { tx });
// @ts-expect-error a schedule starts executions itself
void client.schedules.add('nightly', { workflow: 'book', cron: '0 2 * * *', input: order, tx });
// @ts-expect-error a signal has no transaction
void client.signal('id', 'go', null, { tx });

// a transaction on SQLite: a function that returns synchronously
const [count, handle] = await runner.transaction((db, start) => {
  db.prepare('insert into orders (id) values (?)').run(order.id);
  const execution: ExecutionHandle<number> = start(book, order, { idempotencyKey: order.id });
  return [1, execution] as const;
});
const one: number = count;
const out: number = (await handle.result()).output;
const none: void = await client.transaction((db) => db.exec('delete from orders'));
// @ts-expect-error a function that is asynchronous
void runner.transaction(async (db) => db.exec('delete from orders'));
// @ts-expect-error a promise
void runner.transaction((_, start) => start(book, order).result());
// @ts-expect-error a started execution is not awaited
void runner.transaction((_, start) => start(book, order).output);
// @ts-expect-error a name is looked up in the database, which needs another turn
void runner.transaction((_, start) => start('book', order));
// @ts-expect-error the input is checked
void runner.transaction((_, start) => start(book, { id: 3 }));
// @ts-expect-error the input is needed
void runner.transaction((_, start) => start(book));
// @ts-expect-error it is in a transaction already
void runner.transaction((_, start) => start(book, order, { tx }));
// @ts-expect-error the connection is one to SQLite
void runner.transaction((db: PoolClient) => db.query('delete from orders'));

// existing options are accepted if they contain no transaction
declare const options: StartOptions;
void runner.execute(book, order, { ...options, priority: 2 });
void [a, b, c, d, f, started, many, byName, one, out, none];
