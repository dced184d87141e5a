import { randomUUID } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { errnoOf } from '../../core/errno.ts';
import { hourMs } from '../../core/duration.ts';
import { CloacinaError, DigestMismatchError, PackageInvalidError, StoreUnavailableError } from '../../core/error.ts';
import { shownUrl } from '../../core/shown-url.ts';
import { makeFolder, privateFolder } from '../../store/sqlite/folder.ts';
import { archiveDigest, isDigest } from '../archive/digest.ts';
import type { PackageStorage, StoredPackage } from './storage.ts';

const filePattern = /^sha256-([0-9a-f]{64})\.cloacina$/;
const temporaryPattern = /^sha256-[0-9a-f]{64}\.[0-9a-f-]{36}\.tmp$/;

/** No write takes this long: older temporary files are leftovers of a process that died. */
const leftoverMs = hourMs;

/**
 * Stores packages as files of one folder: `sha256-<hex>.cloacina`. `url` begins with `file:`. Throws
 * REGISTRY_URL_INVALID.
 */
export function openFileStorage(url: string): PackageStorage {
  return new FileStorage(folderOf(url));
}

class FileStorage implements PackageStorage {
  readonly url: string;
  readonly #folder: string;
  #isSwept = false;

  constructor(folder: string) {
    this.#folder = folder;
    this.url = pathToFileURL(folder).href;
  }

  async put(digest: string, bytes: Uint8Array): Promise<void> {
    await this.#check(digest, bytes);
    const path = this.#path(digest);
    if (await this.#isIntact(digest)) return;
    await this.#attempt(`package ${digest} could not be stored`, async () => {
      await createFolder(this.#folder);
      await this.#sweep();
      const temporary = join(this.#folder, `${fileStem(digest)}.${randomUUID()}.tmp`);
      try {
        await writeDurably(temporary, bytes);
        await rename(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true });
        // Windows refuses to replace a file that another process has open; the other process wrote the same bytes
        if (!(await this.#isIntact(digest))) throw error;
      }
      await syncFolder(this.#folder);
    });
  }

  async get(digest: string): Promise<Uint8Array> {
    const bytes = await this.#attempt(`package ${digest} could not be read`, () => readIfThere(this.#path(digest)));
    if (bytes === null) {
      throw new CloacinaError('PACKAGE_NOT_FOUND', `the storage ${this.url} has no package ${digest}`);
    }
    await this.#check(digest, bytes);
    return bytes;
  }

  async has(digest: string): Promise<boolean> {
    return this.#attempt(`package ${digest} could not be looked for`, async () => {
      const found = await unlessMissing(stat(this.#path(digest)));
      return found?.isFile() ?? false;
    });
  }

  async delete(digest: string): Promise<void> {
    await this.#attempt(`package ${digest} could not be deleted`, async () => {
      await rm(this.#path(digest), { force: true });
      await unlessMissing(syncFolder(this.#folder));
    });
  }

  async *list(): AsyncGenerator<StoredPackage> {
    const failed = `the packages in ${this.url} could not be listed`;
    const names = await this.#attempt(failed, async () => (await unlessMissing(readdir(this.#folder))) ?? []);
    for (const name of names) {
      const hex = filePattern.exec(name)?.[1];
      if (hex === undefined) continue;
      // null if it was deleted in the meantime
      const found = await this.#attempt(failed, () => unlessMissing(stat(join(this.#folder, name))));
      if (found !== null) yield { digest: `sha256:${hex}`, bytes: found.size, storedAt: Math.round(found.mtimeMs) };
    }
  }

  #path(digest: string): string {
    return join(this.#folder, `${fileStem(digest)}.cloacina`);
  }

  async #check(digest: string, bytes: Uint8Array): Promise<void> {
    const actual = await archiveDigest(bytes).catch((error: unknown) => {
      if (error instanceof PackageInvalidError) return `none (${error.message})`;
      throw error;
    });
    if (actual !== digest) throw new DigestMismatchError(`package in ${this.url}`, digest, actual);
  }

  async #isIntact(digest: string): Promise<boolean> {
    try {
      await this.get(digest);
      return true;
    } catch (error) {
      if (error instanceof DigestMismatchError) return false;
      if (error instanceof CloacinaError && error.code === 'PACKAGE_NOT_FOUND') return false;
      throw error;
    }
  }

  /**
   * Removes the leftovers of processes that died during a write, once per opened storage. Times are those of the file
   * system.
   */
  async #sweep(): Promise<void> {
    if (this.#isSwept) return;
    this.#isSwept = true;
    for (const name of await readdir(this.#folder)) {
      if (!temporaryPattern.test(name)) continue;
      const path = join(this.#folder, name);
      const found = await unlessMissing(stat(path));
      if (found !== null && Date.now() - found.mtimeMs > leftoverMs) await rm(path, { force: true });
    }
  }

  async #attempt<T>(failed: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof CloacinaError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new StoreUnavailableError(`${failed} (${reason})`, error);
    }
  }
}

/** Only digests become file names, so no argument of a caller can name another file. */
function fileStem(digest: string): string {
  if (!isDigest(digest)) {
    throw new CloacinaError(
      'PACKAGE_NOT_FOUND',
      `'${digest}' is not a digest; a digest has the form sha256:<64 hex digits>`,
    );
  }
  return digest.replace(':', '-');
}

function folderOf(url: string): string {
  const rest = url.slice('file:'.length);
  try {
    if (rest.startsWith('//')) return fileURLToPath(url);
  } catch (error) {
    // not as a cause: it contains the whole text of the URL
    throw invalidUrl(url, error instanceof Error ? error.message : String(error));
  }
  if (rest === '') throw invalidUrl(url, 'it names no folder');
  if (rest.includes('\0')) throw invalidUrl(url, 'it holds a NUL');
  return resolve(rest);
}

function invalidUrl(url: string, reason: string): CloacinaError {
  return new CloacinaError(
    'REGISTRY_URL_INVALID',
    `the registry URL '${shownUrl(url)}' cannot be opened: ${reason}; use file:./path/to/folder`,
  );
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A new folder is durable only once its parent folder is synced. */
async function createFolder(folder: string): Promise<void> {
  const topmost = makeFolder(folder, privateFolder);
  if (topmost === undefined) return;
  for (let at = folder; at.length >= topmost.length; at = dirname(at)) await syncFolder(dirname(at));
}

/** Makes the names in a folder durable. Windows cannot open a folder for this; NTFS writes names in order by itself. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function readIfThere(path: string): Promise<Uint8Array | null> {
  return unlessMissing(readFile(path));
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}
