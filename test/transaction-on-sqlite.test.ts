import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { Client, Runner, workflow } from '../src/index.ts';
import type { RunnerOptions } from '../src/index.ts';
import { tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';

const order = workflow('order', { input: z.object({ id: z.string(), count: z.number().default(1) }) });
const ship = order.task('ship', ({ input }) => `${input.count} of ${input.id}`);
const shipping = order.returns(ship);

interface Place {
  readonly url: string;
  readonly runner: Runner;
  /** The ids of the orders, read by another connection. */
  readonly orders: () => readonly string[];
  readonly executions: () => number;
}

async function open(t: Cleanup, options: RunnerOptions = {}): Promise<Place> {
  const file = join(tempFolder(t), 'app.db');
  const url = `sqlite:${file}`;
  const runner = await Runner.open(url, { workflows: [shipping], ...options });
  const other = new DatabaseSync(file);
  other.exec('create table orders (id text primary key)');
  t.after(async () => {
    other.close();
    await runner.close();
  });
  const orders = (): string[] =>
    other
      .prepare('select id from orders order by id')
      .all()
      .map((row) => String(row['id']));
  const executions = (): number => Number(other.prepare('select count(*) as n from executions').get()!['n']);
  return { url, runner, orders, executions };
}

const insert = 'insert into orders (id) values (?)';

describe("durability.md, The caller's transaction on SQLite: runner.transaction", () => {
  it('the function writes rows and starts executions together, and its return value is passed on', async (t) => {
    const { runner, orders } = await open(t);
    const { made, execution } = await runner.transaction((db, start) => {
      const changes = db.prepare(insert).run('a').changes;
      return { made: changes, execution: start(shipping, { id: 'a' }, { tags: { kind: 'kept' } }) };
    });
    assert.equal(made, 1);
    assert.deepEqual(orders(), ['a']);
    assert.equal((await execution.result()).output, '1 of a', 'defaults of the schema are filled in');
    assert.equal((await runner.executions.list({ tags: { kind: 'kept' } })).items[0]?.id, execution.id);
  });

  it('a function that throws leaves neither rows nor executions', async (t) => {
    const { runner, orders, executions } = await open(t);
    const undone = runner.transaction((db, start) => {
      db.prepare(insert).run('a');
      start(shipping, { id: 'a' });
      throw new Error('changed my mind');
    });
    await assert.rejects(undone, /changed my mind/);
    assert.deepEqual([orders(), executions()], [[], 0]);
  });

  it('a function that returns a promise is refused and leaves nothing', async (t) => {
    const { runner, orders, executions } = await open(t);
    const errors: unknown[] = [];
    const slow = async (
      db: DatabaseSync,
      start: (w: typeof shipping, input: { id: string }) => unknown,
    ): Promise<void> => {
      db.prepare(insert).run('a');
      start(shipping, { id: 'a' });
      await Promise.resolve();
      try {
        start(shipping, { id: 'b' });
      } catch (error) {
        errors.push(error);
      }
      db.prepare(insert).run('b');
    };
    // @ts-expect-error the types refuse it too
    await assert.rejects(runner.transaction(slow), { code: 'TRANSACTION_ASYNC' });
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([orders(), executions()], [[], 0]);
    assert.equal(Reflect.get(errors[0] as object, 'code'), 'TRANSACTION_ENDED', 'a later start in it is refused');
  });

  it('a start in it checks the input as start does', async (t) => {
    const { runner, executions } = await open(t);
    const wrong = { id: 1 } as unknown as { id: string };
    await assert.rejects(
      runner.transaction((_, start) => start(shipping, wrong)),
      { code: 'INPUT_INVALID' },
    );
    const late = workflow('late', { input: z.object({}).refine(async () => Promise.resolve(true)) });
    late.task('never', () => 1);
    await assert.rejects(
      runner.transaction((_, start) => start(late, {})),
      { code: 'TRANSACTION_ASYNC', message: /'late'/ },
    );
    const named = (_: DatabaseSync, start: (name: never) => unknown): unknown => start('order' as never);
    await assert.rejects(runner.transaction(named), { code: 'OPTION_INVALID' });
    await assert.rejects(
      // @ts-expect-error the types refuse it too
      runner.transaction((_, start) => start(shipping, { id: 'a' }, { tx: {} })),
      { code: 'OPTION_INVALID', option: 'tx' },
    );
    assert.equal(executions(), 0);
  });

  it('a start with a used idempotency key returns that execution; the function may catch a conflict', async (t) => {
    const { runner, orders, executions } = await open(t);
    const options = { idempotencyKey: 'k' };
    const ids = await runner.transaction((db, start) => {
      const first = start(shipping, { id: 'a' }, options);
      assert.throws(() => start(shipping, { id: 'b' }, options), { code: 'IDEMPOTENCY_CONFLICT' });
      db.prepare(insert).run('a');
      return [first.id, start(shipping, { id: 'a' }, options).id];
    });
    assert.equal(ids[0], ids[1]);
    assert.deepEqual([orders(), executions()], [['a'], 1]);
  });

  for (const [what, end] of [
    ['commit', (db: DatabaseSync) => db.exec('commit')],
    ['roll back', (db: DatabaseSync) => db.prepare('rollback').run()],
    ['commit and begin again', (db: DatabaseSync) => db.exec('/* */ commit; begin')],
    ['close the connection', (db: DatabaseSync) => db.close()],
    ['make commits less durable', (db: DatabaseSync) => db.exec('pragma synchronous = off')],
  ] as const) {
    it(`the function cannot ${what}`, async (t) => {
      const { runner, orders, executions } = await open(t);
      const ended = runner.transaction((db, start) => {
        db.prepare(insert).run('a');
        start(shipping, { id: 'a' });
        end(db);
      });
      await assert.rejects(ended, { code: 'TRANSACTION_ENDED' });
      assert.deepEqual([orders(), executions()], [[], 0]);
      const after = await runner.transaction((db, start) => {
        db.prepare(insert).run('b');
        db.prepare('pragma table_info(orders)').all();
        return start(shipping, { id: 'b' });
      });
      assert.equal((await after.result()).output, '1 of b', 'the engine continues');
    });
  }

  it('the connection cannot be used after the function has returned', async (t) => {
    const { runner } = await open(t);
    let kept: DatabaseSync | undefined;
    await runner.transaction((db) => {
      kept = db;
    });
    assert.throws(() => kept!.exec('begin'), { code: 'TRANSACTION_ENDED' });
  });

  it('an iterator that the function left open holds no snapshot: the engine goes on after another process wrote', async (t) => {
    const { url, runner, executions } = await open(t);
    const rows = 'select 1 as n union all select 2 union all select count(*) from orders';
    const left = await runner.transaction((db) => {
      db.prepare(insert).run('a');
      const first = db.prepare(rows).iterate();
      const second = db.prepare(rows).iterate().map(Object.values);
      return { next: [first.next().value, second.next().value], first, second };
    });
    assert.deepEqual(left.next, [Object.assign(Object.create(null), { n: 1 }), [1]]);
    const other = new DatabaseSync(url.slice('sqlite:'.length));
    t.after(() => other.close());
    other.prepare(insert).run('b');
    const execution = await runner.start(shipping, { id: 'b' });
    assert.equal((await execution.result()).output, '1 of b');
    assert.equal(executions(), 1);
    for (const iterator of [left.first, left.second]) {
      assert.throws(() => iterator.next(), { code: 'TRANSACTION_ENDED' }, 'the rest of the rows is not cut in silence');
    }
  });

  it('iterators, sessions and tag stores work within the function', async (t) => {
    const { runner, orders } = await open(t);
    const changes = await runner.transaction((db) => {
      const session = db.createSession({ table: 'orders' });
      const all = db.prepare(insert);
      for (const { value } of db.prepare("select value from json_each('[1,2,3]')").iterate())
        all.run(`a${String(value)}`);
      const [first] = db.prepare('select id from orders').iterate();
      assert.equal(first!['id'], 'a1');
      const ids = db.prepare('select id from orders order by id').iterate();
      assert.deepEqual(ids.take(2).map((row) => row['id']).toArray(), ['a1', 'a2']); // prettier-ignore
      const store = db.createTagStore();
      assert.equal(store.get`select count(*) as n from orders where id <> ${'a1'}`?.['n'], 2);
      const bytes = session.changeset().byteLength;
      session.close();
      db.createSession();
      return bytes;
    });
    assert.ok(changes > 0);
    assert.deepEqual(orders(), ['a1', 'a2', 'a3']);
  });

  it('statements that the function kept are refused after it, and write nothing', async (t) => {
    const { runner, orders } = await open(t);
    const kept = await runner.transaction((db) => {
      const statement = db.prepare(insert);
      const store = db.createTagStore();
      const exec: unknown = Reflect.get(db, 'exec');
      assert.ok(typeof exec === 'function');
      return [
        () => statement.run('a'),
        () => statement.sourceSQL,
        () => Reflect.apply(exec, db, ["insert into orders (id) values ('b')"]) as unknown,
        () => store.run`insert into orders (id) values (${'c'})`,
        () => store.db.exec("insert into orders (id) values ('d')"),
      ];
    });
    for (const use of kept) assert.throws(use, { code: 'TRANSACTION_ENDED' });
    assert.deepEqual(orders(), []);
  });

  it('calls to the engine beside the function run after it', async (t) => {
    const { runner, orders } = await open(t);
    let listed: Promise<unknown> | undefined;
    let nested: Promise<unknown> | undefined;
    await runner.transaction((db) => {
      listed = runner.executions.list();
      nested = runner.transaction((again) => void again.prepare(insert).run('b'));
      db.prepare(insert).run('a');
    });
    await listed;
    await nested;
    assert.deepEqual(orders(), ['a', 'b']);
  });

  it('the function runs once, however long another process holds the database', async (t) => {
    const { url, runner, orders } = await open(t);
    const other = new DatabaseSync(url.slice('sqlite:'.length));
    t.after(() => other.close());
    other.exec('begin immediate');
    let runs = 0;
    const done = runner.transaction((db) => {
      runs++;
      db.prepare(insert).run('a');
    });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(runs, 0);
    other.exec('rollback');
    await done;
    assert.deepEqual([runs, orders()], [1, ['a']]);
  });

  it('a client that runs no tasks has it too', async (t) => {
    const { url, orders } = await open(t);
    await using client = await Client.open(url);
    const execution = await client.transaction((db, start) => {
      db.prepare(insert).run('a');
      return start(shipping, { id: 'a' });
    });
    assert.equal((await execution.result()).output, '1 of a');
    assert.deepEqual(orders(), ['a']);
  });

  it('a PostgreSQL runner refuses it and names the alternative', async (t) => {
    const server = await testPostgres();
    if (typeof server === 'string') {
      t.skip(server);
      return;
    }
    t.after(() => server.stop());
    await using client = await Client.open(`${server.url}?schema=not_sqlite_${process.pid}`);
    await assert.rejects(
      client.transaction(() => 1),
      { code: 'TRANSACTION_UNAVAILABLE', message: /\{ tx: client \}/ },
    );
  });
});
