import { Socket } from 'node:net';
import type * as PgModule from 'pg';
import type { Client, ClientBase, ClientConfig, Pool, PoolConfig, QueryResult } from 'pg';
import { CloacinaError } from '../../core/error.ts';
import { OutcomeUnknownError } from '../transition.ts';
import type { PostgresPlace } from './url.ts';

type Pg = typeof PgModule;
type TypeId = Parameters<Pg['types']['getTypeParser']>[0];

/** A connection that is not there after so long is not waited for. */
const connectMs = 5000;

/** int8 and numeric: times in ms and counts are exact as a double. */
const numbers: ReadonlySet<number> = new Set([20, 1700]);

/** Makes connections to a place: to the host that accepted writes last, else to the next of its hosts. */
export class Connections {
  readonly #pg: Pg;
  readonly #place: PostgresPlace;
  readonly #types: NonNullable<PoolConfig['types']>;
  readonly #hostClient: new () => Client;
  readonly #plainClient: new () => Client;
  readonly #deadlineMs: number;
  /** Connections whose last commit is on the primary, and on its standby or not. */
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
        // one that breaks between two statements of a transaction: whoever uses it is told by the next of them
        this.on('error', () => undefined);
        // the server was told to wait no longer for its standby, and reports a success
        this.on('notice', ({ routine }) => {
          if (routine === 'SyncRepWaitForLSN') unconfirmed.add(this);
        });
      }
    };
  }

  /**
   * `deadlineMs`: how long somebody waits for an answer. Throws DATABASE_DRIVER_MISSING: `pg` is there for those who use
   * PostgreSQL only.
   */
  static async load(place: PostgresPlace, deadlineMs: number): Promise<Connections> {
    try {
      return new Connections(await import('pg'), place, deadlineMs);
    } catch (cause) {
      const message = "a PostgreSQL database needs the package 'pg', which is not installed: npm install pg";
      throw new CloacinaError('DATABASE_DRIVER_MISSING', message, { cause });
    }
  }

  /** A pooler hands server connections out by transaction: nothing of a session can be relied on. */
  get pooled(): boolean {
    return this.#pooled;
  }

  /** A pooler is in between after all. */
  foundPooler(): void {
    this.#pooled = true;
  }

  /** How many hosts there are to try. */
  get hosts(): number {
    return this.#place.urls.length;
  }

  pool(max: number): Pool {
    return this.#made({ max, connectionTimeoutMillis: connectMs, Client: this.#hostClient });
  }

  /** Connections for users' transactions, with the types that `pg` gives by itself. Whoever finds none waits for one. */
  lendingPool(max: number): Pool {
    return this.#made({ max, Client: this.#plainClient });
  }

  #made(config: PoolConfig): Pool {
    const pool = new this.#pg.Pool({ allowExitOnIdle: true, ...config });
    // a connection that breaks while it is idle is replaced; whoever uses one is told by its query
    pool.on('error', () => undefined);
    return pool;
  }

  /** One connection, ready for use; of several hosts one that accepts writes. */
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

  /** A connection could not be made, or does not accept writes: the next one goes to the next host. */
  failed(error: unknown): void {
    if (error instanceof Error && /unsupported startup parameter/.test(error.message)) this.#pooled = true;
    else this.#host = (this.#host + 1) % this.hosts;
  }

  /** Throws OutcomeUnknownError where what was just committed may be lost with the host. */
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
    // poolers refuse them, or keep them for whoever comes next
    return this.#pooled ? common : { ...common, ...serverTimeouts(this.#deadlineMs) };
  }

  /**
   * Once for each connection. With one host whatever it says is the answer; among several a standby is not the one that is
   * looked for. A session that has not got the timeouts that it was begun with is not ours alone: a pooler is in between
   * that took no notice of them.
   */
  async check(client: ClientBase): Promise<void> {
    if ((this.#pooled && this.hosts === 1) || this.#checked.has(client)) return;
    // a host that falls silent right after its greeting is not waited for
    const asked = { text: checkText(this.#pooled ? null : this.#deadlineMs), query_timeout: this.#deadlineMs };
    const answers = (await client.query(asked)) as unknown as readonly QueryResult<Checked>[];
    const { standby, own } = answers.find(({ command }) => command === 'SELECT')!.rows[0]!;
    if (standby && this.hosts > 1) throw new StandbyError('the host is a standby and accepts no writes');
    if (!own) this.foundPooler();
    this.#checked.add(client);
  }
}

interface Checked {
  readonly standby: boolean;
  /** Whether the session is this connection's own, as far as its timeouts tell. */
  readonly own: boolean;
}

/**
 * With the timeouts that a session should have, one that has them is told the isolation that single statements are written
 * for, and to compile none of them: a plan that looks dear takes longer to compile than to run. In a transaction, as a
 * standby refuses those that begin by themselves where the default is `serializable`.
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

/** The host is a standby. Its code is that of a server's refusal to write. */
class StandbyError extends Error {
  override readonly name = 'StandbyError';
  readonly code = '25006';
}

/** Closes a connection without waiting for a last word, which may never come. */
export async function closeHard(client: Client): Promise<void> {
  client.removeAllListeners('end');
  const ended = client.end().catch(() => undefined);
  const connection: unknown = Reflect.get(client, 'connection');
  const stream: unknown = connection instanceof Object ? Reflect.get(connection, 'stream') : undefined;
  if (stream instanceof Socket) stream.destroy();
  await ended;
}

/**
 * Bounds, ms, on what the server does for a client that has fallen silent, below its lease: a commit under way holds the
 * row of its runner, and others wait for it before they declare that runner dead.
 */
function serverTimeouts(deadlineMs: number): {
  statement_timeout: number;
  idle_in_transaction_session_timeout: number;
} {
  return { statement_timeout: deadlineMs, idle_in_transaction_session_timeout: Math.ceil(deadlineMs / 2) };
}

/**
 * What a transaction begins with, in one round trip: whatever the server's defaults are, it is durable when it is
 * acknowledged. With a deadline the server is told of it, as no session tells it behind a pooler.
 */
export function beginText(deadlineMs: number | null): string {
  const timeouts = Object.entries(deadlineMs === null ? {} : serverTimeouts(deadlineMs));
  const told = timeouts.map(([name, ms]) => `set local ${name} = ${ms}; `).join('');
  return `begin isolation level read committed; ${told}select ${durableText}`;
}

/** Makes the commit of a transaction durable, whatever the server's default is; `remote_apply` is stronger than `on`, and stays. */
export const durableText = `case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write') then set_config('synchronous_commit', 'on', true) end`;
