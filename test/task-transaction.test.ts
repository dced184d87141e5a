import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client as PgClient, Pool } from 'pg';
import type { PoolClient } from 'pg';
import { Runner, workflow } from '../src/index.ts';
import type { AnyWorkflow, Ctx, RunnerOptions } from '../src/index.ts';
import { tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { CommitProxy } from './transaction/commit-proxy.ts';

const server = await testPostgres();
after(() => (typeof server === 'string' ? undefined : server.stop()));

/** A database with a table for the test. */
interface Place {
  readonly url: string;
  /** Writes a row within a transaction of a task, synchronously or asynchronously. */
  readonly write: (tx: unknown, name: string) => Promise<unknown> | undefined;
  readonly rows: () => Promise<readonly string[]>;
  /** A statement on the test's own connection. */
  readonly ask: (text: string) => Promise<readonly Record<string, unknown>[]>;
}

type Open = (t: Cleanup) => Promise<Place>;

async function onSqlite(t: Cleanup): Promise<Place> {
  const file = join(tempFolder(t), 'app.db');
  const db = new DatabaseSync(file);
  t.after(() => db.close());
  db.exec('pragma journal_mode = wal; pragma busy_timeout = 5000; create table done (name text not null)');
  const ask = (text: string): Promise<Record<string, unknown>[]> => Promise.resolve(db.prepare(text).all());
  return {
    url: `sqlite:${file}`,
    write: (tx, name) => {
      (tx as DatabaseSync).prepare('insert into done (name) values (?)').run(name);
      return undefined;
    },
    rows: async () => (await ask('select name from done order by name')).map((row) => String(row['name'])),
    ask,
  };
}

let schemas = 0;

interface PostgresPlace extends Place {
  readonly connect: () => Promise<PgClient>;
  /** Open gates that are released at the end of a test. */
  readonly goOn: PromiseWithResolvers<void>;
  /** Resolves with the process id when the end of a task waits for a lock. */
  readonly untilBlocked: () => Promise<number>;
  readonly untilGone: (pid: number) => Promise<void>;
  /** Resolves when no session is idle within a transaction. */
  readonly untilNobodyIsIdle: () => Promise<void>;
}

async function onPostgres(t: Cleanup): Promise<PostgresPlace> {
  const { url } = server as { readonly url: string };
  const schema = `tasks_${process.pid}_${schemas++}`;
  const config = { connectionString: url, options: `-c search_path=${schema}` };
  const pool = new Pool(config);
  pool.on('error', () => undefined); // of the end of the server
  t.after(() => pool.end());
  await pool.query(`create schema ${schema}; create table ${schema}.done (name text not null)`);
  const ask = async (text: string): Promise<Record<string, unknown>[]> => (await pool.query(text)).rows;
  const until = async (text: string): Promise<Record<string, unknown>> => {
    for (;;) {
      const [row] = await ask(text);
      if (row !== undefined) return row;
      await setTimeout(5);
    }
  };
  const blocked = `select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%"${schema}".task_executions set status = %'`;
  const idle = `select 1 where not exists (select 1 from pg_stat_activity where state = 'idle in transaction' and query like '%${schema}.done%')`;
  return {
    url: `${url}?schema=${schema}`,
    write: (tx, name) => (tx as PoolClient).query(`insert into ${schema}.done (name) values ($1)`, [name]),
    rows: async () => (await ask('select name from done order by name')).map((row) => String(row['name'])),
    ask,
    connect: async () => {
      const client = new PgClient(config);
      client.on('error', () => undefined);
      await client.connect();
      return client;
    },
    goOn: Promise.withResolvers<void>(),
    untilBlocked: async () => Number((await until(blocked))['pid']),
    untilGone: async (pid) =>
      void (await until(`select 1 where not exists (select 1 from pg_stat_activity where pid = ${pid})`)),
    untilNobodyIsIdle: async () => void (await until(idle)),
  };
}

async function open(
  t: Cleanup,
  url: string,
  workflows: readonly AnyWorkflow[],
  options: RunnerOptions = {},
): Promise<{ readonly runner: Runner; readonly warned: readonly string[] }> {
  const warned: string[] = [];
  const nothing = (): void => undefined;
  const warn = (_: object, message: string): void => void warned.push(message);
  const logger = { debug: nothing, info: nothing, warn, error: warn };
  const runner = await Runner.open(url, { workflows, logger, ...options });
  t.after(() => runner.close({ drain: 0 }));
  return { runner, warned };
}

const quick = { delay: 1 };

/** The transaction of a task that writes a row and returns a value, or a promise of it on an asynchronous database. */
function writing<T>(ctx: Ctx<unknown>, { write }: Place, name: string, give: () => T | Promise<T>): Promise<T> {
  return ctx.transaction<unknown>((tx) => {
    const written = write(tx, name);
    return written === undefined ? give() : written.then(give);
  }) as Promise<T>;
}

function suite(kind: string, openPlace: Open, skip: string | null): void {
  describe(`durability.md, The caller’s transaction: ctx.transaction on ${kind}`, { skip: skip ?? false }, () => {
    it('the writes and the completion of a task commit together, and the return value is its output', async (t) => {
      const place = await openPlace(t);
      const pay = workflow('pay');
      const charge = pay.task('charge', (ctx) => writing(ctx, place, 'charged', () => ({ paid: 7 })));
      const receipt = pay.task('receipt', { needs: { charge } }, ({ needs }) => `paid ${needs.charge.paid}`);
      const paying = pay.returns(receipt);
      const { runner } = await open(t, place.url, [paying]);
      const { output, outputs, executionId } = await runner.execute(paying);
      assert.equal(output, 'paid 7');
      assert.deepEqual(outputs['charge'], { paid: 7 });
      assert.deepEqual(await place.rows(), ['charged']);
      const events = await runner.executions.events(executionId);
      assert.deepEqual(
        events.map(({ seq, type, task }) => [seq, type, task]),
        [
          [1, 'execution.created', null],
          [2, 'task.started', 'charge'],
          [3, 'task.completed', 'charge'],
          [4, 'task.completed', 'receipt'],
          [5, 'execution.completed', null],
        ],
      );
      const { tasks } = await runner.executions.get(executionId);
      assert.deepEqual(
        tasks.map(({ name, status, attempt }) => [name, status, attempt]),
        [
          ['charge', 'completed', 1],
          ['receipt', 'completed', 1],
        ],
      );
    });

    it('the writes of an attempt that throws are rolled back, and the task retries', async (t) => {
      const place = await openPlace(t);
      const pay = workflow('pay');
      const charge = pay.task('charge', { retry: quick }, (ctx) =>
        writing(ctx, place, `attempt ${ctx.attempt}`, () => {
          if (ctx.attempt === 1) throw new Error('no');
          return 'yes';
        }),
      );
      const paying = pay.returns(charge);
      const { runner } = await open(t, place.url, [paying]);
      assert.equal((await runner.execute(paying)).output, 'yes');
      assert.deepEqual(await place.rows(), ['attempt 2']);
    });

    it('every task and every map item commits its transaction once', async (t) => {
      const place = await openPlace(t);
      const wide = workflow('wide');
      const once = (ctx: Ctx<unknown>, name: string): Promise<string> => writing(ctx, place, name, () => name);
      const singles = Array.from({ length: 12 }, (_, i) => wide.task(`single${i}`, (ctx) => once(ctx, `s${i}`)));
      const items = wide.map('items', { over: () => Array.from({ length: 40 }, (_, i) => i) }, (ctx) =>
        once(ctx, `m${ctx.item}`),
      );
      const sum = wide.task('sum', { needs: { items, last: singles[11]! } }, ({ needs }) => needs.items.length);
      const adding = wide.returns(sum);
      const { runner } = await open(t, place.url, [adding]);
      const { output, executionId } = await runner.execute(adding);
      assert.equal(output, 40);
      const expected = [...singles.map((_, i) => `s${i}`), ...Array.from({ length: 40 }, (_, i) => `m${i}`)];
      assert.deepEqual(await place.rows(), expected.toSorted());
      const events = await runner.executions.events(executionId);
      assert.deepEqual(
        events.map(({ seq }) => seq),
        events.map((_, i) => i + 1),
        'gapless',
      );
      const ends = events.filter(({ type }) => type === 'task.completed').map(({ task, item }) => `${task} ${item}`);
      assert.equal(new Set(ends).size, ends.length, 'no task ended twice');
      assert.equal(ends.length, 12 + 40 + 2);
    });

    it('an attempt has one transaction; one that was rolled back does not count', async (t) => {
      const place = await openPlace(t);
      const pay = workflow('pay');
      const second = Promise.withResolvers<string>();
      const charge = pay.task('charge', async (ctx) => {
        const undone = writing(ctx, place, 'undone', () => {
          throw new Error('undone');
        });
        await assert.rejects(undone, /undone/);
        const output = await writing(ctx, place, 'first', () => 'first');
        await writing(ctx, place, 'second', () => 'second').then(second.resolve, second.reject);
        return output;
      });
      const paying = pay.returns(charge);
      const { runner } = await open(t, place.url, [paying]);
      const refused = assert.rejects(second.promise, { code: 'TRANSACTION_ENDED' });
      assert.equal((await runner.execute(paying)).output, 'first');
      await refused;
      assert.deepEqual(await place.rows(), ['first']);
    });

    it('the transaction ends the task: a later throw or return value changes nothing', async (t) => {
      const place = await openPlace(t);
      const pay = workflow('pay');
      const thrown = pay.task('thrown', async (ctx): Promise<string> => {
        await writing(ctx, place, 'thrown', () => 'thrown');
        throw new Error('too late');
      });
      const other = pay.task('other', async (ctx) => {
        await writing(ctx, place, 'other', () => 'other');
        return 'something else';
      });
      const both = pay.task('both', { needs: { thrown, other } }, ({ needs }) => [needs.thrown, needs.other]);
      const paying = pay.returns(both);
      const { runner, warned } = await open(t, place.url, [paying]);
      assert.deepEqual((await runner.execute(paying)).output, ['thrown', 'other']);
      assert.deepEqual(await place.rows(), ['other', 'thrown']);
      assert.equal(warned.filter((message) => /after its transaction/.test(message)).length, 2);
    });

    it('an output that is not JSON rolls back the writes', async (t) => {
      const place = await openPlace(t);
      const pay = workflow('pay');
      const charge = pay.task('charge', (ctx) => writing(ctx, place, 'bad', () => 1n as unknown as string));
      const paying = pay.returns(charge);
      const { runner } = await open(t, place.url, [paying]);
      await assert.rejects(runner.execute(paying), { message: /output of charge/ });
      assert.deepEqual(await place.rows(), []);
    });

    for (const [what, statement] of [
      ['that was declared dead', 'update runners set dead = 1'],
      ['whose execution is owned by another', `update executions set owner = 'another', epoch = epoch + 1`],
    ] as const) {
      it(`a runner ${what} writes nothing, and the next owner writes once`, async (t) => {
        const place = await openPlace(t);
        const pay = workflow('pay');
        let begun = 0;
        const charge = pay.task('charge', async (ctx) => {
          const time = ++begun;
          if (time === 1) {
            // the journal has no further write that would detect it
            const started = `select 1 from task_executions where status = 'running'`;
            while ((await place.ask(started)).length === 0) await setTimeout(1);
            await place.ask(statement);
          }
          return writing(ctx, place, `time ${time}`, () => 'ok');
        });
        const paying = pay.returns(charge);
        const { runner } = await open(t, place.url, [paying], { grace: 0, lease: '1s' });
        assert.equal((await runner.execute(paying)).output, 'ok');
        assert.deepEqual(await place.rows(), ['time 2']);
      });
    }

    it('only the function of a task has a transaction', async (t) => {
      const place = await openPlace(t);
      const pay = workflow('pay');
      const refused = Promise.withResolvers<unknown>();
      const when = (ctx: Ctx<unknown>): boolean => {
        ctx.transaction(() => 1).then(refused.resolve, refused.reject);
        return true;
      };
      const asked = pay.task('asked', { when }, () => 1);
      const paying = pay.returns(asked);
      const { runner } = await open(t, place.url, [paying]);
      const outcome = assert.rejects(refused.promise, /only in the function of a task/);
      await runner.execute(paying);
      await outcome;
    });
  });
}

suite('SQLite', onSqlite, null);
suite('PostgreSQL', onPostgres, typeof server === 'string' ? server : null);

describe('durability.md, ctx.transaction on SQLite', () => {
  it('a function that returns a promise is refused without another attempt', async (t) => {
    const place = await onSqlite(t);
    const pay = workflow('pay');
    let attempts = 0;
    const charge = pay.task('charge', { retry: quick }, (ctx) =>
      ctx.transaction(async (tx) => {
        attempts++;
        await place.write(tx, 'slow');
        return 1;
      }),
    );
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying]);
    const outcome = await (await runner.start(paying)).outcome();
    assert.equal(outcome.status === 'failed' && outcome.error?.code, 'TRANSACTION_ASYNC');
    assert.deepEqual([attempts, await place.rows()], [1, []]);
  });
});

