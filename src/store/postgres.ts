import { setTimeout } from 'node:timers/promises';
import type * as PgModule from 'pg';
import type { Pool, PoolClient, PoolConfig } from 'pg';
import { CloacinaError, StoreUnavailableError } from '../core/error.ts';
import { postgresDialect } from './dialect.ts';
import { OutcomeUnknownError } from './batch.ts';
import { isNewest, migrate } from './migrate.ts';
import { Notices } from './postgres-notices.ts';
import type { PostgresPlace } from './postgres-url.ts';
import type { Dialect, Driver, Script, SqlValue, StatementResult } from './sql.ts';

export interface PostgresOptions {
  /** How long a change may wait for the database before STORE_UNAVAILABLE; default 10 s. */
  readonly patienceMs?: number;
  /** Connections at most; default 10. */
  readonly connections?: number;
  /** Epoch ms; for the log of migrations. */
  readonly now?: () => number;
}

type TypeId = Parameters<typeof PgModule.types.getTypeParser>[0];

const retryMs = 50;
/** Migrations of one schema take turns by this advisory lock; the number has no meaning. */
const migrationLock = 7_120_260_113;

/** A pool of connections to a PostgreSQL database, in one schema. Every script is a transaction of its own. */
export class PostgresDriver implements Driver {
  readonly dialect: Dialect = postgresDialect;
  readonly shared = true;
  readonly #pool: Pool;
  readonly #place: PostgresPlace;
  readonly #patienceMs: number;
  readonly #notices: Notices;
  #closed = false;

  private constructor(pool: Pool, place: PostgresPlace, patienceMs: number) {
    this.#pool = pool;
    this.#place = place;
    this.#patienceMs = patienceMs;
    this.#notices = new Notices(pool, place);
  }

  /** Connects and migrates. Throws DATABASE_DRIVER_MISSING, DATABASE_TOO_NEW, STORE_UNAVAILABLE. */
  static async open(place: PostgresPlace, options: PostgresOptions = {}): Promise<PostgresDriver> {
    const pool = await makePool(place, options.connections ?? 10);
    const driver = new PostgresDriver(pool, place, options.patienceMs ?? 10_000);
    try {
      await driver.#prepare(options.now ?? Date.now);
      await driver.#notices.listen();
      return driver;
    } catch (error) {
      await driver.close();
      throw storeError(error, `the database ${place.shown} could not be opened`);
    }
  }

  async #prepare(now: () => number): Promise<void> {
    if (await this.#isNewest()) return; // no lock, no write
    const { schema } = this.#place;
    await this.#transaction('begin', async (client) => {
      await client.query('select pg_advisory_xact_lock($1)', [migrationLock]);
      if (schema !== null) await client.query(`create schema if not exists ${quoted(schema)}`);
      await this.#drive(client, migrate(now(), ''));
    });
  }

  async #isNewest(): Promise<boolean> {
    const { rows: tables } = await this.#pool.query<{ there: boolean }>(
      "select to_regclass('cloacina_migrations') is not null as there",
    );
    if (tables[0]?.there !== true) return false;
    const { rows } = await this.#pool.query<{ newest: number }>(
      'select coalesce(max(number), 0) as newest from cloacina_migrations',
    );
    return isNewest(rows[0]!.newest);
  }

  async read<T>(script: () => Script<T>): Promise<T> {
    return this.#untilDone('begin isolation level repeatable read read only', (client) =>
      this.#drive(client, script()),
    );
  }

  async write<T>(script: () => Script<T>): Promise<T> {
    const result = await this.#untilDone('begin', (client) => this.#drive(client, script()));
    this.#notices.tell();
    return result;
  }

  /** One attempt at a transaction, for whoever decides about repeating it. Throws the database's own errors. */
  async once<T>(act: (client: PoolClient) => Promise<T>): Promise<T> {
    const result = await this.#transaction('begin', act);
    this.#notices.tell();
    return result;
  }

  /** A statement that is a transaction of its own, prepared once a connection; its one row. */
  async statement<Row>(name: string, text: string, values: readonly unknown[]): Promise<Row> {
    if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', `the database ${this.#place.shown} was closed`);
    try {
      const { rows } = await this.#pool.query({ name, text, values: [...values] });
      this.#notices.tell();
      return rows[0] as Row;
    } catch (error) {
      // without a word of the database itself the connection broke: what it was doing may have been done
      if (sqlState(error) === undefined || isPassing(error)) throw unknownUnlessRefused(error);
      throw error;
    }
  }

  /** Runs a script within the transaction of a connection. */
  async drive<T>(client: PoolClient, script: Script<T>): Promise<T> {
    return this.#drive(client, script);
  }

  changed(): boolean {
    return !this.#closed && this.#notices.changed();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#notices.close();
    await this.#pool.end();
  }

  async #untilDone<T>(begin: string, act: (client: PoolClient) => Promise<T>): Promise<T> {
    const start = performance.now();
    for (;;) {
      try {
        return await this.#transaction(begin, act);
      } catch (error) {
        const gaveUp = performance.now() - start > this.#patienceMs;
        if (this.#closed || !isPassing(error) || gaveUp) {
          throw storeError(error, `the database ${this.#place.shown} refused what was asked of it`);
        }
      }
      await setTimeout(retryMs);
    }
  }

  async #transaction<T>(begin: string, act: (client: PoolClient) => Promise<T>): Promise<T> {
    if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', `the database ${this.#place.shown} was closed`);
    const client = await this.#pool.connect();
    let broken: Error | undefined;
    let committing = false;
    try {
      await client.query(begin);
      const result = await act(client);
      committing = true;
      await client.query('commit');
      return result;
    } catch (error) {
      try {
        await client.query('rollback');
      } catch (cause) {
        broken = cause instanceof Error ? cause : new Error(String(cause));
      }
      // with the connection went the answer; the database may have committed all the same
      if (committing && broken !== undefined)
        throw new OutcomeUnknownError('the answer to a commit is lost', { cause: error });
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async #drive<T>(client: PoolClient, script: Script<T>): Promise<T> {
    let step = script.next();
    while (step.done !== true) step = script.next(await execute(client, step.value.text, step.value.params));
    return step.value;
  }
}

