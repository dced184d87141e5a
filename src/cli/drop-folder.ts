import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloacinaError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import { errorTable } from '../core/error-table.ts';
import type { Registered } from '../package/registry/registry.ts';
import { coded } from './failure.ts';
import { readBytes } from './arguments.ts';

const defaultLookMs = 500;
const ending = '.cloacina';

export interface DropFolderOptions {
  readonly register: (bytes: Uint8Array) => Promise<Registered>;
  readonly onRegistered: (file: string, registered: Registered) => void;
  /** A file that is no package, or whose version exists with other bytes; it is retried once it changes. */
  readonly onRefused: (file: string, error: CloacinaError) => void;
  /**
   * The database or the file is unavailable; the file is retried at every check. Called once for each file and code.
   */
  readonly onDelayed: (file: string, error: CloacinaError) => void;
  /** The folder cannot be read; it is retried. Called once for each outage. */
  readonly onLost: (error: CloacinaError) => void;
  readonly onFound: () => void;
  readonly signal: AbortSignal;
  /** Interval of checks; default 500 ms. */
  readonly lookMs?: number;
}

/**
 * Registers the existing and the new package files of a folder until the signal aborts. A file is read once its size
 * and time were the same at two checks: it may still be copied. The folder is polled, which works on every kind of disk
 * and survives a temporary absence of the folder.
 */
export async function watchDropFolder(dir: string, options: DropFolderOptions): Promise<void> {
  const folder = new DropFolder(dir, options);
  const { signal, lookMs = defaultLookMs } = options;
  while (!signal.aborted) {
    await folder.look();
    await sleep(lookMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Throws FILE_UNREADABLE if there is no such folder. */
export async function checkDropFolder(dir: string): Promise<void> {
  await stamps(dir);
}

class DropFolder {
  readonly #dir: string;
  readonly #options: DropFolderOptions;
  /** Size and time of each file when it was registered or refused. */
  readonly #done = new Map<string, string>();
  readonly #delayed = new Map<string, ErrorCode>();
  #before: ReadonlyMap<string, string> = new Map();
  #isLost = false;

  constructor(dir: string, options: DropFolderOptions) {
    this.#dir = dir;
    this.#options = options;
  }

  async look(): Promise<void> {
    const now = await this.#stamps();
    for (const [file, stamp] of now) {
      if (this.#options.signal.aborted) return;
      if (this.#before.get(file) !== stamp || this.#done.get(file) === stamp) continue;
      if (await this.#take(file)) this.#done.set(file, stamp);
    }
    this.#before = now;
  }

  async #stamps(): Promise<ReadonlyMap<string, string>> {
    try {
      const found = await stamps(this.#dir);
      if (this.#isLost) this.#options.onFound();
      this.#isLost = false;
      return found;
    } catch (error) {
      if (!this.#isLost) this.#options.onLost(coded(error));
      this.#isLost = true;
      return new Map();
    }
  }

  /** Returns true if the file in its present state needs no further attempt. */
  async #take(file: string): Promise<boolean> {
    const { register, onRegistered, onRefused, onDelayed } = this.#options;
    const path = join(this.#dir, file);
    try {
      const registered = await register(await readBytes(path));
      this.#delayed.delete(file);
      onRegistered(path, registered);
      return true;
    } catch (thrown) {
      const error = coded(thrown);
      if (!mayPass(error)) {
        this.#delayed.delete(file);
        onRefused(path, error);
        return true;
      }
      if (this.#delayed.get(file) !== error.code) onDelayed(path, error);
      this.#delayed.set(file, error.code);
      return false;
    }
  }
}

/** Returns true for errors outside the file, after which the same file may be registered later. */
function mayPass({ code }: CloacinaError): boolean {
  return errorTable[code].exit === 6 || code === 'CONFLICT' || code === 'FILE_UNREADABLE';
}

/** Returns the size and time of each package file. */
async function stamps(dir: string): Promise<Map<string, string>> {
  const names = await readdir(dir).catch((cause: unknown) => {
    throw new CloacinaError('FILE_UNREADABLE', `the folder ${resolve(dir)} cannot be read`, { cause });
  });
  const found = new Map<string, string>();
  for (const name of names.toSorted()) {
    if (!name.endsWith(ending)) continue;
    const file = await stat(join(dir, name)).catch(() => undefined); // removed since it was listed
    if (file?.isFile() === true) found.set(name, `${file.size} ${file.mtimeMs}`);
  }
  return found;
}
