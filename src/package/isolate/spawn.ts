import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ignoreDebugSignal } from './debug-signal.ts';

export interface SpawnOptions {
  /** The unpacked package, an absolute path without links in it. */
  readonly dir: string;
  /** Shows in the list of processes. */
  readonly label: string;
  readonly net: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly heapMb: number;
}

// the same tree, sources or build, as this file: the guest ends as this file ends, and lies beside it
const here = fileURLToPath(import.meta.url);
const guestFile = join(dirname(here), `guest${extname(here)}`);
const guestRoot = dirname(dirname(dirname(here)));
const guestManifest = join(dirname(guestRoot), 'package.json');

/**
 * A group of its own: what a terminal sends to the whole group of its host (Ctrl-C) is for the host alone, which lets
 * tasks end first. On Windows it would have a window of its own instead.
 */
export const hasOwnGroup: { readonly detached: boolean } = { detached: process.platform !== 'win32' };

/** Starts the process of an isolate. Throws where that would let it read more than it may. Its channel is the fourth of its stdio: a pipe, not Node's IPC. */
export function spawnGuest(options: SpawnOptions): ChildProcess {
  ignoreDebugSignal();
  return spawn(process.execPath, [...nodeFlags(options), guestFile, options.label], {
    cwd: options.dir,
    env: options.env,
    // overlapped: on Windows the guest reads and writes the one pipe at the same time
    stdio: ['ignore', 'pipe', 'pipe', 'overlapped'],
    windowsHide: true,
    ...hasOwnGroup,
  });
}

function nodeFlags({ dir, net, heapMb }: SpawnOptions): string[] {
  const known = process.allowedNodeEnvironmentFlags;
  return [
    '--permission',
    ...[dir, guestRoot, guestManifest].map((path) => `--allow-fs-read=${literal(path)}`),
    ...(net && known.has('--allow-net') ? ['--allow-net'] : []),
    ...(known.has('--experimental-sqlite') ? ['--no-experimental-sqlite'] : []),
    // no flag of V8 that makes it write a file can be set once it runs: an attempt ends the process
    '--freeze-flags-after-init',
    ...deafToDebuggers(),
    '--enable-source-maps',
    `--max-old-space-size=${heapMb}`,
  ];
}

/** `--allow-fs-read` has no way to say that a `*` is one: it would open all paths that begin like this one. */
function literal(path: string): string {
  if (!path.includes('*')) return path;
  throw new Error(`'${path}' contains '*', which Node treats as a pattern; move it to a folder without one`);
}

/** SIGUSR1, which any process of the same user can send, does not open the inspector. Node has this flag since 24.8. */
export function deafToDebuggers(): readonly string[] {
  return process.allowedNodeEnvironmentFlags.has('--disable-sigusr1') ? ['--disable-sigusr1'] : [];
}

/** Names that would change the process itself instead of being read by the code in it. */
const steersNode = /^NODE_(OPTIONS|CHANNEL_|V8_COVERAGE$|COMPILE_CACHE$|REPL_|REDIRECT_WARNINGS$|PENDING_)/i;
/** Without these Windows opens no socket and gives no random numbers. */
const neededOnWindows = ['SystemRoot', 'windir'];

/** The environment of an isolate: the granted names that are set, and what the system cannot do without. */
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

/** The folder as the process will name it: the permission model compares paths without links. */
export function realFolder(dir: string): string {
  return realpathSync(dir);
}
