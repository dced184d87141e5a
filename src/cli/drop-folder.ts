import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloacinaError } from '../core/error.ts';
import type { Registered } from '../package/registry.ts';
import { readBytes } from './given.ts';

const lookMs = 500;
const ending = '.cloacina';

export interface DropFolderOptions {
  readonly register: (bytes: Uint8Array) => Promise<Registered>;
  readonly onRegistered: (file: string, registered: Registered) => void;
  /** A file that is no package, or whose version exists with other bytes; it is looked at again once it changes. */
  readonly onRefused: (file: string, error: unknown) => void;
  readonly signal: AbortSignal;
}

/**
 * Registers the package files in a folder, those that are there and those that come, until the signal fires. A file is
 * taken once its size and time have stayed the same from one look to the next: it may still be being copied. Looking
 * is done by reading the folder, which works on every kind of disk. Throws FILE_UNREADABLE where it cannot be read.
 */
export async function watchDropFolder(dir: string, options: DropFolderOptions): Promise<void> {
  const taken = new Map<string, string>();
  let before = new Map<string, string>();
  while (!options.signal.aborted) {
    const now = await stamps(dir);
    for (const [file, stamp] of now) {
      if (before.get(file) !== stamp || taken.get(file) === stamp) continue;
      taken.set(file, stamp);
      await take(join(dir, file), options);
    }
    before = now;
    await sleep(lookMs, undefined, { signal: options.signal }).catch(() => undefined);
  }
}

async function take(file: string, { register, onRegistered, onRefused }: DropFolderOptions): Promise<void> {
  try {
    onRegistered(file, await register(await readBytes(file)));
  } catch (error) {
    onRefused(file, error);
  }
}

/** What each package file looks like now: its size and time. */
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
