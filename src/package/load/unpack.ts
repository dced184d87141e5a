import { createHash, randomUUID } from 'node:crypto';
import { chmodSync, createReadStream, lstatSync } from 'node:fs';
import { lstat, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { errnoOf } from '../../core/errno.ts';
import { hourMs } from '../../core/duration.ts';
import { CloacinaError, PackageInvalidError } from '../../core/error.ts';
import { systemClock } from '../../engine/clock.ts';
import type { Clock } from '../../engine/clock.ts';
import { isOwnFolder, makeFolder, privateFolder } from '../../store/sqlite/folder.ts';
import type { FileSink, PackageFiles } from '../archive/archive.ts';
import { pathFault } from '../archive/entry-path.ts';
import type { Manifest } from '../archive/manifest.ts';

/** The leftovers of a process that ended while unpacking are removed after this time. */
const staleMs = hourMs;
const unfinished = '.unpacking-';
/**
 * Unpacked code is compared with its hashes before each start: no other user may change it in between, regardless of
 * the umask, and this user not by mistake. On Windows a read-only file could not be removed.
 */
const ownFile: { readonly mode?: number } = process.platform === 'win32' ? {} : { mode: 0o400 };

/** The files of a package and their hex sha256, as in its manifest. */
export type FileHashes = Manifest['files'];

/**
 * Writes the files of a verified package below `root`, into a folder named by its digest, and returns that folder. It
 * appears at once or not at all, so any number of processes may do this at the same time; an existing folder is used
 * only if it holds exactly these files, and is written again otherwise. `extract` passes the files on, chunk by chunk.
 * Throws PACKAGE_LOAD_FAILED if `root` belongs to another user.
 */
export async function unpackPackage(
  root: string,
  digest: string,
  hashes: FileHashes,
  extract: (sink: FileSink) => Promise<unknown>,
  clock: Clock = systemClock,
): Promise<string> {
  const target = join(root, digest.replace(':', '-'));
  makeFolder(root, privateFolder);
  refuseShared(root);
  if (await isUnpacked(target, hashes)) return target;
  await sweep(root, clock.now());
  const fresh = join(root, unfinished + randomUUID());
  try {
    await extract(fileWriter(fresh));
    await replaceFolder(fresh, target, hashes);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return target;
}

/** Whoever can write to the folder can change code between its comparison and its start. */
function refuseShared(root: string): void {
  if (!isOwnFolder(root)) {
    // a mode that this user may correct
    if (lstatSync(root).uid === process.geteuid?.()) chmodSync(root, privateFolder);
    if (isOwnFolder(root)) return;
    throw new CloacinaError(
      'PACKAGE_LOAD_FAILED',
      `the folder ${root} of unpacked packages belongs to another user, who could change their code: remove it, or give ` +
        'the runners of each user a registry folder of their own',
    );
  }
}

/** Returns true if a folder belongs to this user and holds these files with these hashes. */
export async function isUnpacked(dir: string, hashes: FileHashes): Promise<boolean> {
  try {
    if (!isOwnFolder(dir)) return false;
    for (const [path, hash] of Object.entries(hashes)) {
      const file = join(dir, path);
      if (!(await lstat(file)).isFile() || (await hashOf(file)) !== hash) return false;
    }
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** The same for files without a digest: a temporary folder, which the caller disposes of. */
export async function unpackTemporary(files: PackageFiles): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'cloacina-'));
  // on Windows a folder stays busy for a moment after a process that worked in it exited
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  try {
    const write = fileWriter(dir);
    for (const [path, bytes] of files) await write(path, only(bytes));
  } catch (error) {
    await remove();
    throw error;
  }
  return { dir, [Symbol.asyncDispose]: remove };
}

/** Returns a sink that writes each file below a folder as its bytes come. */
function fileWriter(dir: string): FileSink {
  const folders = new Set<string>();
  const make = (folder: string): void => {
    if (!folders.has(folder)) makeFolder(folder, privateFolder);
    folders.add(folder);
  };
  return async (path, bytes) => {
    const reason = pathFault(path);
    if (reason !== null) {
      throw new PackageInvalidError('ARCHIVE_ENTRY_REFUSED', `'${path}' is not unpacked: ${reason}`, { path, reason });
    }
    make(dir);
    make(dirname(join(dir, path)));
    await writeFile(join(dir, path), bytes, { flag: 'wx', ...ownFile });
  };
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

async function replaceFolder(fresh: string, target: string, hashes: FileHashes): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rename(fresh, target);
      return;
    } catch (error) {
      // another process was first, or the existing folder is damaged
      if (await isUnpacked(target, hashes)) return;
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
