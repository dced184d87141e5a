import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { appendFileSync, chmodSync, chownSync, cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { postgresBinaries } from './postgres-binaries.ts';

const run = promisify(execFile);

interface User {
  readonly uid: number;
  readonly gid: number;
}

type Settings = Readonly<Record<string, string | number>>;

const testSettings: Settings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: 200,
  shared_buffers: '64MB',
  // what a process wrote outlives the process; power is not lost in tests
  fsync: 'off',
  max_wal_size: '256MB',
};

/** Servers of this process: none of them outlives it, also where it is told to end in the middle of a test. */
const running = new Set<PostgresServer>();

function endWithProcess(server: PostgresServer): void {
  if (running.size === 0) {
    process.once('exit', () => running.forEach((left) => left.removeNow()));
    if (process.listenerCount('SIGTERM') === 0) process.once('SIGTERM', () => process.exit(143));
  }
  running.add(server);
}

/** A PostgreSQL of the test's own, on a free port and in a temporary folder, which it may stop, kill and start again. */
export class PostgresServer {
  readonly port: number;
  readonly #bin: string;
  readonly #folder: string;
  readonly #user: User | undefined;
  #process: ChildProcess | undefined;
  #ended: Promise<unknown> = Promise.resolve();

  private constructor(bin: string, folder: string, port: number, user: User | undefined) {
    this.#bin = bin;
    this.#folder = folder;
    this.port = port;
    this.#user = user;
  }

  /** Makes a cluster; it is not started. */
  static async create(settings: Settings = {}): Promise<PostgresServer> {
    const server = await PostgresServer.#place();
    endWithProcess(server);
    const args = ['-D', server.#data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'];
    await run(join(server.#bin, 'initdb'), args, server.#options);
    server.set({ ...testSettings, ...settings });
    return server;
  }

  static async #place(): Promise<PostgresServer> {
    const { bin, fromNpm } = await postgresBinaries();
    const folder = mkdtempSync(join(tmpdir(), 'cloacina-postgres-'));
    const user = await unprivileged();
    if (user === undefined) return new PostgresServer(bin, folder, await freePort(), user);
    chownSync(folder, user.uid, user.gid);
    // this checkout may be where that user cannot look
    if (fromNpm) cpSync(dirname(bin), join(folder, 'native'), { recursive: true, verbatimSymlinks: true });
    return new PostgresServer(fromNpm ? join(folder, 'native', 'bin') : bin, folder, await freePort(), user);
  }

  /** Of a database that is there. */
  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  /** For its next start. */
  set(settings: Settings): void {
    const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
    appendFileSync(join(this.#data, 'postgresql.conf'), lines.join(''));
  }

  /** A standby of this cluster, which must be stopped: a copy of its files that follows it, through a port, from its start on. */
  async standby(name: string, port: number): Promise<PostgresServer> {
    const copy = await PostgresServer.#place();
    endWithProcess(copy);
    cpSync(this.#data, copy.#data, { recursive: true, preserveTimestamps: true });
    chmodSync(copy.#data, 0o700); // the server refuses to start where others may look
    writeFileSync(join(copy.#data, 'standby.signal'), '');
    if (copy.#user !== undefined) await run('chown', ['-R', `${copy.#user.uid}:${copy.#user.gid}`, copy.#data]);
    copy.set({
      primary_conninfo: `host=127.0.0.1 port=${port} user=postgres application_name=${name}`,
      synchronous_standby_names: '',
    });
    return copy;
  }

  /** Starts it, and waits until it answers. */
  async start(): Promise<void> {
    for (let tries = 0; ; tries++) {
      const child = spawn(join(this.#bin, 'postgres'), ['-D', this.#data, '-p', String(this.port)], {
        ...this.#options,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      this.#process = child;
      this.#ended = new Promise((resolve) => child.once('exit', resolve));
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-1000)));
      const refused = await Promise.race([
        this.#untilUp(),
        this.#ended.then(() => new Error(`the server ended at once: ${said}`)),
      ]);
      if (refused === undefined) return;
      // processes of a killed server live for a moment longer, and hold what the next one needs
      if (tries === 50) throw refused;
      await setTimeout(100);
    }
  }

  /** A fast shutdown: connections are cut, what was committed is kept. */
  async stop(): Promise<void> {
    this.#process?.kill('SIGINT');
    await this.#ended;
    this.#process = undefined;
  }

  /** As a crash of the machine would end it. */
  async kill(): Promise<void> {
    this.#process?.kill('SIGKILL');
    await this.#ended;
    this.#process = undefined;
  }

  /** Stops it, and removes its files. */
  async remove(): Promise<void> {
    await this.stop();
    running.delete(this);
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** The same within this turn, for a process that is about to end. */
  removeNow(): void {
    this.#process?.kill('SIGKILL');
    if (existsSync(this.#folder)) rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  get #data(): string {
    return join(this.#folder, 'data');
  }

  get #options(): object {
    const env = { ...process.env, LD_LIBRARY_PATH: join(dirname(this.#bin), 'lib'), LC_ALL: 'C' };
    return { ...this.#user, cwd: this.#folder, env };
  }

  async #untilUp(): Promise<Error | undefined> {
    for (let tries = 0; ; tries++) {
      const client = new Client({ connectionString: this.url, connectionTimeoutMillis: 2000 });
      client.on('error', () => undefined);
      try {
        await client.connect();
        await client.end();
        return undefined;
      } catch (error) {
        if (tries === 400 || this.#process?.exitCode !== null)
          return error instanceof Error ? error : new Error(String(error));
      }
      await setTimeout(25);
    }
  }
}

/** A PostgreSQL for tests that use schemas of their own and leave the server alone. */
export interface TestPostgres {
  /** Of a database that is there. */
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * `CLOACINA_TEST_POSTGRES`: the URL of a database, or (as `npm test` sets it) of a door that starts one server for all and
 * answers with its URL. Else a server for this process. A sentence where there is none to be had.
 */
export async function testPostgres(): Promise<TestPostgres | string> {
  const given = process.env['CLOACINA_TEST_POSTGRES'];
  const stop = (): Promise<void> => Promise.resolve();
  if (given?.startsWith('http:') === true) {
    const answer = await fetch(given, { headers: { connection: 'close' } });
    const text = await answer.text();
    return answer.ok ? { url: text, stop } : text;
  }
  if (given !== undefined && given !== '') return { url: given, stop };
  const server = await startedServer();
  return typeof server === 'string' ? server : { url: server.url, stop: () => server.remove() };
}

/** A server of the caller's own, started. A sentence where none can be. */
export async function startedServer(settings: Settings = {}): Promise<PostgresServer | string> {
  let server: PostgresServer | undefined;
  try {
    server = await PostgresServer.create(settings);
    await server.start();
    return server;
  } catch (error) {
    server?.removeNow();
    return `no PostgreSQL can be started here: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Servers of a database refuse to run as root: whom they run as then. */
export async function unprivileged(): Promise<User | undefined> {
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

/** A port of this machine that nobody listens to. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
