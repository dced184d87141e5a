import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { enableCompileCache, getCompileCacheDir } from 'node:module';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { errnoOf } from '../core/errno.ts';
import { isOwnFolder, privateFolder } from '../store/sqlite/folder.ts';

/**
 * Caches compiled code between commands, which saves most of the load time. Node runs the content of the cache, so only this
 * user may be able to write to its folder. The default of Node is a folder with a known name in the temporary folder,
 * which any user of the machine can create first. Without a safe folder nothing is cached. Node reads `NODE_COMPILE_CACHE`
 * (another folder) and `NODE_DISABLE_COMPILE_CACHE=1` (no cache) before this runs.
 */
export function keepCompiledCode(): void {
  if (getCompileCacheDir() !== undefined) return;
  const folder = ownFolder();
  if (folder !== null) enableCompileCache(folder);
}

function ownFolder(): string | null {
  try {
    const caches = cachesFolder();
    // not recursive, because Node loops for ever in places such as /proc
    makePrivate(caches);
    const above = realpathSync(caches);
    if (!isKept(above)) return null;
    const folder = join(above, 'cloacina');
    makePrivate(folder);
    return isOwnFolder(folder) ? folder : null;
  } catch {
    return null; // no home or a read-only disk: commands start without a cache
  }
}

/** The cache folder of this system. */
function cachesFolder(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (process.platform === 'win32') return LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches');
  const named = XDG_CACHE_HOME ?? '';
  return isAbsolute(named) ? named : join(homedir(), '.cache');
}

function makePrivate(folder: string): void {
  try {
    mkdirSync(folder, { mode: privateFolder });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}

/** True if only this user and root can replace a folder in this folder. */
function isKept(folder: string): boolean {
  const user = process.geteuid?.();
  if (user === undefined) return true; // Windows protects a user's folders by access lists
  for (let at = folder; ; at = dirname(at)) {
    const { uid, mode } = statSync(at);
    // in a folder with the sticky bit only the owner of an entry can move it
    const isShared = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
    if (isShared || (uid !== user && uid !== 0)) return false;
    if (at === dirname(at)) return true;
  }
}
