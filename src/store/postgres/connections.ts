import { Socket } from 'node:net';
import type * as PgModule from 'pg';
import type { Client, ClientBase, ClientConfig, Pool, PoolConfig, QueryResult } from 'pg';
import { isError } from '../../core/foreign/realms.ts';
import { CloacinaError } from '../../core/error.ts';
import { OutcomeUnknownError } from '../transition.ts';
import type { PostgresPlace } from './url.ts';

type Pg = typeof PgModule;
type TypeId = Parameters<Pg['types']['getTypeParser']>[0];

/** Maximum time to open a connection. */
const connectMs = 5000;

/** int8 and numeric: times in ms and counts are exact as a double. */
const numbers: ReadonlySet<number> = new Set([20, 1700]);

/** Opens connections: to the host that accepted writes last, or else to the next host. */
export class Connections {
  readonly #pg: Pg;
  readonly #place: PostgresPlace;
  readonly #types: NonNullable<PoolConfig['types']>;
  readonly #hostClient: new () => Client;
  readonly #plainClient: new () => Client;
  readonly #deadlineMs: number;
  /** Connections whose last commit may be missing on the standby. */
  readonly #unconfirmed = new WeakSet<object>();
  readonly #checked = new WeakSet<object>();
  #host = 0;
  #pooled = false;

