import { accessSync, constants, existsSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { StatementSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { CloacinaError, StoreUnavailableError } from '../../core/error.ts';
import type { DatabaseReplacedError } from '../../core/error.ts';
import { sqliteDialect } from '../dialect.ts';
import { makeFolder } from './folder.ts';
import { isNewest, migrate, schemaNumber, tablesAfter } from '../migrations/migrate.ts';
import type { Migration } from '../migrations/migrate.ts';
import { all, first } from '../script.ts';
import type { Dialect, Driver, Script, Statement, StatementResult } from '../script.ts';
import { SqliteGuard, checkReopening } from './file-guard.ts';
import { userTransaction } from './transaction-sync.ts';

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html), from the low byte of the extended code. */
const code = { busy: 5, locked: 6, readonly: 8, ioError: 10, corrupt: 11, full: 13, cantOpen: 14, notADatabase: 26 };

/**
 * Retry interval of a change that waits for its turn, ms. A busy timeout inside SQLite would block the event loop
 * instead.
 */
const busyDelayMs = 3;

export interface SqliteOptions {
  /** Maximum wait of a change for the database before STORE_UNAVAILABLE; default 10 s. */
  readonly patienceMs?: number;
  /** Epoch ms; for the log of migrations. */
  readonly now?: () => number;
  /** Default: all migrations. */
  readonly migrations?: readonly Migration[];
}

/** One connection to a SQLite file. Every script runs to its end within one turn of the event loop. */
export class SqliteDriver implements Driver {
  readonly dialect: Dialect = sqliteDialect;
  readonly shared: boolean;
  readonly #db: DatabaseSync;
  readonly #guard: SqliteGuard;
  readonly #where: string;
  readonly #patienceMs: number;
  readonly #prepared = new Map<string, StatementSync>();
  readonly #queries = new WeakMap<StatementSync, boolean>();
  readonly #dataVersion: StatementSync;
  #seenVersion: unknown;
  #closed = false;
  /** True while a user's function runs in a transaction. */
  #inTurn = false;

  private constructor(db: DatabaseSync, guard: SqliteGuard, where: string, patienceMs: number) {
    this.#db = db;
    this.#guard = guard;
    this.#where = where;
    this.shared = where !== ':memory:';
    this.#patienceMs = patienceMs;
    this.#dataVersion = db.prepare('pragma data_version');
    this.changed();
  }

  /** Opens and migrates a database file, or one in memory (`:memory:`). Throws DATABASE_* errors that name the file. */
  static async open(path: string, options: SqliteOptions = {}): Promise<SqliteDriver> {
    const where = path === ':memory:' ? path : resolve(path);
    const patienceMs = options.patienceMs ?? 10_000;
    try {
      if (path !== ':memory:') {
        makeFolder(dirname(where));
        checkReopening(where);
      }
      const db = new DatabaseSync(where, { timeout: 0 });
      const opened = path === ':memory:' ? undefined : statSync(where, { throwIfNoEntry: false });
      return await SqliteDriver.#prepare(db, opened, where, patienceMs, options);
    } catch (error) {
      throw openError(error, where);
    }
  }

  static async #prepare(
    db: DatabaseSync,
    opened: Stats | undefined,
    where: string,
    patienceMs: number,
    { now = Date.now, migrations }: SqliteOptions,
  ): Promise<SqliteDriver> {
    let guard: SqliteGuard | undefined;
    try {
      // the switch to WAL briefly needs exclusive access; other processes may open the file at the same time. The first
      // read of a table creates its log
      const begin = 'pragma journal_mode = wal; select count(*) from sqlite_master';
      await untilFree(() => db.exec(begin), where, patienceMs);
      db.exec(
        'pragma synchronous = full; pragma foreign_keys = on; pragma cache_size = -65536; pragma temp_store = memory',
      );
      guard = new SqliteGuard(db, now, opened);
      const driver = new SqliteDriver(db, guard, where, patienceMs);
      // a read first: a reader does not wait for writers
      if (!(await driver.read(() => isPrepared(migrations)))) {
        await driver.write(function* () {
          yield* refuseForeign(where);
          yield* migrate(now(), 'without rowid', migrations);
        });
      }
      return driver;
    } catch (error) {
      if (guard === undefined) db.close();
      else guard.close();
      throw error;
    }
  }

  async read<T>(script: () => Script<T>): Promise<T> {
    if (this.#inTurn) await this.#turnOver();
    return untilFree(() => this.#transaction('begin', () => this.drive(script())), this.#where, this.#patienceMs);
  }

  async ask<T>(script: () => Script<T>): Promise<T> {
    return this.read(script);
  }

  async write<T>(script: () => Script<T>): Promise<T> {
    if (this.#inTurn) await this.#turnOver();
    return untilFree(() => this.writeNow(() => this.drive(script())), this.#where, this.#patienceMs);
  }

  /** Runs a function as one durable transaction, synchronously. Throws SQLite's own error if the database is busy. */
  writeNow<T>(change: () => T): T {
    const result = this.#transaction('begin immediate', change);
    this.#guard.acknowledge();
    return result;
  }

  /** Resolves if the database file is lost under this connection; see SqliteGuard. */
  get lost(): Promise<DatabaseReplacedError> {
    return this.#guard.lost;
  }

  /**
   * Runs a user's function as one durable transaction, once the database is free; if it throws, nothing is written and
   * the error is rethrown. Throws TRANSACTION_ASYNC, TRANSACTION_ENDED, STORE_UNAVAILABLE.
   */
  async transactionSync<T>(act: (db: DatabaseSync) => T): Promise<T> {
    if (this.#inTurn) await this.#turnOver();
    const attempt = (): { readonly value: T } | { readonly error: unknown } => {
      if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', `the database ${this.#where} was closed`);
      this.#guard.look();
      this.#db.exec('begin immediate');
      // no retries from here on: the function runs once
      this.#inTurn = true;
      try {
        const value = userTransaction(this.#db, act);
        this.#commit();
        return { value };
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec('rollback');
        return { error };
      } finally {
        this.#inTurn = false;
      }
    };
    const outcome = await untilFree(attempt, this.#where, this.#patienceMs);
    if ('error' in outcome) throw outcome.error;
    this.#guard.acknowledge();
    return outcome.value;
  }

  #commit(): void {
    try {
      this.#db.exec('commit');
    } catch (error) {
      throw storeError(error, `the database ${this.#where} did not accept a transaction`, this.#where);
    }
  }

  /** Requests of a user's function during its transaction run after it: the transaction ends with this turn. */
  async #turnOver(): Promise<void> {
    await Promise.resolve();
  }

  /** Returns a cached prepared statement; its parameters are written $1, $2, ... */
  prepare(text: string): StatementSync {
    let statement = this.#prepared.get(text);
    if (statement === undefined) {
      statement = this.#db.prepare(text.replaceAll(/\$(\d+)/g, '?$1'));
      this.#prepared.set(text, statement);
    }
    return statement;
  }

  changed(): boolean {
    if (this.#closed) return false;
    try {
      this.#guard.look();
      const version = this.#dataVersion.get()?.['data_version'];
      const changed = version !== this.#seenVersion;
      this.#seenVersion = version;
      return changed;
    } catch {
      return true; // an unreadable file: the next access throws the reason
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#guard.close();
  }

  #transaction<T>(begin: string, change: () => T): T {
    if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', `the database ${this.#where} was closed`);
    this.#guard.look();
    this.#db.exec(begin);
    try {
      const result = change();
      this.#db.exec('commit');
      return result;
    } catch (error) {
      // a failed commit (disk full) leaves the transaction open; a failed statement may have ended it already
      if (this.#db.isTransaction) this.#db.exec('rollback');
      throw error;
    }
  }

  /** Runs a script within the open transaction. */
  drive<T>(script: Script<T>): T {
    let step = script.next();
    while (step.done !== true) {
      step = script.next(this.#execute(step.value));
    }
    return step.value;
  }

  #execute({ text, params, rows: bulk }: Statement): StatementResult {
    const statement = this.prepare(text);
    // asking a statement for its columns costs more than running most of them
    let isQuery = this.#queries.get(statement);
    if (isQuery === undefined) {
      isQuery = statement.columns().length > 0;
      this.#queries.set(statement, isQuery);
    }
    const list = bulk === undefined ? [params] : bulk.records.map((record) => bulk.columns.params(record));
    if (isQuery) return { rows: list.flatMap((values) => statement.all(...values)), changes: 0 };
    let changes = 0;
    for (const values of list) changes += Number(statement.run(...values).changes);
    return { rows: [], changes };
  }
}

/** True if another connection holds the database at the moment. */
export function isBusy(error: unknown): boolean {
  const primary = primaryCode(error);
  return primary === code.busy || primary === code.locked;
}

/**
 * True for errors about the data of a statement, which would recur: SQLite refuses it (too large, a broken constraint),
 * or it cannot be bound, which is an error of the process and no answer of SQLite.
 */
export function isDataError(error: unknown): boolean {
  const primary = primaryCode(error);
  if (primary === undefined) {
    const name: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
    return error instanceof RangeError || error instanceof TypeError || name === 'ERR_STRING_TOO_LONG';
  }
  return primary === 18 || primary === 19 || primary === 20 || primary === 25;
}

function primaryCode(error: unknown): number | undefined {
  const extended: unknown = error instanceof Error ? Reflect.get(error, 'errcode') : undefined;
  return typeof extended === 'number' ? extended & 0xff : undefined;
}

/** Returns true if nothing is left to migrate. Throws DATABASE_TOO_NEW. */
function* isPrepared(migrations?: readonly Migration[]): Script<boolean> {
  return (yield* hasMigrations()) && (yield* isNewest(migrations));
}

function* hasMigrations(): Script<boolean> {
  const log = yield* first("select 1 from sqlite_master where type = 'table' and name = 'cloacina_migrations'");
  return log !== undefined;
}

/** A file may contain foreign tables beside ours, but none of the same name. Throws DATABASE_INVALID. */
function* refuseForeign(where: string): Script<void> {
  const ours = new Set(tablesAfter((yield* hasMigrations()) ? yield* schemaNumber() : 0));
  const there = yield* all<{ name: string }>("select name from sqlite_master where type in ('table', 'view')");
  const foreign = there.find(({ name }) => ours.has(name.toLowerCase()));
  if (foreign === undefined) return;
  const what = `${where} has a table '${foreign.name}' of another program, and Cloacina needs that name`;
  throw new CloacinaError('DATABASE_INVALID', `${what}; use a separate file`);
}

/**
 * Converts a SQLite error to one of Cloacina's, with the operation and the file. `where`: the path of a database being
 * opened.
 */
export function storeError(error: unknown, what: string, where?: string): unknown {
  const primary = primaryCode(error);
  if (primary === undefined || error instanceof CloacinaError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (primary === code.corrupt || primary === code.notADatabase) {
    return new CloacinaError('DATABASE_INVALID', `${what}: ${reason}`, { cause: error });
  }
  if (primary === code.readonly || (primary === code.cantOpen && where !== undefined && isReadOnly(where))) {
    return new CloacinaError('DATABASE_READ_ONLY', `${what}: ${reason}`, { cause: error });
  }
  return new StoreUnavailableError(`${what}: ${reason}`, error);
}

function openError(error: unknown, where: string): unknown {
  if (error instanceof CloacinaError) return error;
  const primary = primaryCode(error);
  if (primary === code.notADatabase || primary === code.corrupt) {
    return new CloacinaError('DATABASE_INVALID', `${where} is not a SQLite database, or it is damaged`, {
      cause: error,
    });
  }
  const reason = error instanceof Error ? error.message : String(error);
  if (primary === code.readonly || isReadOnlyDisk(error) || (primary === code.cantOpen && isReadOnly(where))) {
    return new CloacinaError('DATABASE_READ_ONLY', `the database ${where} cannot be written: ${reason}`, {
      cause: error,
    });
  }
  return new StoreUnavailableError(`the database ${where} could not be opened: ${reason}`, error);
}

/**
 * Returns true if a database that cannot be opened is read-only. SQLite creates files beside it, and reports no reason
 * if it cannot.
 */
function isReadOnly(where: string): boolean {
  try {
    accessSync(dirname(where), constants.W_OK);
    return false;
  } catch (error) {
    return isReadOnlyDisk(error) || existsSync(where);
  }
}

function isReadOnlyDisk(error: unknown): boolean {
  return error instanceof Error && Reflect.get(error, 'code') === 'EROFS';
}

async function untilFree<T>(attempt: () => T, where: string, patienceMs: number): Promise<T> {
  const start = performance.now();
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error)) throw storeError(error, `a request to the database ${where} failed`, where);
      if (performance.now() - start > patienceMs) {
        throw new StoreUnavailableError(
          `the database ${where} was locked by another process for ${patienceMs} ms`,
          error,
        );
      }
    }
    await setTimeout(busyDelayMs);
  }
}
