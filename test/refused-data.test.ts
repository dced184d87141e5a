import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { Client as PostgresClient } from 'pg';
import { CloacinaError, Client, Runner, unchecked, workflow } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';

// A constraint of the database, unknown to the engine, stands for whatever a database refuses.

const flow = workflow('flow', { input: unchecked<{ n?: string }>() });
const done = flow.returns(flow.task('a', ({ input }) => input.n ?? 'nothing'));
const waiting = workflow('waiting');
const waited = waiting.returns(waiting.wait('w', { signal: 'go', schema: unchecked<string>(), timeout: '1h' }));
const writing = workflow('writing', { input: unchecked<{ n: string }>() });
let tries = 0;
const written = writing.returns(
  writing.task('a', { retry: { attempts: 3, delay: 1 } }, ({ input, transaction }) => {
    tries++;
    return transaction(() => `${input.n}on`);
  }),
);

const columns = [
  ['executions', 'input'],
  ['inbox_messages', 'payload'],
  ['schedules', 'input'],
  ['task_executions', 'output'],
] as const;

interface Place {
  readonly url: string;
  /** From now on the database refuses the word `poison`. */
  readonly refuse: () => Promise<void>;
}

function onSqlite(t: Cleanup): Place {
  const file = join(tempFolder(t), 'app.db');
  return {
    url: `sqlite:${file}`,
    refuse: async () => {
      const db = new DatabaseSync(file);
      for (const [table, column] of columns)
        for (const event of ['insert', 'update'])
          db.exec(`create trigger refuse_${event}_${table} before ${event} on ${table} when new.${column} like '%poison%'
            begin select raise(abort, 'no poison'); end`);
      db.close();
    },
  };
}

const server = await testPostgres();
if (typeof server !== 'string') after(() => server.stop());
let schemas = 0;

function onPostgres(base: string): Place {
  const schema = `refused_${process.pid}_${schemas++}`;
  return {
    url: `${base}?schema=${schema}`,
    refuse: async () => {
      const client = new PostgresClient({ connectionString: base, options: `-c search_path=${schema}` });
      await client.connect();
      for (const [table, column] of columns)
        await client.query(
          `alter table ${table} add constraint no_poison check (${column} is null or ${column} not like '%poison%')`,
        );
      await client.end();
    },
  };
}

/** The error says what the database said, and keeps its error. */
function isRefusal(error: unknown): boolean {
  assert.ok(error instanceof CloacinaError, String(error));
  assert.equal(error.code, 'STORE_REFUSED', error.stack);
  assert.match(error.message, /no[_ ]poison/);
  assert.match(String(error.cause), /no[_ ]poison/);
  return true;
}

for (const [database, open] of [
  ['SQLite', (t: Cleanup) => onSqlite(t)],
  ['PostgreSQL', () => (typeof server === 'string' ? null : onPostgres(server.url))],
] as const) {
  const skip = database === 'PostgreSQL' && typeof server === 'string' ? server : false;
  describe(
    `durability.md, A commit that cannot succeed is not repeated: what the database refuses is STORE_REFUSED from every verb, on ${database}`,
    { skip },
    () => {
      const poison = { n: 'poison' };

      async function place(t: Cleanup): Promise<{ readonly runner: Runner; readonly client: Client }> {
        const { url, refuse } = open(t)!;
        const logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
        const runner = await Runner.open(url, { workflows: [done, waited, written], logger });
        release(t, () => runner.close({ drain: 0 }));
        const client = await Client.open(url, { logger });
        release(t, () => client.close());
        await refuse();
        return { runner, client };
      }

      it('starts of runners and clients', async (t) => {
        const { runner, client } = await place(t);
        for (const by of [runner, client]) {
          await assert.rejects(by.start(done, poison), isRefusal);
          await assert.rejects(by.start(done, poison, { idempotencyKey: 'k' }), isRefusal);
          await assert.rejects(by.start(done, poison, { startAt: '1h' }), isRefusal);
          await assert.rejects(by.startMany(done, [{}, poison]), isRefusal);
          await assert.rejects(by.execute(done, poison), isRefusal);
        }
        assert.equal(await runner.execute(done, {}).then(({ output }) => output), 'nothing', 'the others go on');
        assert.equal((await runner.executions.list()).items.length, 1);
      });

      it('signals and schedules', async (t) => {
        const { runner, client } = await place(t);
        const { id } = await runner.start(waited);
        for (const by of [runner, client]) {
          await assert.rejects(by.signal(id, 'go', 'poison'), isRefusal);
          const schedule = { workflow: 'flow', every: '1h', input: poison } as const;
          await assert.rejects(by.schedules.add('tick', schedule), isRefusal);
        }
        await client.signal(id, 'go', 'fine');
        assert.equal((await client.handle(id).result()).output, 'fine');
      });

      it('the end of a transaction of a task, which is not tried again', async (t) => {
        const { runner } = await place(t);
        tries = 0;
        const outcome = await (await runner.start(written, { n: 'pois' })).outcome();
        assert.ok(outcome.status === 'failed' && outcome.error !== null);
        assert.deepEqual([outcome.error.code, tries], ['STORE_REFUSED', 1]);
        assert.match(outcome.error.message, /no[_ ]poison/);
      });
    },
  );
}

describe('durability.md, A commit that cannot succeed is not repeated: what SQLite refuses in runner.transaction', () => {
  it('a start in it is STORE_REFUSED, and an error of the function itself keeps its form', async (t) => {
    const { url, refuse } = onSqlite(t);
    const runner = await Runner.open(url, { workflows: [done] });
    release(t, () => runner.close({ drain: 0 }));
    await refuse();
    await assert.rejects(
      runner.transaction((_, start) => start(done, { n: 'poison' })),
      isRefusal,
    );
    await assert.rejects(
      runner.transaction((db) => db.exec('insert into nothing values (1)')),
      { code: 'ERR_SQLITE_ERROR' },
    );
  });
});
