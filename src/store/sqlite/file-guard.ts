import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { dirname } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { DatabaseReplacedError } from '../../core/error.ts';
import { processWide } from '../../core/process-wide.ts';

/** A look right after another tells nothing new; each costs a few microseconds per file. */
const lookEveryMs = 5;

/** One of the files that a connection has open. */
interface Part {
  readonly path: string;
  /** As of the last look that found the file in its place. */
  seen: Stats;
}

/** A connection, as the other connections of this process need to know it. */
interface Known {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  /** Gives why its files are lost although it may still have them open; undefined where they are in place. */
  broken(): Error | undefined;
}

/** Every open connection, and those that could not be closed without damage. */
const connections = processWide('sqlite-connections.1', () => new Set<Known>());

/**
 * Refuses a file whose write-ahead log was taken from a connection of this process: SQLite would give a new connection the
 * index of the log that is gone. Throws DATABASE_REPLACED.
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
 * Sees to it that the files which a connection has open are the ones that others find. POSIX lets anyone unlink or replace
 * an open file: `rm`, a restore, or another SQLite library of this process, whose close takes the locks of the whole process
 * with it. SQLite goes on writing into the unlinked file, where nobody will ever read it. Device and inode of an open
 * file stay with it, and SQLite itself removes its log only when the last connection closes, so another inode at the path
 * is a loss. Windows does not let an open file be removed: nothing is ever found there.
 */
export class SqliteGuard {
  /** Resolves once the files are lost, with the error that every call gives from then on. */
  readonly lost: Promise<DatabaseReplacedError>;
  readonly #db: DatabaseSync;
  readonly #now: () => number;
  /** The database first; none where it is in memory. */
  readonly #parts: readonly Part[];
  readonly #known: Known | undefined;
  readonly #tell: (error: DatabaseReplacedError) => void;
  #error: DatabaseReplacedError | undefined;
  /** Epoch ms. */
  #seenAt: number;
  /** Monotonic, ms. */
  #lookedAt = 0;
  #acknowledged = 0;

  /** The connection has read once: its log exists from then on, as long as it is open. `opened`: the database, as it was opened. */
  constructor(db: DatabaseSync, now: () => number, opened: Stats | undefined) {
    this.#db = db;
    this.#now = now;
    this.#seenAt = now();
    const { promise, resolve } = Promise.withResolvers<DatabaseReplacedError>();
    this.lost = promise;
    this.#tell = resolve;
    // SQLite follows links when it opens a file, and its log lies beside the target
    const path = db.location() ?? '';
    this.#parts = opened === undefined || path === '' ? [] : [{ path, seen: opened }, ...besides(path)];
    if (opened === undefined || path === '') return;
    this.#known = { path, dev: opened.dev, ino: opened.ino, broken: () => this.#broken() };
    connections.add(this.#known);
  }

  /** Looks whether the files are in their place, unless it did a moment ago. Throws DATABASE_REPLACED. */
  look(): void {
    if (this.#error !== undefined) throw this.#error;
    const now = performance.now();
    if (now - this.#lookedAt < lookEveryMs) return;
    this.#lookedAt = now;
    this.#check(this.#parts);
  }

  /** Looks after a commit, before anyone is told of it. Throws DATABASE_REPLACED: then it went into files that are gone. */
  acknowledge(): void {
    // the third file is the index of the log, which SQLite builds anew from the log
    this.#check(this.#parts.slice(0, 2));
    this.#acknowledged++;
  }

  /** Closes the connection, unless the loss of its files did or forbids it. */
  close(): void {
    if (this.#error !== undefined) return;
    this.#db.close();
    this.#forget();
  }

  #forget(): void {
    if (this.#known !== undefined) connections.delete(this.#known);
  }

  /** A connection that was closed all the same stands in nobody's way. */
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
      if (there === null || !isSame(part.seen, there) || isEmptied) throw this.#lose(part, there);
    }
    // only where all are in place: what they looked like last decides whether the log may still be written back
    for (const [place, there] of found.entries()) parts[place]!.seen = there ?? parts[place]!.seen;
    this.#seenAt = this.#now();
  }

  /** From now on every call throws this error. */
  #lose(part: Part, there: Stats | null): DatabaseReplacedError {
    const fate = this.#end(part);
    const database = this.#parts[0]!.path;
    const lastSeen = new Date(this.#seenAt).toISOString();
    const message =
      `the database ${database} was deleted, moved or replaced while it was open: ${whatHappened(part, there)}, ` +
      `after ${lastSeen}, when it was last seen in place. No change was acknowledged since; the ${this.#acknowledged} transactions ` +
      `that this connection acknowledged before ${fate}`;
    this.#error = new DatabaseReplacedError(message, {
      database,
      file: part.path,
      acknowledged: this.#acknowledged,
      lastSeen,
    });
    this.#tell(this.#error);
    // the log is written back by the last connection that closes
    for (const known of connections)
      if (known.ino === this.#known?.ino && known.dev === this.#known.dev) known.broken();
    return this.#error;
  }

  /**
   * Closes the connection. Closing writes the log back into the database, which saves all that was acknowledged, provided that nobody
   * has written since; else it would put old pages over newer ones, and the connection is left open until the process ends.
   * SQLite itself writes nothing back into a database that is not at its path any more. Gives what became of the transactions.
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

/** The log and its index; a file system that says nothing of them (or a database without them) is not asked again. */
function besides(path: string): Part[] {
  const parts = [`${path}-wal`, `${path}-shm`].map((one) => ({ path: one, seen: present(one) }));
  return parts.flatMap(({ path: one, seen }) => (seen === undefined || seen === null ? [] : [{ path: one, seen }]));
}

/** What is at a path: null for nothing; undefined where the system does not say. */
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

/** Whether nobody has written to a file since it was last seen, or `orGone` it is not there. */
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
