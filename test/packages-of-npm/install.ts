import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { runNpm } from '../pack/npm.ts';
import type { Toolchain } from '../pack/npm.ts';

/** The versions of all packages, direct or not, are the newest ones of this day. */
const day = '2026-11-25';

/** The folder of installed packages, outside of every checkout. */
function cacheFolder(): string {
  const { XDG_CACHE_HOME: own = '', LOCALAPPDATA: local = '' } = process.env;
  const caches = own !== '' ? own : local !== '' ? local : join(homedir(), '.cache');
  return join(caches, 'cloacina', 'packages-of-npm');
}

/** Returns a folder with these packages in its `node_modules`, installed once. Install scripts do not run. */
export async function installed(tools: Toolchain, deps: readonly string[]): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify([day, ...deps])).digest('hex').slice(0, 16);
  const folder = join(cacheFolder(), key);
  if (existsSync(folder)) return folder;
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(fresh, { recursive: true });
  try {
    writeFileSync(join(fresh, 'package.json'), JSON.stringify({ private: true }));
    const options = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error', `--before=${day}`];
    await runNpm(tools, ['install', ...options, ...deps], fresh);
    if (!existsSync(folder)) renameSync(fresh, folder);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  return folder;
}
