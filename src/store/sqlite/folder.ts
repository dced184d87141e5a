import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { isError } from '../../core/foreign/realms.ts';

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

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function codeOf(error: unknown): unknown {
  return isError(error) ? Reflect.get(error, 'code') : undefined;
}
