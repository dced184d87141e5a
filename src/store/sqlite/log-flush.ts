import { closeSync, fdatasync, openSync } from 'node:fs';

/** Flushes a file to disk. Default: `fdatasync` in the thread pool of Node. */
export type Flush = (fd: number) => Promise<void>;

/**
 * Flushes the write-ahead log of a connection off the event loop. With `synchronous=NORMAL` a commit writes its frames to
 * the log and returns; SQLite itself flushes the log only before a checkpoint. A commit is acknowledged after a flush that
 * began after it. One flush serves all commits before it, also those of other connections and processes, because their
 * frames are in the same file.
 *
 * The descriptor is our own. SQLite sets no locks on the log, so closing it releases none.
 */
export class LogFlush {
  readonly #fd: number;
  readonly #flush: Flush;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** Own commits: made, before the flush under way began, and on disk. */
  #commits = 0;
  #sentCommits = 0;
  #flushedCommits = 0;
  /** The `data_version` of the connection at the last read whose content is known to be on disk. */
  #flushedVersion: unknown;

  constructor(path: string, flush: Flush = flushFile) {
    this.#fd = openSync(path, 'r+');
    this.#flush = flush;
  }

  /** Resolves once the commit that was just made is on disk. Rejects with the system's error, then and ever after. */
  committed(): Promise<void> {
    this.#commits++;
    return this.#newest();
  }

  /**
   * Resolves once everything that a read saw is on disk: own commits, and those of other connections up to this
   * `data_version`. Rejects as `committed`.
   */
  async seen(version: unknown): Promise<void> {
    if (this.#flushedVersion === version) {
      if (this.#flushedCommits === this.#commits) return;
      if (this.#sentCommits === this.#commits) return this.#running;
    }
    await this.#newest();
    this.#flushedVersion = version;
  }

  /** A flush that begins from now on; calls that come while one is under way share the next. */
  #newest(): Promise<void> {
    if (this.#running === undefined) return this.#start();
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.#start();
    });
    return this.#next;
  }

  #start(): Promise<void> {
    this.#running = this.#flushAll();
    return this.#running;
  }

  async #flushAll(): Promise<void> {
    const commits = this.#commits;
    this.#sentCommits = commits;
    await this.#flush(this.#fd);
    // not after a failure: the system may have dropped pages, and a later flush would succeed without them
    this.#running = undefined;
    this.#flushedCommits = commits;
  }

  /** Closes the descriptor after the flush under way. */
  async close(): Promise<void> {
    await (this.#next ?? this.#running)?.catch(() => undefined);
    // Node releases the request of a flush after its callback, in which this may be
    await new Promise<void>((resolve) => setImmediate(resolve));
    closeSync(this.#fd);
  }
}

function flushFile(fd: number): Promise<void> {
  return new Promise((resolve, reject) =>
    fdatasync(fd, (error) => {
      if (error === null) resolve();
      else reject(error);
    }),
  );
}
