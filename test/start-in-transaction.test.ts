import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql as drizzleSql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { Kysely, PostgresDialect, sql as kyselySql } from 'kysely';
import { Client as PgClient, Pool } from 'pg';
import { Client, Runner, workflow } from '../src/index.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';

const server = await testPostgres();
const schema = `callers_${process.pid}`;

const greet = workflow('greet');
const hello = greet.task('hello', ({ input }) => ({ said: (input as { name?: string }).name ?? 'nobody' }));
const greeting = greet.returns(hello);

/** Rolls back a piece of work. */
class Undo extends Error {
  override readonly name = 'Undo';
}

interface Orders {
  /** Writes an order, within the open transaction. */
  readonly write: (id: string) => Promise<unknown>;
  /** The value that is passed as `tx`. */
  readonly tx: object;
}

/** A kind of client: runs an act in its own transaction, which is rolled back if the act throws. */
type Within = (act: (orders: Orders) => Promise<void>) => Promise<void>;

const insert = 'insert into orders (id) values ($1)';

/** By pg itself. */
function byPg(pool: Pool): Within {
  return async (act) => {
    const client = await pool.connect();
    try {
      await client.query('begin');
      await act({ write: (id) => client.query(insert, [id]), tx: client });
      await client.query('commit');
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  };
}

/** A client that returns rows as an array, like TypeORM's query runner. */
function byRows(pool: Pool): Within {
  return (act) =>
    byPg(pool)(({ write, tx }) => {
      const client = tx as PgClient;
      const query = async (text: string, values: unknown[]): Promise<unknown> =>
        (await client.query(text, values)).rows as unknown;
      return act({ write, tx: { query } });
    });
}

/**
 * Prisma's interactive transaction client, by its shape only: a pg client with its two methods for raw SQL, which take
 * their parameters one by one and prepare their statements.
 */
function byPrismaShape(pool: Pool): Within {
  return (act) =>
    byPg(pool)(({ tx }) => {
      const client = tx as PgClient;
      const prisma = {
        $queryRawUnsafe: async (text: string, ...values: unknown[]): Promise<unknown> =>
          (await client.query({ text, values, name: text.slice(0, 60) })).rows as unknown,
        $executeRawUnsafe: async (text: string, ...values: unknown[]): Promise<number> =>
          (await client.query(text, values)).rowCount ?? 0,
      };
      return act({ write: (id) => prisma.$executeRawUnsafe(insert, id), tx: prisma });
    });
}

function byDrizzle(pool: Pool): Within {
  return (act) =>
    drizzle({ client: pool }).transaction((tx) =>
      act({ write: (id) => tx.execute(drizzleSql`insert into orders (id) values (${id})`), tx }),
    );
}

function byKysely(pool: Pool): Within {
  return async (act) => {
    const db = new Kysely<object>({ dialect: new PostgresDialect({ pool }) });
    await db
      .transaction()
      .execute((tx) => act({ write: (id) => kyselySql`insert into orders (id) values (${id})`.execute(tx), tx }));
  };
}

const kinds: Readonly<Record<string, (pool: Pool) => Within>> = {
  'a pg client': byPg,
  'something with query(text, values) that gives its rows': byRows,
  "the shape of Prisma's transaction client (an adapter over pg)": byPrismaShape,
  'a transaction of Drizzle': byDrizzle,
  'a transaction of Kysely': byKysely,
};

if (typeof server === 'string') {
  describe("durability.md, The caller's transaction", () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  const url = `${server.url}?schema=${schema}`;
  let pool: Pool;
  let runner: Runner;

  before(async () => {
    // the caller does not know our schema, and its tables are found
    pool = new Pool({ connectionString: server.url });
    pool.on('error', () => undefined); // of the end of the server
    await pool.query('create table orders (id text primary key)');
    runner = await Runner.open(url, { workflows: [greeting] });
  });

  after(async () => {
    await runner.close();
    await pool.end();
    await server.stop();
  });

  const exists = async (id: string): Promise<boolean> =>
    (await pool.query(`select 1 from ${schema}.executions where id = $1`, [id])).rowCount === 1;
  const hasOrder = async (id: string): Promise<boolean> =>
    (await pool.query('select 1 from orders where id = $1', [id])).rowCount === 1;

  for (const [kind, make] of Object.entries(kinds)) {
    describe(`durability.md, The caller's transaction: start with ${kind}`, () => {
      it('the execution exists once the caller commits, and runs', async () => {
        let id = '';
        let result: Promise<{ output: unknown }> | undefined;
        const order = `${kind} kept`;
        const held = Promise.withResolvers<void>();
        const done = make(pool)(async ({ write, tx }) => {
          await write(order);
          const execution = await runner.start(greeting, { name: order }, { tx, tags: { kind } });
          id = execution.id;
          assert.equal(await exists(id), false, 'it is invisible before the commit');
          result = held.promise.then(() => execution.result());
        });
        await done;
        held.resolve();
        assert.deepEqual((await result!).output, { said: order });
        const { items } = await runner.executions.list({ tags: { kind } });
        assert.deepEqual(
          items.map((item) => item.id),
          [id],
        );
        const events = await runner.executions.events(id);
        assert.equal(events[0]?.type, 'execution.created');
        assert.equal(await hasOrder(order), true);
      });

      it('a rollback of the caller leaves no execution', async () => {
        let id = '';
        const order = `${kind} undone`;
        const within = make(pool)(async ({ write, tx }) => {
          await write(order);
          id = (await runner.start(greeting, {}, { tx, tags: { kind: `${kind} undone` } })).id;
          throw new Undo();
        });
        await assert.rejects(within, Undo);
        assert.equal(await exists(id), false);
        assert.equal(await hasOrder(order), false);
        const left = await pool.query(`select 1 from ${schema}.events where execution_id = $1`, [id]);
        assert.equal(left.rowCount, 0);
      });
    });
  }

  describe("durability.md, The caller's transaction", () => {
    it('a transaction can start many, all or none, without awaiting them one by one', async () => {
      let ids: string[] = [];
      await byPg(pool)(async ({ tx }) => {
        const [many, one] = await Promise.all([
          runner.startMany(greeting, [{ name: 'a' }, { name: 'b' }], { tx }),
          runner.start(greeting, { name: 'c' }, { tx }),
        ]);
        ids = [...many, one].map((execution) => execution.id);
      });
      for (const id of ids) assert.equal(await exists(id), true);
    });

    it('the database notifies runners with the commit and not before (Wake-ups)', async (t) => {
      const listener = new PgClient({ connectionString: server.url });
      await listener.connect();
      t.after(() => listener.end());
      const heard: string[] = [];
      listener.on('notification', ({ payload }) => payload === 'caller work' && heard.push(payload));
      await listener.query(`listen "cloacina_${schema}"`);
      await using client = await Client.open(url);
      await byPg(pool)(async ({ tx }) => {
        await client.start(greeting, {}, { tx });
        await listener.query('select 1');
        assert.deepEqual(heard, [], 'no notification is sent before the commit');
      });
      await listener.query('select 1');
      assert.deepEqual(heard, ['caller work'], 'the notification is sent with the commit');
    });

    it('a used idempotency key returns its execution, and another input is refused without harm to the transaction', async () => {
      const idempotencyKey = 'order 7';
      let ids: string[] = [];
      await byPg(pool)(async ({ write, tx }) => {
        const first = await runner.start(greeting, { name: 'x' }, { tx, idempotencyKey });
        const again = await runner.start(greeting, { name: 'x' }, { tx, idempotencyKey });
        await assert.rejects(runner.start(greeting, { name: 'y' }, { tx, idempotencyKey }), {
          code: 'IDEMPOTENCY_CONFLICT',
        });
        await write('order 7');
        ids = [first.id, again.id];
      });
      assert.equal(ids[0], ids[1]);
      assert.equal(await hasOrder('order 7'), true);
    });

    it('the second of two transactions with the same key waits for the first', async () => {
      const idempotencyKey = 'raced';
      const first = await pool.connect();
      await first.query('begin');
      const one = await runner.start(greeting, {}, { tx: first, idempotencyKey });
      let other = '';
      const second = byPg(pool)(async ({ tx }) => {
        other = (await runner.start(greeting, {}, { tx, idempotencyKey })).id;
      });
      await untilBlocked(pool);
      await first.query('commit');
      first.release();
      await second;
      assert.equal(other, one.id);
    });

    it('an argument that is no transaction is refused and starts nothing', async () => {
      const refused = { code: 'TRANSACTION_INVALID' };
      await assert.rejects(runner.start(greeting, {}, { tx: {} }), refused);
      await assert.rejects(runner.start(greeting, {}, { tx: pool }), /it is a pool/);
      const client = await pool.connect();
      await assert.rejects(runner.start(greeting, {}, { tx: client }), /it has not begun/);
      client.release();
      const none = { query: () => Promise.resolve(undefined) };
      await assert.rejects(runner.start(greeting, {}, { tx: none }), refused);
      const waits = { code: 'OPTION_INVALID', option: 'tx' };
      // @ts-expect-error the types refuse it too
      await assert.rejects(runner.execute(greeting, {}, { tx: pool }), waits);
    });

    it('a commit of the caller before the start is written starts nothing', async () => {
      const client = await pool.connect();
      await client.query('begin');
      const started = runner.start(greeting, { name: 'late' }, { tx: client, tags: { late: 'yes' } });
      const committed = client.query('commit');
      await assert.rejects(started, { code: 'TRANSACTION_INVALID' });
      await committed;
      client.release();
      assert.deepEqual((await runner.executions.list({ tags: { late: 'yes' } })).items, []);
    });

    it("errors of the caller's client are passed on unchanged", async () => {
      const client = await pool.connect();
      await client.query('begin read only');
      await assert.rejects(runner.start(greeting, {}, { tx: client }), { code: '25006' });
      await client.query('rollback');
      client.release();
    });

    it("the commit is durable whatever the server's default is", async () => {
      const client = await pool.connect();
      await client.query('begin; set local synchronous_commit = off');
      await runner.start(greeting, {}, { tx: client });
      const { rows } = await client.query('show synchronous_commit');
      assert.deepEqual(rows, [{ synchronous_commit: 'on' }]);
      await client.query('rollback');
      client.release();
    });

    it('a SQLite runner refuses it and names the alternative', async () => {
      await using small = await Runner.open('sqlite::memory:', { workflows: [greeting] });
      await assert.rejects(small.start(greeting, {}, { tx: pool }), {
        code: 'TRANSACTION_UNAVAILABLE',
        message: /runner\.transaction/,
      });
    });
  });
}

/** Resolves when a session waits for another's lock. */
async function untilBlocked(pool: Pool): Promise<void> {
  for (;;) {
    const { rowCount } = await pool.query(
      `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'with given as%'`,
    );
    if (rowCount === 1) return;
  }
}
