import { readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CloacinaError } from './core/error.ts';

/**
 * The files that are started by path: as a thread, as a process, or as a module of another process. No import leads to them, so the
 * build makes an entry of each. This module alone reads its own location: the build keeps it at the top of `dist/`, as it is at the
 * top of `src/`, while any other module may become a part of another file.
 */
export const startedFiles = [
  'cli/environment-watch',
  'package/isolate/guest',
  'package/isolate/guest-api',
  'package/isolate/reaper-process',
  'store/postgres/lease/lease-thread',
  'store/sqlite/checkpoint-thread',
] as const;

/**
 * The path of a file that is started by path, from the same tree as the running code, sources or build. Throws
 * LIBRARY_BUNDLED.
 */
export function ownFile(name: (typeof startedFiles)[number]): string {
  return `${join(ownFolder(), name)}${extname(ownPath())}`;
}

/** The folder of all files of the library: `src` or `dist`. Throws LIBRARY_BUNDLED. */
export function ownFolder(): string {
  return dirname(ownPath());
}

/** The path of the `package.json` of the library. Throws LIBRARY_BUNDLED. */
export function ownManifest(): string {
  return manifestBeside(ownPath());
}

/** Found once, where the library is in its own folder. */
let found: string | undefined;

/**
 * The path of this module. Not read at load: a program that is bundled into one CommonJS file has no location here, and in
 * an ES module it is that of the program, whose files and version are not those of the library.
 */
function ownPath(): string {
  found ??= libraryPath(import.meta.url);
  return found;
}

function libraryPath(url: string | undefined): string {
  const path = url === undefined ? undefined : fileURLToPath(url);
  if (path !== undefined && isLibrary(path)) return path;
  const where = path === undefined ? '' : ` (${path})`;
  const why = `a bundler put the library into a file of this program${where}, without the files that it starts as threads and processes`;
  throw new CloacinaError('LIBRARY_BUNDLED', `${why}; keep the package 'cloacina' external`);
}

function isLibrary(path: string): boolean {
  try {
    const { name } = JSON.parse(readFileSync(manifestBeside(path), 'utf8')) as { readonly name?: unknown };
    return name === 'cloacina';
  } catch {
    return false; // no package is there
  }
}

function manifestBeside(path: string): string {
  return join(dirname(dirname(path)), 'package.json');
}
