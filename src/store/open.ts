import { resolve } from 'node:path';
import { StoreRefusedError } from '../core/error.ts';
import type { Migration } from './migrations/migrate.ts';
import { postgresPlace } from './postgres/url.ts';
import type { Driver } from './script.ts';
import { isRefusedData } from './refused-data.ts';
import { SqliteCommit } from './sqlite/commit.ts';
import { openSqlite } from './sqlite/open-file.ts';
import { isBusy, storeError } from './sqlite/errors.ts';
import type { Flush } from './sqlite/log-flush.ts';
import { sqliteTransactions } from './sqlite/transactions.ts';
import { sqlitePath } from './sqlite/url.ts';
import { BusyError } from './store.ts';
import type { Connection, Scripts, Store } from './store.ts';
import { RefusedBatchError } from './transition.ts';
import type { Batch, CommitResult } from './transition.ts';
import { verbsOn } from './verbs.ts';
import type { Scripted } from './verbs.ts';

export interface StoreOptions {
  /** Epoch ms; default the system's clock. */
  readonly now?: () => number;
  /** The time that a change may wait for a busy database before STORE_UNAVAILABLE; default 10 s. */
  readonly patienceMs?: number;
  /** The time for an answer of a server, after which its connection counts as dead; default 10 s, below every lease. */
  readonly deadlineMs?: number;
  /** Default: all migrations. */
  readonly migrations?: readonly Migration[];
  /** Flushes the log of a SQLite database; default `fdatasync`. */
  readonly flush?: Flush;
}

/**
 * Opens a database by its URL and brings it to the newest schema: `sqlite:./path/to/file.db`, `sqlite::memory:`, `postgres://host/database`.
 * Throws DATABASE_URL_INVALID, DATABASE_INVALID, DATABASE_READ_ONLY, DATABASE_TOO_NEW, DATABASE_REPLACED, STORE_UNAVAILABLE.
 */
export async function openStore(url: string, options: StoreOptions = {}): Promise<Store> {
  if (/^postgres(ql)?:/.test(url)) return openPostgres(url, options);
  const driver = await openSqlite(sqlitePath(url), options);
  const now = options.now ?? Date.now;
  const commits = new SqliteCommit(driver, now);
  return {
    ...storeOn(driver, now),
    // this process does the work of a commit itself: a second one would only wait
    commitLanes: 1,
    commit: (batch) => commitOnSqlite(commits, batch),
    ...sqliteTransactions(driver),
    lost: driver.lost,
  };
}

/** Loads the PostgreSQL driver only for a URL that needs it. */
async function openPostgres(url: string, options: StoreOptions): Promise<Store> {
  const [
    { PostgresDriver },
    { PostgresCommit },
    { createSurely },
    { postgresLease },
    { callerStarts },
    { postgresTasks },
  ] = await Promise.all([
    import('./postgres/driver.ts'),
    import('./postgres/commit/commit.ts'),
    import('./postgres/create-executions.ts'),
    import('./postgres/lease/lease-keeper.ts'),
    import('./postgres/caller-start.ts'),
    import('./postgres/task-transaction.ts'),
  ]);
  const place = postgresPlace(url);
  const driver = await PostgresDriver.open(place, options);
  const now = options.now ?? Date.now;
  const group = new PostgresCommit(driver, now);
  return {
    ...storeOn(driver, now),
    commitLanes: 2,
    commit: (batch) => group.commit(batch),
    createExecutions: (creates) => createSurely(driver, creates),
    ...postgresLease(driver, place),
    ...callerStarts(driver),
    ...postgresTasks(driver),
  };
}

/**
 * The place of a database, as messages show it: the file of SQLite, the URL of a server without user and password. Throws
 * DATABASE_URL_INVALID.
 */
export function databasePlace(url: string): string {
  if (/^postgres(ql)?:/.test(url)) return postgresPlace(url).shown;
  const path = sqlitePath(url);
  return path === ':memory:' ? path : resolve(path);
}

async function commitOnSqlite(commits: SqliteCommit, batch: Batch): Promise<CommitResult> {
  try {
    return await commits.commit(batch);
  } catch (error) {
    if (isBusy(error)) throw new BusyError('the database is held by another process', { cause: error });
    throw storeError(error, 'the database refused a commit');
  }
}

/** The parts of a store that every driver has in the same way. */
function storeOn(driver: Driver, now: () => number): Scripted & Scripts & Connection {
  const { runs, ...scripted } = verbsOn(driver, now);
  return {
    ...scripted,
    writeHelped: async (runner, list) => {
      try {
        return await scripted.writeHelped(runner, list);
      } catch (error) {
        if (!isRefusedData(error)) throw error;
        throw new RefusedBatchError(error instanceof StoreRefusedError ? error.cause : error);
      }
    },
    read: (script) => runs.read(script),
    ask: (script) => runs.ask(script),
    // such a script may change the registry or schedules
    write: (script) => runs.write(script, () => 'all'),
    shared: driver.shared,
    changed: () => driver.changed(),
    ...(driver.subscribe === undefined ? {} : { subscribe: driver.subscribe.bind(driver) }),
    close: () => driver.close(),
  };
}
