import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { appendFileSync, chmodSync, chownSync, cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { messageOf } from '../core/foreign/error-text.ts';
import { isError } from '../core/foreign/realms.ts';
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
  // writes of a process outlive the process, and no test loses power
  fsync: 'off',
  max_wal_size: '256MB',
};

/** Servers of this process. None outlives it, even if it is terminated in the middle of a test. */
const running = new Set<PostgresServer>();

function endWithProcess(server: PostgresServer): void {
  if (running.size === 0) {
    process.once('exit', () => running.forEach((left) => left.removeNow()));
    if (process.listenerCount('SIGTERM') === 0) process.once('SIGTERM', () => process.exit(143));
  }
  running.add(server);
}

/**
 * A PostgreSQL server for one test, on a free port and in a temporary folder, which the test may stop, kill and
 * restart.
 */
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

  /** Creates a cluster without starting it. */
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
    // the other user may have no access to this checkout
    if (fromNpm) cpSync(dirname(bin), join(folder, 'native'), { recursive: true, verbatimSymlinks: true });
    return new PostgresServer(fromNpm ? join(folder, 'native', 'bin') : bin, folder, await freePort(), user);
  }

  /** The URL of an existing database. */
  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  /** Applies at the next start. */
  set(settings: Settings): void {
    const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
    appendFileSync(join(this.#data, 'postgresql.conf'), lines.join(''));
  }

  /**
   * A standby of this cluster, which must be stopped: a copy of its files that follows it through a port from its start
   * on.
   */
  async standby(name: string, port: number): Promise<PostgresServer> {
    const copy = await PostgresServer.#place();
    endWithProcess(copy);
    cpSync(this.#data, copy.#data, { recursive: true, preserveTimestamps: true });
    chmodSync(copy.#data, 0o700); // the server refuses to start if other users have access
    writeFileSync(join(copy.#data, 'standby.signal'), '');
    if (copy.#user !== undefined) await run('chown', ['-R', `${copy.#user.uid}:${copy.#user.gid}`, copy.#data]);
    copy.set({
      primary_conninfo: `host=127.0.0.1 port=${port} user=postgres application_name=${name}`,
      synchronous_standby_names: '',
    });
    return copy;
  }

  /** Starts the server and waits until it answers. */
  async start(): Promise<void> {
    for (let tries = 0; ; tries++) {
      const child = spawn(join(this.#bin, 'postgres'), ['-D', this.#data, '-p', String(this.port)], {
        ...this.#options,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      this.#process = child;
      this.#ended = new Promise((resolve) => child.once('exit', resolve));
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-1000)));
      const refused = await Promise.race([
        this.#untilUp(),
        this.#ended.then(() => new Error(`the server ended at once: ${stderr}`)),
      ]);
      if (refused === undefined) return;
      // processes of a killed server live a moment longer and hold resources that the next one needs
      if (tries === 50) throw refused;
      await setTimeout(100);
    }
  }

  /** A fast shutdown: connections are cut, committed rows are kept. */
  async stop(): Promise<void> {
    this.#process?.kill('SIGINT');
    await this.#ended;
    this.#process = undefined;
  }

  /** Ends the server like a crash of the host. */
  async kill(): Promise<void> {
    this.#process?.kill('SIGKILL');
    await this.#ended;
    this.#process = undefined;
  }

  /** Stops the server and removes its files. */
  async remove(): Promise<void> {
    await this.stop();
    running.delete(this);
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Removes them synchronously, for a process that is about to end. */
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
        if (tries === 400 || this.#process?.exitCode !== null) return isError(error) ? error : new Error(String(error));
      }
      await setTimeout(25);
    }
  }
}

/** A PostgreSQL server for tests that use their own schemas and do not touch the server. */
export interface TestPostgres {
  /** The URL of an existing database. */
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * `CLOACINA_TEST_POSTGRES` is the URL of a database, or (set by `npm test`) of an HTTP endpoint that starts one server
 * for all and answers with its URL. Without it a server is started for this process. Returns a sentence if there is
 * none.
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

/** A started server for the caller, or a sentence that says why none can start. */
export async function startedServer(settings: Settings = {}): Promise<PostgresServer | string> {
  let server: PostgresServer | undefined;
  try {
    server = await PostgresServer.create(settings);
    await server.start();
    return server;
  } catch (error) {
    server?.removeNow();
    return `no PostgreSQL can be started here: ${messageOf(error)}`;
  }
}

/** The user that runs the server, because PostgreSQL refuses to run as root. */
export async function unprivileged(): Promise<User | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all(
        ['-u', '-g'].map(async (flag) => Number((await run('id', [flag, name])).stdout)),
      );
      return { uid: uid!, gid: gid! };
    } catch {
      continue; // this user does not exist here
    }
  }
  throw new Error('it will not run as root, and there is no other user');
}

/** A free port of this host. */
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
