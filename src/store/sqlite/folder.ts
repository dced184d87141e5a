import { chmodSync, closeSync, linkSync, lstatSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** The mode of a folder that only its user opens. */
export const privateFolder = 0o700;
const privateFile = 0o600;

/**
 * Creates a folder with its parents, and returns the topmost one that was missing; undefined if the folder exists.
 * Throws the system's own errors. Node's own recursive `mkdir` never returns in a place that takes no folders, such as
 * /proc, and reports a missing file for a read-only disk. `mode` is for this folder, not for its parents; default
 * 0o777, less the umask.
 */
export function makeFolder(path: string, mode?: number): string | undefined {
  try {
    mkdirSync(path, { mode });
    return path;
  } catch (error) {
    if (isFolder(path)) return undefined;
    const above = dirname(path);
    if (codeOf(error) !== 'ENOENT' || above === path) throw error;
    const topmost = makeFolder(above);
    // its parents exist now, so it is missing for another reason, or another process creates it now
    return made(path, mode) ? (topmost ?? path) : topmost;
  }
}

function made(path: string, mode: number | undefined): boolean {
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    if (isFolder(path)) return false;
    throw error;
  }
}

/** True for a folder, not a link to one, that this user owns and that no other user can write to. */
export function isOwnFolder(path: string): boolean {
  const user = process.geteuid?.();
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() !== true) return false;
  return user === undefined || (found.uid === user && (found.mode & 0o022) === 0);
}

/**
 * Creates an empty file that only its user opens, whatever the umask, unless there is one. Returns a function that does
 * the same for a file that was created at this path meanwhile, for file systems without hard links.
 *
 * The file is not opened under its name: closing it would release the locks of all connections that this process has
 * to it. Whatever prevents its creation prevents the next open, too, which reports it.
 */
export function createPrivately(path: string): () => void {
  // Windows protects a user's files by access lists
  if (process.platform === 'win32' || statSync(path, { throwIfNoEntry: false }) !== undefined) return () => undefined;
  const temporary = `${path}.${process.pid}-${Math.random().toString(36).slice(2)}.tmp`;
  try {
    closeSync(openSync(temporary, 'wx', privateFile));
    linkSync(temporary, path);
  } catch {
    return () => {
      try {
        chmodSync(path, privateFile);
      } catch {
        // a file system without modes
      }
    };
  } finally {
    rmSync(temporary, { force: true });
  }
  return () => undefined;
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error ? Reflect.get(error, 'code') : undefined;
}
