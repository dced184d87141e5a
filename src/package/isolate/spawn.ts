import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { ownFile, ownFolder, ownManifest } from '../../own-files.ts';
import { canCloseNetwork } from './network.ts';
import { deafToDebuggers } from './debug-signal.ts';

export interface SpawnOptions {
  /** The unpacked package: an absolute path without symbolic links. */
  readonly dir: string;
  /** Appears in the list of processes. */
  readonly label: string;
  readonly net: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly heapMb: number;
}

/**
 * A process group of its own: signals of a terminal to the host's group (Ctrl-C) are for the host alone, which lets
 * tasks end first. On Windows it would get its own window instead.
 */
export const hasOwnGroup: { readonly detached: boolean } = { detached: process.platform !== 'win32' };

/**
 * Starts the process of an isolate. Throws if the process could read more than it may. Its channel is the fourth entry
 * of its stdio: a pipe, not Node's IPC.
 */
export function spawnGuest(options: SpawnOptions): ChildProcess {
  return spawn(process.execPath, [...nodeFlags(options), ownFile('package/isolate/guest'), options.label], {
    cwd: options.dir,
    env: options.env,
    // overlapped: on Windows the guest reads and writes the pipe at the same time
    stdio: ['ignore', 'pipe', 'pipe', 'overlapped'],
    windowsHide: true,
    ...hasOwnGroup,
  });
}

function nodeFlags({ dir, net, heapMb }: SpawnOptions): string[] {
  const known = process.allowedNodeEnvironmentFlags;
  return [
    '--permission',
    ...[dir, ownFolder(), ownManifest()].map((path) => `--allow-fs-read=${literal(path)}`),
    ...(net && canCloseNetwork() ? ['--allow-net'] : []),
    ...(known.has('--experimental-sqlite') ? ['--no-experimental-sqlite'] : []),
    // V8 flags that write files cannot be set at run time: an attempt ends the process
    '--freeze-flags-after-init',
    ...deafToDebuggers(),
    '--enable-source-maps',
    `--max-old-space-size=${heapMb}`,
  ];
}

/** `--allow-fs-read` cannot escape a `*`: the path would allow all paths with the same beginning. */
function literal(path: string): string {
  if (!path.includes('*')) return path;
  throw new Error(`'${path}' contains '*', which Node treats as a pattern; move it to a folder without one`);
}

/** Variables that would change Node itself instead of being read by the code in it. */
const steersNode = /^NODE_(OPTIONS|CHANNEL_|V8_COVERAGE$|COMPILE_CACHE$|REPL_|REDIRECT_WARNINGS$|PENDING_)/i;
/** Without these Windows opens no socket and returns no random numbers. */
const neededOnWindows = ['SystemRoot', 'windir'];

/** Returns the environment of an isolate: the granted variables that are set, and those the system needs. */
export function isolateEnvironment(
  names: readonly string[],
  source: Readonly<Record<string, string | undefined>>,
): { readonly granted: Readonly<Record<string, string>>; readonly all: Readonly<Record<string, string>> } {
  const granted = pick(
    names.filter((name) => !steersNode.test(name)),
    source,
  );
  return { granted, all: process.platform === 'win32' ? { ...pick(neededOnWindows, source), ...granted } : granted };
}

function pick(
  names: readonly string[],
  source: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of names) {
    const value = source[name];
    if (value !== undefined) found[name] = value;
  }
  return found;
}

/** Resolves the folder as the process will: the permission model compares paths without links. */
export function realFolder(dir: string): string {
  return realpathSync(dir);
}
