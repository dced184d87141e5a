import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { CloacinaError } from '../../core/error.ts';
import { isNewest, migrate, schemaNumber, tablesAfter } from '../migrations/migrate.ts';
import type { Migration } from '../migrations/migrate.ts';
import { all, first } from '../script.ts';
import type { Script } from '../script.ts';
import { SqliteDriver } from './driver.ts';
import { openError } from './errors.ts';
import { SqliteGuard, checkReopening } from './file-guard.ts';
import { createPrivately, makeFolder, privateFolder } from './folder.ts';
import type { Flush } from './log-flush.ts';
import { untilFree } from './until-free.ts';

export interface SqliteOptions {
  /** Maximum wait of a change for the database before STORE_UNAVAILABLE; default 10 s. */
  readonly patienceMs?: number;
  /** Epoch ms; for the log of migrations. */
  readonly now?: () => number;
  /** Default: all migrations. */
  readonly migrations?: readonly Migration[];
  /** Flushes the log of the database; default `fdatasync`. */
  readonly flush?: Flush;
}

/** Opens and migrates a database file, or one in memory (`:memory:`). Throws DATABASE_* errors that name the file. */
export async function openSqlite(path: string, options: SqliteOptions = {}): Promise<SqliteDriver> {
  const where = path === ':memory:' ? path : resolve(path);
  const patienceMs = options.patienceMs ?? 10_000;
  try {
    if (path !== ':memory:') {
      makeFolder(dirname(where), privateFolder);
      checkReopening(where);
    }
    // its log and the index of that have the mode of the database
    const protect = path === ':memory:' ? undefined : createPrivately(where);
    const db = new DatabaseSync(where, { timeout: 0 });
    protect?.();
    const opened = path === ':memory:' ? undefined : statSync(where, { throwIfNoEntry: false });
    return await configured(db, opened, where, patienceMs, options);
  } catch (error) {
    throw openError(error, where);
  }
}

async function configured(
  db: DatabaseSync,
  opened: Stats | undefined,
  where: string,
  patienceMs: number,
  { now = Date.now, migrations, flush }: SqliteOptions,
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
    driver.flushLater(flush);
    return driver;
  } catch (error) {
    if (guard === undefined) db.close();
    else guard.close();
    throw error;
  }
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
