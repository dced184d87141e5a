import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

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

/** The path of a file that is started by path, from the same tree as the running code, sources or build. */
export function ownFile(name: (typeof startedFiles)[number]): string {
  return `${join(ownFolder(), name)}${extname(ownPath())}`;
}

/** The folder of all files of the library: `src` or `dist`. */
export function ownFolder(): string {
  return dirname(ownPath());
}

/** The path of the `package.json` of the library. */
export function ownManifest(): string {
  return join(dirname(ownFolder()), 'package.json');
}

// not read at load: a program that is bundled into one CommonJS file has no location here
function ownPath(): string {
  return fileURLToPath(import.meta.url);
}
