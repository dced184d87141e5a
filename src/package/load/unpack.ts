import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { errnoOf } from '../../core/errno.ts';
import { hourMs } from '../../core/duration.ts';
import { PackageInvalidError } from '../../core/error.ts';
import { systemClock } from '../../engine/clock.ts';
import type { Clock } from '../../engine/clock.ts';
import { makeFolder, privateFolder } from '../../store/sqlite/folder.ts';
import type { PackageFiles } from '../archive/archive.ts';
import { pathFault } from '../archive/entry-path.ts';

/** The leftovers of a process that ended while unpacking are removed after this time. */
const staleMs = hourMs;
const unfinished = '.unpacking-';
/**
 * Unpacked code is compared with its digest when it is loaded and may be started again later: no other user may change
 * it in between, regardless of the umask, and this user not by mistake. On Windows a read-only file could not be
 * removed.
 */
const ownFile: { readonly mode?: number } = process.platform === 'win32' ? {} : { mode: 0o400 };

/**
 * Writes the files of a verified package below `root`, into a folder named by its digest, and returns that folder. It
 * appears at once or not at all, so any number of processes may do this at the same time; an existing folder is used
 * only if it holds exactly these files, and is written again otherwise.
 */
export async function unpackPackage(
  root: string,
  digest: string,
  files: PackageFiles,
  clock: Clock = systemClock,
): Promise<string> {
  const target = join(root, digest.replace(':', '-'));
  if (await holds(target, files)) return target;
  makeFolder(root, privateFolder);
  await sweep(root, clock.now());
  const fresh = join(root, unfinished + randomUUID());
  try {
    await writeFiles(fresh, files);
    await replaceFolder(fresh, target, files);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return target;
}

/** The same for files without a digest: a temporary folder, which the caller disposes of. */
export async function unpackTemporary(files: PackageFiles): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'cloacina-'));
  // on Windows a folder stays busy for a moment after a process that worked in it exited
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  try {
    await writeFiles(dir, files);
  } catch (error) {
    await remove();
    throw error;
  }
  return { dir, [Symbol.asyncDispose]: remove };
}

async function writeFiles(dir: string, files: PackageFiles): Promise<void> {
  const folders = new Set([dir]);
  for (const path of files.keys()) {
    const reason = pathFault(path);
    if (reason !== null) {
      throw new PackageInvalidError('ARCHIVE_ENTRY_REFUSED', `'${path}' is not unpacked: ${reason}`, { path, reason });
    }
    folders.add(dirname(join(dir, path)));
  }
  for (const folder of folders) makeFolder(folder, privateFolder);
  for (const [path, bytes] of files) await writeFile(join(dir, path), bytes, { flag: 'wx', ...ownFile });
}

async function holds(dir: string, files: PackageFiles): Promise<boolean> {
  try {
    for (const [path, bytes] of files) {
      if (!(await readFile(join(dir, path))).equals(bytes)) return false;
    }
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

async function replaceFolder(fresh: string, target: string, files: PackageFiles): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rename(fresh, target);
      return;
    } catch (error) {
      // another process was first, or the existing folder is damaged
      if (await holds(target, files)) return;
      if (attempt === 3) throw error;
      await discard(target);
    }
  }
}

/** Renames the folder first, so that no process sees it half removed. */
async function discard(dir: string): Promise<void> {
  const aside = join(dirname(dir), unfinished + randomUUID());
  try {
    await rename(dir, aside);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

async function sweep(root: string, now: number): Promise<void> {
  for (const name of await readdir(root)) {
    if (!name.startsWith(unfinished)) continue;
    const path = join(root, name);
    const found = await stat(path).catch(() => undefined); // its process removed it meanwhile
    if (found !== undefined && now - found.mtimeMs > staleMs) await rm(path, { recursive: true, force: true });
  }
}

function isMissing(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