async function execute(client: PoolClient, text: string, params: readonly SqlValue[]): Promise<StatementResult> {
  const { rows, rowCount, fields } = await client.query({ text, values: [...params] });
  const isQuery = fields.length > 0;
  return { rows: isQuery ? (rows as Record<string, SqlValue>[]) : [], changes: isQuery ? 0 : (rowCount ?? 0) };
}

/** `pg` is there for those who use PostgreSQL only. */
async function loadDriver(): Promise<typeof PgModule> {
  try {
    return await import('pg');
  } catch (cause) {
    const message = "a PostgreSQL database needs the package 'pg', which is not installed: npm install pg";
    throw new CloacinaError('DATABASE_DRIVER_MISSING', message, { cause });
  }
}

async function makePool(place: PostgresPlace, max: number): Promise<Pool> {
  const { Pool: Opened, types: known } = await loadDriver();
  // times in ms and counts are exact as a double
  const types: PoolConfig['types'] = {
    getTypeParser: ((oid: TypeId, format: 'text') =>
      numbers.has(oid) ? Number : known.getTypeParser(oid, format)) as typeof known.getTypeParser,
  };
  const search = place.schema === null ? {} : { options: `-c search_path=${quoted(place.schema)}` };
  const pool = new Opened({ ...place.config, ...search, max, types, allowExitOnIdle: true });
  // a connection that breaks while it is idle is replaced; whoever uses one is told by its query
  pool.on('error', () => undefined);
  return pool;
}

/** int8 and numeric. */
const numbers: ReadonlySet<number> = new Set([20, 1700]);

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function sqlState(error: unknown): string | undefined {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** Whether an error is about the data of a statement, and would come again (classes 22, 23, 54). */
export function isDataError(error: unknown): boolean {
  return /^(22|23|54)...$/.test(sqlState(error) ?? '');
}

/** Errors after which the same transaction may well succeed: a conflict with another, or a database that is away. */
function isPassing(error: unknown): boolean {
  if (error instanceof CloacinaError) return false;
  const state = sqlState(error);
  if (state === undefined) return error instanceof Error && /connection|terminated|timeout/i.test(error.message);
  return /^(40|53|57P|08|55P03|25006)/.test(state) || /^E[A-Z]+$/.test(state);
}

/** A connection that could not be made sent nothing; one that broke may have. */
function unknownUnlessRefused(error: unknown): unknown {
  const state = sqlState(error) ?? '';
  const sentNothing = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|53|57P03|40|55P03|25006)/.test(state);
  return sentNothing ? error : new OutcomeUnknownError('the answer to a commit is lost', { cause: error });
}

/** An error of PostgreSQL as one of ours: what happened, to which database. */
export function storeError(error: unknown, what: string): unknown {
  if (error instanceof CloacinaError) return error;
  const reason = error instanceof Error ? error.message || String(sqlState(error)) : String(error);
  if (sqlState(error) === '3D000' || sqlState(error) === '28P01' || sqlState(error) === '28000') {
    return new StoreUnavailableError(`${what}: ${reason}`, error);
  }
  return isPassing(error) ? new StoreUnavailableError(`${what}: ${reason}`, error) : error;
}
