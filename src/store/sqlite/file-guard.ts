import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { dirname } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { DatabaseReplacedError } from '../../core/error.ts';
import type { DatabaseLostError } from '../../core/error.ts';
import { processWide } from '../../core/process/process-wide.ts';

/** Minimum interval of checks, ms; each costs a few microseconds per file. */
const lookEveryMs = 5;

/** One of the open files of a connection. */
interface Part {
  readonly path: string;
  /** As of the last check that found the file in place. */
  seen: Stats;
}

/** A connection, as the other connections of this process see it. */
interface Known {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  /** Returns the reason if its files are lost while it may still have them open; undefined if they are in place. */
  broken(): Error | undefined;
}

/** A file at a path: by its device and inode, which a replaced file does not have. */
export type FileIdentity = Pick<Known, 'path' | 'dev' | 'ino'>;

/** True if the file is at its path. */
export function isInPlace({ path, dev, ino }: FileIdentity): boolean {
  const there = present(path);
  return there !== undefined && there !== null && there.ino === ino && there.dev === dev;
}

/** Every open connection, and those that could not be closed without damage. */
const connections = processWide('sqlite-connections.1', () => new Set<Known>());

/**
 * Refuses a file whose write-ahead log was taken from a connection of this process: SQLite would give a new connection
 * the index of the lost log. Throws DATABASE_REPLACED.
 */
export function checkReopening(path: string): void {
  const there = present(path);
  if (there === undefined || there === null) return;
  for (const known of connections) {
    if (known.ino !== there.ino || known.dev !== there.dev) continue;
    const error = known.broken();
    if (error !== undefined) throw error;
  }
}

/**
 * Ensures that the open files of a connection are still the ones at their paths. POSIX allows unlinking or replacing an
 * open file: `rm`, a restore, or another SQLite library of this process, whose close releases the locks of the whole
 * process. SQLite continues to write into the unlinked file, whose content is lost. Device and inode of an open file
 * never change, and SQLite itself removes its log only when the last connection closes, so another inode at the path is
 * a loss. Windows does not allow removing an open file, so the check finds nothing there.
 */
export class SqliteGuard {
  /** Resolves once the files are lost, with the error that every later call throws. */
  readonly lost: Promise<DatabaseLostError>;
  readonly #db: DatabaseSync;
  readonly #now: () => number;
  /** The database first; empty for one in memory. */
  readonly #parts: readonly Part[];
  readonly #known: Known | undefined;
  readonly #tell: (error: DatabaseLostError) => void;
  #error: DatabaseLostError | undefined;
  /** Epoch ms. */
  #seenAt: number;
  /** Monotonic, ms. */
  #lookedAt = 0;
  #acknowledged = 0;

