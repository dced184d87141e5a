import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { CloacinaError, DatabaseFlushError } from '../../core/error.ts';
import type { DatabaseLostError } from '../../core/error.ts';
import { sqliteDialect } from '../dialect.ts';
import type { Dialect, Driver, Script, Statement, StatementResult } from '../script.ts';
import { Checkpoints } from './checkpoints.ts';
import { flushError, storeError } from './errors.ts';
import type { SqliteGuard } from './file-guard.ts';
import { LogFlush } from './log-flush.ts';
import type { Flush } from './log-flush.ts';
import { userTransaction } from './transaction-sync.ts';
import { untilFree } from './until-free.ts';

/**
 * One connection to a SQLite file. Every script runs to its end within one turn of the event loop; its commit is then
 * flushed to disk off the loop (see `LogFlush`).
 */
export class SqliteDriver implements Driver {
  readonly dialect: Dialect = sqliteDialect;
  readonly shared: boolean;
  /** Resolves if the database file is lost under this connection, or a flush failed; see SqliteGuard. */
  readonly lost: Promise<DatabaseLostError>;
  readonly #db: DatabaseSync;
  readonly #guard: SqliteGuard;
  readonly #where: string;
  readonly #patienceMs: number;
  readonly #prepared = new Map<string, Prepared>();
  readonly #dataVersion: StatementSync;
  /** None for a database in memory, nor on a file system without a write-ahead log, on which a commit flushes by itself. */
  #log: LogFlush | undefined;
  #checkpoints: Checkpoints | undefined;
  #seenVersion: unknown;
  #closed = false;
  #closing: Promise<void> | undefined;
  /** True while a user's function runs in a transaction. */
  #inTurn = false;

  constructor(db: DatabaseSync, guard: SqliteGuard, where: string, patienceMs: number) {
    this.#db = db;
    this.#guard = guard;
    this.#where = where;
    this.shared = where !== ':memory:';
    this.#patienceMs = patienceMs;
    this.#dataVersion = db.prepare('pragma data_version');
    this.lost = guard.lost.then(async (error) => {
      // the connection that closes last writes the log back; a disk that failed may never let the thread end
      const closed = this.#checkpoints?.close();
      if (!(error instanceof DatabaseFlushError)) await closed;
      return error;
    });
    this.changed();
  }

  /** From now on commits are flushed off the event loop. */
  flushLater(flush: Flush | undefined): void {
    const [database, ...besides] = this.#guard.files;
    const log = besides.find(({ path }) => path === `${database!.path}-wal`);
    if (log === undefined) return;
    this.#log = new LogFlush(log.path, flush);
    this.#db.exec('pragma synchronous = normal');
    this.#checkpoints = new Checkpoints(this.#db, this.#guard);
  }

  /** Reads of the engine itself, which shows nothing before its own next commit: they do not wait for a flush. */
  readonly ahead: Pick<Driver, 'read' | 'ask' | 'write'> = {
    read: (script) => this.#read(() => this.drive(script())),
    ask: (script) => this.#read(() => this.drive(script())),
    write: (script) => this.write(script),
  };

  async read<T>(script: () => Script<T>): Promise<T> {
    const log = this.#log;
    if (log === undefined) return this.#read(() => this.drive(script()));
    const { value, version } = await this.#read(() => ({ value: this.drive(script()), version: this.#version() }));
    try {
      await log.seen(version);
    } catch (error) {
      throw this.#notFlushed(error);
    }
    return value;
  }

  async ask<T>(script: () => Script<T>): Promise<T> {
    return this.read(script);
  }

  async #read<T>(look: () => T): Promise<T> {
    if (this.#inTurn) await this.#turnOver();
    return untilFree(() => this.#transaction('begin', look), this.#where, this.#patienceMs);
  }

  async write<T>(script: () => Script<T>): Promise<T> {
    if (this.#inTurn) await this.#turnOver();
    const change = (): T => this.transaction(() => this.drive(script()));
    const value = await untilFree(change, this.#where, this.#patienceMs);
    await this.flushed();
    return value;
  }

  /**
   * Runs a function as one transaction, synchronously; it is durable after `flushed`. Throws SQLite's own error if the
   * database is busy.
   */
  transaction<T>(change: () => T): T {
    return this.#transaction('begin immediate', change);
  }

  /** Resolves once the commit that was just made may be acknowledged. Throws DATABASE_REPLACED, DATABASE_FLUSH_FAILED. */
  async flushed(): Promise<void> {
    this.#checkpoints?.committed();
    try {
      await this.#log?.committed();
    } catch (error) {
      throw this.#notFlushed(error);
    }
    this.#guard.acknowledge();
  }

  #notFlushed(error: unknown): DatabaseLostError {
    return this.#guard.lose(flushError(this.#where, error));
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
    await this.flushed();
    return outcome.value;
  }

  #commit(): void {
    try {
      this.#db.exec('commit');
    } catch (error) {
      throw storeError(error, `the database ${this.#where} did not accept a transaction`, this.#where);
    }
  }

  /** Converts an error of our own statements in a user's transaction. */
  refusalOf(error: unknown): unknown {
    return storeError(error, `the database ${this.#where} did not accept a part of a transaction`, this.#where);
  }

  /** Requests of a user's function during its transaction run after it: the transaction ends with this turn. */
  async #turnOver(): Promise<void> {
    await Promise.resolve();
  }

  changed(): boolean {
    if (this.#closed) return false;
    try {
      this.#guard.look();
      const version = this.#version();
      const isNew = version !== this.#seenVersion;
      this.#seenVersion = version;
      return isNew;
    } catch {
      return true; // an unreadable file: the next access throws the reason
    }
  }

  /** A number that differs after other connections have committed. */
  #version(): unknown {
    return this.#dataVersion.get()?.['data_version'];
  }

  /** Every call resolves when all is closed. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    // they use the files that this connection keeps in place
    await Promise.all([this.#log?.close(), this.#checkpoints?.close()]);
    this.#guard.close();
  }

  #transaction<T>(begin: string, change: () => T): T {
    if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', `the database ${this.#where} was closed`);
    this.#guard.look();
    this.#prepare(begin).statement.run();
    try {
      const result = change();
      this.#prepare('commit').statement.run();
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
    const { statement, isQuery } = this.#prepare(text);
    if (bulk === undefined) {
      if (isQuery) return { rows: statement.all(...params), changes: 0 };
      return { rows: [], changes: Number(statement.run(...params).changes) };
    }
    const { columns, records } = bulk;
    const rows: StatementResult['rows'][number][] = [];
    let changes = 0;
    for (const record of records) {
      if (isQuery) rows.push(...statement.all(...columns.params(record)));
      else changes += Number(statement.run(...columns.params(record)).changes);
    }
    return { rows, changes };
  }

  /** A statement is prepared once; its parameters are written $1, $2, ... */
  #prepare(text: string): Prepared {
    let prepared = this.#prepared.get(text);
    if (prepared === undefined) {
      const statement = this.#db.prepare(text.replaceAll(/\$(\d+)/g, '?$1'));
      // asking a statement for its columns costs more than running most of them
      prepared = { statement, isQuery: statement.columns().length > 0 };
      this.#prepared.set(text, prepared);
    }
    return prepared;
  }
}

interface Prepared {
  readonly statement: StatementSync;
  readonly isQuery: boolean;
}