const skip = typeof server === 'string' ? server : false;

describe('durability.md, ctx.transaction on PostgreSQL: an attempt that is cut in its transaction', { skip }, () => {
  const never = (): Promise<never> => new Promise(() => undefined);

  it('a cancel leaves neither rows nor a connection', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    const inside = Promise.withResolvers<void>();
    const charge = pay.task('charge', (ctx) =>
      writing(ctx, place, 'cancelled', () => {
        inside.resolve();
        return never();
      }),
    );
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying], { grace: 10 });
    const execution = await runner.start(paying);
    await inside.promise;
    await runner.cancel(execution.id);
    assert.equal((await execution.outcome()).status, 'cancelled');
    await place.untilNobodyIsIdle();
    assert.deepEqual(await place.rows(), []);
    await runner.close();
  });

  it('a timeout leaves no rows, and the next attempt writes', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    const charge = pay.task('charge', { retry: quick, timeout: 200 }, (ctx) =>
      writing(ctx, place, `attempt ${ctx.attempt}`, () => (ctx.attempt === 1 ? never() : 'ok')),
    );
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying], { grace: 10 });
    assert.equal((await runner.execute(paying)).output, 'ok');
    assert.deepEqual(await place.rows(), ['attempt 2']);
  });

  it('a task function that returns before its transaction ends leaves no rows', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    const lost = Promise.withResolvers<unknown>();
    const charge = pay.task('charge', async (ctx) => {
      const inside = Promise.withResolvers<void>();
      const forgotten = writing(ctx, place, 'forgotten', () => {
        inside.resolve();
        return never();
      });
      forgotten.then(lost.resolve, lost.reject);
      await inside.promise;
      return 'without it';
    });
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying]);
    const rejected = assert.rejects(lost.promise, /ended before its transaction/);
    assert.equal((await runner.execute(paying)).output, 'without it');
    await rejected;
    assert.deepEqual(await place.rows(), []);
  });

  it('an idle transaction is cut before the lease ends, and the next attempt writes', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    const charge = pay.task('charge', { retry: quick }, (ctx) =>
      writing(ctx, place, `attempt ${ctx.attempt}`, async () => {
        if (ctx.attempt === 1) await setTimeout(2500);
        return 'ok';
      }),
    );
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying], { lease: '3s' });
    assert.equal((await runner.execute(paying)).output, 'ok');
    assert.deepEqual(await place.rows(), ['attempt 2']);
  });
});

