import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';
import { ownFile } from '../../own-files.ts';
import type { SqliteGuard } from './file-guard.ts';

/** Frames of the log, of one page each, that are copied into the database at once: as SQLite's own checkpoints. */
const checkpointFrames = 1000;
/** Minimum interval between two looks at the log, ms. */
const lookEveryMs = 20;
/**
 * Frames at which a commit copies them itself, as a bound of the log if the thread cannot keep up. 64 MiB with pages of
 * 4 KiB.
 */
const boundFrames = 16_384;
/** `pragma wal_checkpoint(noop)`, which only tells the length of the log, exists since this version of SQLite (3.51). */
const firstWithNoop = 3051;

/**
 * Copies the log of a connection into its database from a thread: a checkpoint writes many pages and flushes two files,
 * which takes up to 200 ms on a disk with few operations a second, and SQLite runs it within the commit that makes the log
 * too long. The thread starts with the first checkpoint, so a short process has none. Without `noop`, or where the process
 * may not start threads, SQLite makes the checkpoints.
 */
export class Checkpoints {
  readonly #db: DatabaseSync;
  readonly #guard: SqliteGuard;
  readonly #noop: StatementSync | undefined;
  #thread: Worker | undefined;
  #lookedAt = 0;
  /** The thread has not answered yet. */
  #running = false;
  readonly #ended = Promise.withResolvers<void>();
  #isOff = false;

  constructor(db: DatabaseSync, guard: SqliteGuard) {
    this.#db = db;
    this.#guard = guard;
    if (versionOf(db) < firstWithNoop) return;
    this.#noop = db.prepare('pragma wal_checkpoint(noop)');
    this.#setBound(boundFrames);
  }

  /** The frames at which a commit makes the checkpoint itself. */
  #setBound(frames: number): void {
    this.#db.exec(`pragma wal_autocheckpoint = ${frames}`);
  }

  /** Looks at the log after a commit, at most once per interval. Never throws: the commit is made. */
  committed(): void {
    if (this.#noop === undefined || this.#isOff || this.#running || !this.#db.isOpen) return;
    const now = performance.now();
    if (now - this.#lookedAt < lookEveryMs) return;
    this.#lookedAt = now;
    try {
      const { log, checkpointed } = this.#noop.get() as { log: number; checkpointed: number };
      if (log - checkpointed < checkpointFrames) return;
      this.#thread ??= this.#start();
      this.#running = true;
      this.#thread.postMessage('checkpoint', []);
    } catch {
      // such as a process whose permissions exclude threads; an error of the files meets the next commit
      this.#off();
    }
  }

  #start(): Worker {
    const thread = new Worker(ownFile('store/sqlite/checkpoint-thread'), {
      workerData: this.#guard.files,
      name: 'cloacina-checkpoint',
      stdin: false,
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    });
    const release = this.#guard.share();
    thread.unref();
    thread.on('message', () => this.#answered());
    thread.on('error', () => this.#off());
    thread.on('exit', () => {
      release();
      this.#off();
      this.#ended.resolve();
    });
    return thread;
  }

  #answered(): void {
    this.#running = false;
    try {
      // the guard takes a database that was written since its last look for one that others wrote to
      this.#guard.look(true);
    } catch {
      // the files are lost: `lost` says so, and every later call
    }
  }

  /** From now on SQLite makes the checkpoints. */
  #off(): void {
    this.#isOff = true;
    this.#running = false;
    if (this.#db.isOpen) this.#setBound(checkpointFrames);
  }

  /** Ends the thread after its checkpoint, and closes its connection. */
  async close(): Promise<void> {
    this.#isOff = true;
    if (this.#thread === undefined) return;
    this.#thread.ref();
    this.#thread.postMessage('close', []);
    await this.#ended.promise;
  }
}

/** The version of SQLite, such as 3051 for 3.51. */
function versionOf(db: DatabaseSync): number {
  const { version } = db.prepare('select sqlite_version() as version').get() as { version: string };
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major * 1000 + minor;
}