  private constructor(pg: Pg, place: PostgresPlace, deadlineMs: number) {
    this.#pg = pg;
    this.#place = place;
    this.#deadlineMs = deadlineMs;
    const known = pg.types;
    this.#types = {
      getTypeParser: ((oid: TypeId, format: 'text') =>
        numbers.has(oid) ? Number : known.getTypeParser(oid, format)) as typeof known.getTypeParser,
    };
    this.#hostClient = this.#clients(() => this.#config());
    this.#plainClient = this.#clients(() => ({ ...this.#config(), types: known }));
  }

  #clients(config: () => ClientConfig): new () => Client {
    const unconfirmed = this.#unconfirmed;
    return class extends this.#pg.Client {
      constructor() {
        super(config());
        // a connection may break between two statements of a transaction: the next statement reports it
        this.on('error', () => undefined);
        // the server was told to stop waiting for its standby, and reports a success
        this.on('notice', ({ routine }) => {
          if (routine === 'SyncRepWaitForLSN') unconfirmed.add(this);
        });
      }
    };
  }

  /** `deadlineMs`: maximum wait for an answer. Throws DATABASE_DRIVER_MISSING, DATABASE_DRIVER_FAILED. */
  static async load(place: PostgresPlace, deadlineMs: number): Promise<Connections> {
    return new Connections(await loadedDriver(), place, deadlineMs);
  }

  /** True behind a pooler that assigns server connections by transaction: no session state can be relied on. */
  get pooled(): boolean {
    return this.#pooled;
  }

  /** Records that a pooler was detected. */
  foundPooler(): void {
    this.#pooled = true;
  }

  /** Number of hosts to try. */
  get hosts(): number {
    return this.#place.urls.length;
  }

  pool(max: number): Pool {
    return this.#made({ max, connectionTimeoutMillis: connectMs, Client: this.#hostClient });
  }

  /** Creates the pool for users' transactions, with `pg`'s own type parsers. Requests beyond its size wait. */
  lendingPool(max: number): Pool {
    return this.#made({ max, Client: this.#plainClient });
  }

  #made(config: PoolConfig): Pool {
    const pool = new this.#pg.Pool({ allowExitOnIdle: true, ...config });
    // an idle connection that breaks is replaced; one in use reports the error through its query
    pool.on('error', () => undefined);
    return pool;
  }

  /** Opens one connection; of several hosts one that accepts writes. */
  async connect(): Promise<Client> {
    const client = new this.#hostClient();
    try {
      await client.connect();
      await this.check(client);
      return client;
    } catch (error) {
      this.failed(error);
      await client.end().catch(() => undefined);
      throw error;
    }
  }

  /** Records a connection that failed or does not accept writes: the next one goes to the next host. */
  failed(error: unknown): void {
    if (isError(error) && /unsupported startup parameter/.test(error.message)) this.#pooled = true;
    else this.#host = (this.#host + 1) % this.hosts;
  }

  /** Throws OutcomeUnknownError if the last commit may be lost with the host. */
  confirm(client: object): void {
    if (!this.#unconfirmed.delete(client)) return;
    throw new OutcomeUnknownError('the server gave up waiting for its standby');
  }

  #config(): ClientConfig {
    const common = {
      connectionString: this.#place.urls[this.#host]!,
      types: this.#types,
      application_name: 'cloacina',
      connectionTimeoutMillis: connectMs,
      keepAlive: true,
    };
    // poolers refuse these parameters, or leak them to the next client
    return this.#pooled ? common : { ...common, ...serverTimeouts(this.#deadlineMs) };
  }

  /**
   * Runs once for each connection. With one host every answer is accepted; among several a standby is rejected. A
   * session without the timeouts it was started with is not ours alone: a pooler that ignored them is in between.
   */
  async check(client: ClientBase): Promise<void> {
    if ((this.#pooled && this.hosts === 1) || this.#checked.has(client)) return;
    // a host that falls silent right after its greeting must not block the caller
    const asked = { text: checkText(this.#pooled ? null : this.#deadlineMs), query_timeout: this.#deadlineMs };
    const answers = (await client.query(asked)) as unknown as readonly QueryResult<Checked>[];
    const { standby, own } = answers.find(({ command }) => command === 'SELECT')!.rows[0]!;
    if (standby && this.hosts > 1) throw new StandbyError('the host is a standby and accepts no writes');
    if (!own) this.foundPooler();
    this.#checked.add(client);
  }
}

/** `pg` is an optional dependency. */
async function loadedDriver(): Promise<Pg> {
  let loaded: object;
  try {
    loaded = await import('pg');
  } catch (cause) {
    const reason = isError(cause) ? cause.message : String(cause);
    // of one of its own dependencies the message has another name
    if (!/^Cannot find (?:package|module) 'pg'/.test(reason)) throw driverFailed(reason, cause);
    const message = "a PostgreSQL database needs the package 'pg', which is not installed: npm install pg";
    throw new CloacinaError('DATABASE_DRIVER_MISSING', message, { cause });
  }
  // a bundler may give a CommonJS package as the default export only
  const driver = [loaded, Reflect.get(loaded, 'default')].find(isDriver);
  if (driver === undefined) throw driverFailed('it has no Client and no Pool');
  return driver;
}

function isDriver(value: unknown): value is Pg {
  // a namespace of a module is no instance of Object
  if (typeof value !== 'object' || value === null) return false;
  return ['Client', 'Pool'].every((name) => typeof Reflect.get(value, name) === 'function');
}

function driverFailed(reason: string, cause?: unknown): CloacinaError {
  const message = `the package 'pg' could not be loaded: ${reason}; in a bundled program keep 'cloacina' and 'pg' external`;
  return new CloacinaError('DATABASE_DRIVER_FAILED', message, { cause });
}

interface Checked {
  readonly standby: boolean;
  /** True if the session belongs to this connection alone, as far as its timeouts tell. */
  readonly own: boolean;
}

/**
 * The check of a new session. If it has the expected timeouts, it also sets the isolation that single statements need,
 * and turns off JIT: compiling a plan with a high estimated cost takes longer than running it. Runs in a transaction,
 * since a standby refuses implicit ones if the default is `serializable`.
 */
function checkText(deadlineMs: number | null): string {
  const bounds = Object.entries(deadlineMs === null ? {} : serverTimeouts(deadlineMs));
  const within = bounds.map(([name, ms]) => `current_setting('${name}')::interval between '1ms' and '${ms}ms'`);
  const own = within.length === 0 ? 'false' : within.join(' and ');
  return `begin isolation level read committed;
    select standby, own, case when own then set_config('default_transaction_isolation', 'read committed', false) end,
      case when own and current_setting('jit', true) = 'on' then set_config('jit', 'off', false) end
      from (select pg_is_in_recovery() as standby, ${own} as own) s;
    commit`;
}

/** The host is a standby. The error has the code of a server that refuses writes. */
class StandbyError extends Error {
  override readonly name = 'StandbyError';
  readonly code = '25006';
}

/** Closes a connection without waiting for an answer, which may never come. */
export async function closeHard(client: Client): Promise<void> {
  client.removeAllListeners('end');
  const ended = client.end().catch(() => undefined);
  const connection: unknown = Reflect.get(client, 'connection');
  const stream: unknown =
    typeof connection === 'object' && connection !== null ? Reflect.get(connection, 'stream') : undefined;
  if (stream instanceof Socket) stream.destroy();
  await ended;
}

/**
 * Bounds in ms on the server's work for a silent client, below its lease: a commit in progress locks the row of its
 * runner, and other runners wait for it before they declare that runner dead.
 */
function serverTimeouts(deadlineMs: number): {
  statement_timeout: number;
  idle_in_transaction_session_timeout: number;
} {
  return { statement_timeout: deadlineMs, idle_in_transaction_session_timeout: Math.ceil(deadlineMs / 2) };
}

/**
 * Returns the begin of a transaction, in one round trip: it is durable once acknowledged, whatever the server's
 * defaults are. A deadline is sent along, since behind a pooler no session has one.
 */
export function beginText(deadlineMs: number | null): string {
  const timeouts = Object.entries(deadlineMs === null ? {} : serverTimeouts(deadlineMs));
  const told = timeouts.map(([name, ms]) => `set local ${name} = ${ms}; `).join('');
  return `begin isolation level read committed; ${told}select ${durableText}`;
}

/**
 * Makes the commit of a transaction durable, whatever the server's default is; `remote_apply` is stronger than `on`,
 * and stays.
 */
export const durableText = `case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write') then set_config('synchronous_commit', 'on', true) end`;
