import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder with those above it, and gives the topmost that was missing; undefined where there is one already.
 * Throws what the system says. Node's own recursive `mkdir` runs for ever in a place that takes no folders, such as
 * /proc, and says of a read-only disk that something is missing. `mode` is for this folder, not for those above it;
 * default 0o777, less the umask.
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
    // with what is above it there, it is missing for another reason, or somebody else makes it now
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

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error ? Reflect.get(error, 'code') : undefined;
}