describe('durability.md, ctx.transaction on PostgreSQL: from the fence to the outcome', { skip }, () => {
  /** One task whose end waits at the fence because its row is locked; the test adds the rest of its workflow. */
  interface Fenced {
    readonly place: PostgresPlace;
    readonly pid: number;
    readonly unlock: () => Promise<unknown>;
  }

  async function fence(t: Cleanup, place: PostgresPlace, id: string, item = -1): Promise<Fenced> {
    const client = await place.connect();
    t.after(() => client.end());
    const runs = `select 1 from task_executions where execution_id = $1 and task = 'charge' and item = $2 and status = 'running'`;
    // once its start is durable, the journal does not touch this row until its end
    while ((await client.query(runs, [id, item])).rowCount === 0) await setTimeout(5);
    await client.query('begin');
    await client.query(`${runs} for update`, [id, item]);
    place.goOn.resolve();
    return { place, pid: await place.untilBlocked(), unlock: () => client.query('rollback') };
  }

  it('a failure elsewhere (failFast) does not overwrite a task whose commit is under way', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay', { failFast: true });
    const fail = Promise.withResolvers<never>();
    const entered = Promise.withResolvers<void>();
    pay.task('charge', (ctx) =>
      writing(ctx, place, 'charged', async () => {
        entered.resolve();
        await place.goOn.promise;
        return 'ok';
      }),
    );
    pay.task('other', { retry: { attempts: 2, when: () => false } }, () => fail.promise);
    const { runner } = await open(t, place.url, [pay]);
    const execution = await runner.start(pay);
    await entered.promise;
    const { unlock } = await fence(t, place, execution.id);
    fail.reject(new Error('other failed'));
    await setTimeout(50);
    await unlock();
    const outcome = await execution.outcome();
    assert.equal(outcome.status, 'failed');
    assert.deepEqual(await place.rows(), ['charged']);
    const { tasks } = await runner.executions.get(execution.id);
    assert.equal(tasks.find(({ name }) => name === 'charge')?.status, 'completed');
  });

  it('a task whose commit is rolled back ends as the failure elsewhere says', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay', { failFast: true });
    const fail = Promise.withResolvers<never>();
    const entered = Promise.withResolvers<void>();
    pay.map('charge', { over: () => ['a', 'b'], concurrency: 1 }, (ctx) =>
      writing(ctx, place, 'charged', async () => {
        entered.resolve();
        await place.goOn.promise;
        return 'ok';
      }),
    );
    pay.task('other', { retry: { attempts: 2, when: () => false } }, () => fail.promise);
    const { runner } = await open(t, place.url, [pay]);
    const execution = await runner.start(pay);
    await entered.promise;
    const { pid, unlock } = await fence(t, place, execution.id, 0);
    fail.reject(new Error('other failed'));
    await setTimeout(50);
    await place.ask(`select pg_terminate_backend(${pid})`);
    await place.untilGone(pid);
    await unlock();
    assert.equal((await execution.outcome()).status, 'failed');
    assert.deepEqual(await place.rows(), []);
    const { tasks } = await runner.executions.get(execution.id);
    assert.equal(tasks.find(({ name }) => name === 'charge')?.status, 'cancelled');
  });

  it('a timeout does not count if the transaction commits', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    const entered = Promise.withResolvers<void>();
    const charge = pay.task('charge', { retry: quick, timeout: 1500 }, (ctx) =>
      writing(ctx, place, `attempt ${ctx.attempt}`, async () => {
        entered.resolve();
        await place.goOn.promise;
        return 'ok';
      }),
    );
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying], { grace: 10 });
    const execution = await runner.start(paying);
    await entered.promise;
    const { unlock } = await fence(t, place, execution.id);
    await setTimeout(1800);
    await unlock();
    assert.equal((await execution.result()).output, 'ok');
    assert.deepEqual(await place.rows(), ['attempt 1']);
  });

  it('a timeout counts if the transaction does not commit', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    const entered = Promise.withResolvers<void>();
    const charge = pay.task('charge', { retry: quick, timeout: 1500 }, (ctx) =>
      writing(ctx, place, `attempt ${ctx.attempt}`, async () => {
        entered.resolve();
        await place.goOn.promise;
        return 'ok';
      }),
    );
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying], { grace: 10 });
    const execution = await runner.start(paying);
    await entered.promise;
    const { pid, unlock } = await fence(t, place, execution.id);
    await setTimeout(1800);
    await place.ask(`select pg_terminate_backend(${pid})`);
    await place.untilGone(pid);
    await unlock();
    assert.equal((await execution.result()).output, 'ok');
    assert.deepEqual(await place.rows(), ['attempt 2']);
    const events = await runner.executions.events(execution.id);
    assert.equal(events.filter(({ type }) => type === 'task.timed_out').length, 1);
  });

  for (const [fate, rows] of [
    ['unanswered', ['attempt 1']],
    ['unsent', ['attempt 2']],
  ] as const) {
    it(`a commit whose answer is lost is looked up: one that went ${fate} is written once`, async (t) => {
      const place = await onPostgres(t);
      const proxy = await CommitProxy.open(place.url);
      t.after(() => proxy.close());
      proxy.fates.push(fate);
      const pay = workflow('pay');
      const charge = pay.task('charge', { retry: quick }, (ctx) =>
        writing(ctx, place, `attempt ${ctx.attempt}`, () => ctx.attempt),
      );
      const paying = pay.returns(charge);
      const through = new URL(place.url);
      through.port = String(proxy.port);
      const { runner } = await open(t, through.href, [paying]);
      const { executionId } = await runner.execute(paying);
      assert.deepEqual(await place.rows(), rows);
      assert.deepEqual(proxy.fates, []);
      const events = await runner.executions.events(executionId);
      assert.equal(events.filter(({ type }) => type === 'task.completed').length, 1);
      await runner.close();
    });
  }
});