  /**
   * The connection has read once: from then on its log exists while it is open. `opened`: the stats of the database
   * when it was opened.
   */
  constructor(db: DatabaseSync, now: () => number, opened: Stats | undefined) {
    this.#db = db;
    this.#now = now;
    this.#seenAt = now();
    const { promise, resolve } = Promise.withResolvers<DatabaseLostError>();
    this.lost = promise;
    this.#tell = resolve;
    // SQLite follows links when it opens a file, and its log is beside the target
    const path = db.location() ?? '';
    this.#parts = opened === undefined || path === '' ? [] : [{ path, seen: opened }, ...besides(path)];
    if (opened === undefined || path === '') return;
    this.#known = { path, dev: opened.dev, ino: opened.ino, broken: () => this.#broken() };
    connections.add(this.#known);
  }

  /** The database, its log and the index of that; empty in memory. Links were followed. */
  get files(): readonly FileIdentity[] {
    return this.#parts.map(({ path, seen: { dev, ino } }) => ({ path, dev, ino }));
  }

  /** Another connection of this process, in a thread, has the same files open until the returned function is called. */
  share(): () => void {
    const { path, dev, ino } = this.#known!;
    const other: Known = { path, dev, ino, broken: () => this.#error };
    connections.add(other);
    return () => void connections.delete(other);
  }

  /** Checks that the files are in place, at most once per interval unless `always`. Throws DATABASE_REPLACED. */
  look(always = false): void {
    if (this.#error !== undefined) throw this.#error;
    const now = performance.now();
    if (!always && now - this.#lookedAt < lookEveryMs) return;
    this.#lookedAt = now;
    this.#check(this.#parts);
  }

  /** Checks after a commit, before it is acknowledged. Throws DATABASE_REPLACED if the commit went into lost files. */
  acknowledge(): void {
    // the third file is the index of the log, which SQLite rebuilds from the log
    this.#check(this.#parts.slice(0, 2));
    this.#acknowledged++;
  }

  /** Closes the connection, unless the loss of its files already did or forbids it. */
  close(): void {
    if (this.#error !== undefined) return;
    this.#db.close();
    this.#forget();
  }

  #forget(): void {
    if (this.#known !== undefined) connections.delete(this.#known);
  }

  /** A connection that was closed nevertheless blocks no other one. */
  #broken(): Error | undefined {
    try {
      this.#check(this.#parts);
      return undefined;
    } catch {
      return this.#known !== undefined && connections.has(this.#known) ? this.#error : undefined;
    }
  }

  #check(parts: readonly Part[]): void {
    if (this.#error !== undefined) throw this.#error;
    const found = parts.map(({ path }) => present(path));
    for (const [place, there] of found.entries()) {
      const part = parts[place]!;
      if (there === undefined) continue;
      const isEmptied = there?.size === 0 && part.seen.size > 0 && part === this.#parts[0];
      if (there === null || !isSame(part.seen, there) || isEmptied) throw this.#replaced(part, there);
    }
    // only if all are in place: their last state decides whether the log may still be written back
    for (const [place, there] of found.entries()) parts[place]!.seen = there ?? parts[place]!.seen;
    this.#seenAt = this.#now();
  }

  /** Every later call throws the first error of these. The connection stays open until the process ends. */
  lose(error: DatabaseLostError): DatabaseLostError {
    if (this.#error === undefined) {
      this.#error = error;
      this.#tell(error);
    }
    return this.#error;
  }

  #replaced(part: Part, there: Stats | null): DatabaseLostError {
    const fate = this.#end(part);
    const database = this.#parts[0]!.path;
    const lastSeen = new Date(this.#seenAt).toISOString();
    const message =
      `the database ${database} was deleted, moved or replaced while it was open: ${whatHappened(part, there)}, ` +
      `after ${lastSeen}, when it was last seen in place. No change was acknowledged since; the ${this.#acknowledged} transactions ` +
      `that this connection acknowledged before ${fate}`;
    const detail = { database, file: part.path, acknowledged: this.#acknowledged, lastSeen };
    const error = this.lose(new DatabaseReplacedError(message, detail));
    // the log is written back by the last connection that closes
    for (const known of connections)
      if (known.ino === this.#known?.ino && known.dev === this.#known.dev) known.broken();
    return error;
  }

  /**
   * Closes the connection. Closing writes the log back into the database, which saves all acknowledged transactions,
   * provided that the database was not written since; otherwise it would put old pages over newer ones, and the
   * connection is left open until the process ends. SQLite itself writes nothing back into a database that is no longer
   * at its path. Returns the fate of the transactions as text.
   */
  #end(part: Part): string {
    const isDatabase = part === this.#parts[0];
    const [database, log] = this.#parts;
    if (!isDatabase && !(isUntouched(database!, false) && (log === undefined || isUntouched(log, true)))) {
      return 'may be missing from the database, because other processes have written to it since; end this process';
    }
    try {
      this.#db.close();
    } catch {
      return 'may be missing from the database; end this process';
    }
    this.#forget();
    return isDatabase ? 'are in the original file' : 'are written back when the last connection to it closes';
  }
}

/**
 * The log and its index; if the file system does not report them (or the database has none) they are not checked again.
 */
function besides(path: string): Part[] {
  const parts = [`${path}-wal`, `${path}-shm`].map((one) => ({ path: one, seen: present(one) }));
  return parts.flatMap(({ path: one, seen }) => (seen === undefined || seen === null ? [] : [{ path: one, seen }]));
}

/** Returns the stats at a path: null for no file; undefined if the system does not tell. */
function present(path: string): Stats | null | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch {
    return undefined;
  }
}

function isSame(one: Stats, other: Stats): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

/** Returns true if a file is unchanged since it was last seen, or with `orGone` if it does not exist. */
function isUntouched({ path, seen }: Part, orGone: boolean): boolean {
  const there = present(path);
  if (there === null) return orGone;
  return there !== undefined && isSame(seen, there) && seen.size === there.size && seen.mtimeMs === there.mtimeMs;
}

function whatHappened({ path }: Part, there: Stats | null): string {
  if (there !== null) return there.size === 0 ? `${path} was emptied or replaced` : `${path} is another file now`;
  const folder = dirname(path);
  return present(folder) === null ? `its folder ${folder} was deleted or moved` : `${path} was deleted or moved`;
}