describe('durability.md, ctx.transaction on PostgreSQL: limits of the function', { skip }, () => {
  it('a function that ends the transaction itself fails its task without another attempt', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    const ends = (name: string, end: (tx: PoolClient) => unknown): void => {
      pay.task(name, { retry: quick }, (ctx) =>
        ctx.transaction(async (tx: PoolClient) => {
          await place.write(tx, `${name} ${ctx.attempt}`);
          await end(tx);
          return 1;
        }),
      );
    };
    ends('commits', (tx) => tx.query('commit'));
    ends('begins', (tx) => tx.query('commit; begin'));
    ends('releases', (tx) => tx.release());
    const { runner } = await open(t, place.url, [pay]);
    const execution = await runner.start(pay);
    await execution.outcome();
    const { tasks } = await runner.executions.get(execution.id);
    const errorCodes = Object.fromEntries(tasks.map(({ name, error }) => [name, error?.code]));
    const ended = 'TRANSACTION_ENDED';
    assert.deepEqual(errorCodes, { commits: ended, begins: ended, releases: ended });
    assert.deepEqual(await place.rows(), ['begins 1', 'commits 1'], 'rows of its own commit are kept');
  });

  it('a function cannot use the client after its end', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    let client: PoolClient | undefined;
    const keep = pay.task('keep', (ctx) => ctx.transaction((tx: PoolClient) => void (client = tx)));
    const keeping = pay.returns(keep);
    const { runner } = await open(t, place.url, [keeping]);
    await runner.execute(keeping);
    assert.throws(() => client!.query('select 1'), { code: 'TRANSACTION_ENDED' });
  });

  it('a function can start executions and reads values as pg returns them', async (t) => {
    const place = await onPostgres(t);
    const next = workflow('next');
    next.task('only', () => 1);
    const pay = workflow('pay');
    const box: { runner?: Runner } = {};
    const charge = pay.task('charge', { retry: quick }, (ctx) =>
      ctx.transaction(async (tx: PoolClient) => {
        const { id } = await box.runner!.start(next, {}, { tx, tags: { attempt: String(ctx.attempt) } });
        if (ctx.attempt === 1) throw new Error('no');
        const { rows } = await tx.query<{ big: string }>('select 9007199254740993::int8 as big');
        return { id, big: rows[0]!.big };
      }),
    );
    const paying = pay.returns(charge);
    const { runner } = await open(t, place.url, [paying, next]);
    box.runner = runner;
    const { output } = await runner.execute(paying);
    assert.equal(output.big, '9007199254740993');
    await runner.handle(output.id).result();
    assert.deepEqual((await runner.executions.list({ tags: { attempt: '1' } })).items, []);
  });

  it('a function can wait because the engine has connections of its own', async (t) => {
    const place = await onPostgres(t);
    const pay = workflow('pay');
    let inside = 0;
    const full = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const items = pay.map('items', { over: () => Array.from({ length: 25 }, (_, i) => i) }, (ctx) =>
      writing(ctx, place, String(ctx.item), async () => {
        if (++inside === 10) full.resolve();
        await goOn.promise;
        return ctx.item;
      }),
    );
    const paying = pay.returns(items);
    const plain = workflow('plain');
    plain.task('only', () => 1);
    const { runner } = await open(t, place.url, [paying, plain]);
    const execution = await runner.start(paying);
    await full.promise;
    await runner.execute(plain);
    goOn.resolve();
    assert.equal((await execution.result()).output.length, 25);
    assert.equal((await place.rows()).length, 25);
  });
});
