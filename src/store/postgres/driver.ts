import { arraysOf } from './arrays.ts';
import { setTimeout } from 'node:timers/promises';
import type { Client, Pool, PoolClient, QueryConfig, QueryResult, QueryResultRow } from 'pg';
import { CloacinaError } from '../../core/error.ts';
import { postgresDialect } from '../dialect.ts';
import { isNewest, migrate } from '../migrations/migrate.ts';
import type { Migration } from '../migrations/migrate.ts';
import { Admission } from './admission.ts';
import { Connections, beginText } from './connections.ts';
import {
  isAnswer,
  isForeignStatement,
  isPassing,
  isReadOnly,
  isStaleStatement,
  lastingFault,
  openError,
  storeError,
  unknownUnlessRefused,
} from './errors.ts';
import { Notices } from './notify.ts';
import { Prepared } from './prepared.ts';
import { quotedName, schemaQualifier } from './schema-names.ts';
import type { PostgresPlace } from './url.ts';
import type { Dialect, Driver, Notice, Script, SqlValue, StatementResult } from '../script.ts';

export interface PostgresOptions {
  /** Maximum wait of a change for the database before STORE_UNAVAILABLE; default 10 s. */
  readonly patienceMs?: number;
  /** Maximum wait for an answer before the connection counts as dead; default 10 s. */
  readonly deadlineMs?: number;
  /** Maximum number of connections; default 10. */
  readonly connections?: number;
  /** Epoch ms; for the log of migrations. */
  readonly now?: () => number;
  /** Default: all migrations. */
  readonly migrations?: readonly Migration[];
}

/** Number of connections reserved for commits (two), leases and polls. */
const kept = 4;
const retryMs = 50;
const closeMs = 2000;
/** Maximum wait of a migration for the lock of a table. */
const lockMs = 1000;
/** Advisory lock that serializes the migrations of one schema; the number has no meaning. */
const migrationLock = 7_120_260_113;

/** A pool of connections to a PostgreSQL database, in one schema. Every script is its own transaction. */
export class PostgresDriver implements Driver {
  readonly dialect: Dialect = postgresDialect;
  readonly shared = true;
  /** Maximum wait for an answer, ms. */
  readonly deadlineMs: number;
  /** Maximum wait of a change for the database, ms. */
  readonly patienceMs: number;
  readonly ahead: Pick<Driver, 'read' | 'ask' | 'write'> = {
    read: (script) => this.#read(script),
    ask: (script) => this.#ask(script),
    write: (script, notice = toWork) => this.#write(script, notice),
  };
  readonly #connections: Connections;
  readonly #admission: Admission;
  readonly #shown: string;
  readonly #max: number;
  #pool: Pool;
  #lent: Pool | undefined;
  readonly #schema: string;
  readonly #qualified: (text: string) => string;
  readonly #prepared = new Prepared();
  /** Connections whose transaction has its own deadline. */
  readonly #patient = new WeakMap<PoolClient, number>();
  #notices: Notices | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(connections: Connections, place: PostgresPlace, options: PostgresOptions) {
    this.#connections = connections;
    this.#shown = place.shown;
    this.#schema = place.schema;
    this.#qualified = schemaQualifier(place.schema);
    this.deadlineMs = options.deadlineMs ?? 10_000;
    this.patienceMs = options.patienceMs ?? 10_000;
    this.#max = options.connections ?? 10;
    this.#pool = connections.pool(this.#max);
    this.#admission = new Admission(Math.max(1, this.#max - kept), this.patienceMs, `the database ${place.shown}`);
  }

  /**
   * Connects and migrates. Throws DATABASE_DRIVER_MISSING, DATABASE_INVALID, DATABASE_TOO_NEW, STORE_UNAVAILABLE,
   * STORE_REFUSED.
   */
  static async open(place: PostgresPlace, options: PostgresOptions = {}): Promise<PostgresDriver> {
    const connections = await Connections.load(place, options.deadlineMs ?? 10_000);
    const driver = new PostgresDriver(connections, place, options);
    try {
      await driver.#untilOpen(() => driver.#prepare(options));
      driver.#notices = new Notices({
        schema: driver.#schema,
        connect: () => connections.connect(),
        query: async (text, values) => {
          await driver.#query(text, values);
        },
      });
      return driver;
    } catch (error) {
      await driver.close();
      throw openError(error, place.shown);
    }
  }

  /** The schema of our tables. */
  get schema(): string {
    return this.#schema;
  }

  /** True behind a pooler: a single statement runs under the default isolation of the server connection. */
  get pooled(): boolean {
    return this.#connections.pooled;
  }

  /** Qualifies the table names of a statement, so that it works under any search_path. */
  qualified(text: string): string {
    return this.#qualified(text);
  }

  async #prepare({ now = Date.now, migrations }: PostgresOptions): Promise<void> {
    const client = await this.#checkOut();
    try {
      // a database that is migrated needs neither the lock nor a write
      if (!(await this.#isNewest(client, migrations))) await this.#migrate(client, now, migrations);
      client.release();
    } catch (error) {
      client.release(isAnswer(error) || error instanceof CloacinaError ? undefined : true);
      throw error;
    }
  }

  async #isNewest(client: PoolClient, migrations?: readonly Migration[]): Promise<boolean> {
    const table = `${quotedName(this.#schema)}.cloacina_migrations`;
    const text = `select to_regclass($1) is not null as there, current_setting('server_encoding') as encoding`;
    const asked = timed({ text, values: [table] }, this.deadlineMs);
    const { rows } = await client.query<{ there: boolean; encoding: string }>(asked);
    const { there, encoding } = rows[0]!;
    if (encoding !== 'UTF8') throw this.#encodingError(encoding);
    return there && (await this.drive(client, isNewest(migrations)));
  }

  #encodingError(encoding: string): CloacinaError {
    const why = `the database ${this.#shown} has the encoding ${encoding}, in which not every text can be stored; UTF8 is needed`;
    const remedy = `create database NAME encoding 'UTF8' template template0`;
    return new CloacinaError('DATABASE_INVALID', `${why}: create another database for it (${remedy})`);
  }

  async #migrate(client: PoolClient, now: () => number, migrations?: readonly Migration[]): Promise<void> {
    // who waits for a lock holds up all who come after: it gives way before long, and tries again
    await client.query(`${beginText(null)}; set local statement_timeout = 0; set local lock_timeout = ${lockMs}`);
    try {
      await client.query('select pg_advisory_xact_lock($1)', [migrationLock]);
      // `create schema if not exists` needs the right to create one even if it exists
      const asked = 'select to_regnamespace($1) is null as missing';
      const { rows } = await client.query<{ missing: boolean }>(asked, [quotedName(this.#schema)]);
      if (rows[0]?.missing === true) await client.query(`create schema if not exists ${quotedName(this.#schema)}`);
      await client.query(`set local search_path to ${quotedName(this.#schema)}`);
      await this.#drive(client, migrate(now(), '', migrations), null, false);
      await client.query('commit');
    } catch (error) {
      await client.query('rollback');
      throw error;
    }
  }

  async read<T>(script: () => Script<T>): Promise<T> {
    return this.#admission.through((since) => this.#read(script, since));
  }

  async ask<T>(script: () => Script<T>): Promise<T> {
    return this.#admission.through((since) => this.#ask(script, since));
  }

  async write<T>(script: () => Script<T>, notice: (result: T) => Notice | null = toWork): Promise<T> {
    return this.#admission.through((since) => this.#write(script, notice, since));
  }

  async #read<T>(script: () => Script<T>, since?: number): Promise<T> {
    return this.#untilDone(
      () =>
        this.#transaction('begin isolation level repeatable read read only', (client) => this.drive(client, script())),
      since,
    );
  }

  async #ask<T>(script: () => Script<T>, since?: number): Promise<T> {
    return this.#untilDone(async () => {
      const client = await this.#checkOut();
      try {
        const result = await this.drive(client, script());
        client.release();
        return result;
      } catch (error) {
        this.#giveBack(client, error);
        throw error;
      }
    }, since);
  }

  async #write<T>(script: () => Script<T>, notice: (result: T) => Notice | null, since?: number): Promise<T> {
    const result = await this.#untilDone(
      () => this.#transaction(this.#begin(), (client) => this.drive(client, script())),
      since,
    );
    this.tell(notice(result));
    return result;
  }

  /**
   * Makes one attempt at a transaction, for a caller that decides about repeating it. Throws the database's own errors.
   * `deadlineMs`: a longer deadline for each of its statements, which is also sent to the server.
   */
  async once<T>(act: (client: PoolClient) => Promise<T>, deadlineMs: number = this.deadlineMs): Promise<T> {
    if (deadlineMs <= this.deadlineMs) return this.#transaction(this.#begin(), act);
    return this.#transaction(beginText(deadlineMs), async (client) => {
      this.#patient.set(client, deadlineMs);
      try {
        return await act(client);
      } finally {
        this.#patient.delete(client);
      }
    });
  }

  /**
   * Runs one statement as its own transaction, prepared once a connection, and returns its only row. Makes one attempt:
   * throws the database's own errors, and OutcomeUnknownError if it was sent and no answer came.
   */
  async statement<Row>(text: string, values: readonly unknown[]): Promise<Row> {
    return (await this.#query(text, values)) as Row;
  }

  /** As `write`, for a statement that is durable by itself; returns its only row. */
  async writeOne<Row>(text: string, values: readonly unknown[], notice: Notice): Promise<Row> {
    const row = await this.#admission.through((since) => this.#untilDone(() => this.#query(text, values), since));
    this.tell(notice);
    return row as Row;
  }

  /** Notifies other processes of a commit. */
  tell(notice: Notice | null): void {
    if (notice !== null) this.#notices?.tell(notice);
  }

  /** Runs a statement within the transaction of one of our own connections, prepared once. */
  async run<Row extends QueryResultRow>(
    client: PoolClient,
    text: string,
    values: readonly unknown[],
  ): Promise<QueryResult<Row>> {
    const qualified = this.#qualified(text);
    const name = this.#connections.pooled ? undefined : this.#prepared.nameOf(qualified);
    return client.query<Row>(timed({ name, text: qualified, values: [...values] }, this.#deadlineOf(client)));
  }

  #deadlineOf(client: PoolClient): number {
    return this.#patient.get(client) ?? this.deadlineMs;
  }

  /** Runs a script within the transaction of one of our own connections, whose statements are prepared once. */
  async drive<T>(client: PoolClient, script: Script<T>): Promise<T> {
    return this.#drive(client, script, this.#deadlineOf(client), !this.#connections.pooled);
  }

  /** As `drive`, on a lent connection: its user may have deallocated prepared statements. */
  async driveLent<T>(client: PoolClient, script: Script<T>): Promise<T> {
    return this.#drive(client, script, this.deadlineMs, false);
  }

  /**
   * Lends a connection for a user's transaction, from a separate pool: tasks that wait within theirs never block the
   * engine.
   */
  async lend(): Promise<PoolClient> {
    if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', `the database ${this.#shown} was closed`);
    this.#lent ??= this.#connections.lendingPool(this.#max);
    const client = await this.#lent.connect();
    try {
      await this.#connections.check(client);
      return client;
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  /** Throws OutcomeUnknownError if the last commit may be lost with its host. */
  confirmed(client: PoolClient): void {
    this.#connections.confirm(client);
  }

  /** Opens a separate connection, owned by the caller. */
  async connect(): Promise<Client> {
    return this.#connections.connect();
  }

  changed(): boolean {
    return false;
  }

  subscribe(listener: (notice: Notice) => void): () => void {
    return this.#notices!.subscribe(listener);
  }

  /** Every call resolves when all is closed. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #close(): Promise<void> {
    await this.#notices?.close();
    this.#closed = true;
    // an unresponsive connection must not block the close
    const ended = Promise.all([this.#pool.end(), this.#lent?.end()]);
    await Promise.race([ended, setTimeout(closeMs, undefined, { ref: false })]);
  }

  async #query(text: string, values: readonly unknown[]): Promise<unknown> {
    const client = await this.#checkOut();
    const qualified = this.#qualified(text);
    const name = this.#connections.pooled ? undefined : this.#prepared.nameOf(qualified);
    try {
      const { rows } = await client.query(timed({ name, text: qualified, values: [...values] }, this.deadlineMs));
      this.#connections.confirm(client);
      client.release();
      return rows[0];
    } catch (error) {
      this.#giveBack(client, error);
      if (name !== undefined && isStaleStatement(error)) return this.#query(text, values);
      // without an error of the database itself the connection broke, and its statement may have been executed
      throw isAnswer(error) && !isPassing(error) ? error : unknownUnlessRefused(error);
    }
  }

  /** `since`: see `Admission`. */
  async #untilDone<T>(attempt: () => Promise<T>, since?: number): Promise<T> {
    try {
      return await this.#repeated(attempt, () => false, since);
    } catch (error) {
      throw storeError(error, `a request to the database ${this.#shown} failed`);
    }
  }

  /** As `#untilDone`, but gives up once every host has a fault that no repetition mends. Throws the driver's own errors. */
  async #untilOpen(attempt: () => Promise<void>): Promise<void> {
    let lasting = 0;
    await this.#repeated(attempt, (error) => {
      lasting = lastingFault(error) === null ? 0 : lasting + 1;
      return lasting >= this.#connections.hosts;
    });
  }

  async #repeated<T>(
    attempt: () => Promise<T>,
    isFinal: (error: unknown) => boolean,
    since: number = performance.now(),
  ): Promise<T> {
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        const gaveUp = performance.now() - since > this.patienceMs || isFinal(error);
        if (this.#closed || !isPassing(error) || gaveUp) throw error;
      }
      await setTimeout(retryMs);
    }
  }

  async #transaction<T>(begin: string, act: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#checkOut();
    let committing = false;
    try {
      await client.query(timed({ text: begin }, this.deadlineMs));
      const result = await act(client);
      committing = true;
      await client.query(timed({ text: 'commit' }, this.deadlineMs));
      this.#connections.confirm(client);
      client.release();
      return result;
    } catch (error) {
      if (committing) {
        this.#giveBack(client, error);
        // the answer was lost with the connection; the database may have committed
        throw unknownUnlessRefused(error);
      }
      const isWhole = (isAnswer(error) && !isStaleStatement(error)) || error instanceof CloacinaError;
      if (isWhole || !isPassing(error)) await this.#rollBack(client);
      else this.#giveBack(client, error);
      throw error;
    }
  }

  #begin(): string {
    return beginText(this.#connections.pooled ? this.deadlineMs : null);
  }

  async #rollBack(client: PoolClient): Promise<void> {
    try {
      await client.query(timed({ text: 'rollback' }, this.deadlineMs));
      client.release();
    } catch (error) {
      this.#giveBack(client, error);
    }
  }

  async #checkOut(): Promise<PoolClient> {
    if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', `the database ${this.#shown} was closed`);
    const pool = this.#pool;
    let client: PoolClient | undefined;
    try {
      client = await pool.connect();
      await this.#connections.check(client);
      if (!this.#connections.pooled) await this.#prepared.refresh(client, this.deadlineMs);
      return client;
    } catch (error) {
      client?.release(true);
      if (pool === this.#pool) this.#connections.failed(error);
      // see `#giveBack`
      if (client !== undefined && !isAnswer(error) && !this.#closed && pool === this.#pool) this.#renewPool();
      throw error;
    }
  }

  /** Drops a connection after an error, unless the server itself answered. */
  #giveBack(client: PoolClient, error: unknown): void {
    const whole = isAnswer(error) && !isPassing(error);
    client.release(!whole);
    if (isForeignStatement(error)) this.#connections.foundPooler();
    if (isAnswer(error) && !isReadOnly(error)) return;
    // a silent connection is seldom the only one: idle connections are dropped untested
    if (!this.#closed && !whole) this.#renewPool();
  }

  #renewPool(): void {
    const old = this.#pool;
    this.#pool = this.#connections.pool(this.#max);
    this.#notices?.renew();
    void old.end().catch(() => undefined);
  }

  async #drive<T>(client: PoolClient, script: Script<T>, deadlineMs: number | null, prepares: boolean): Promise<T> {
    let step = script.next();
    while (step.done !== true) {
      const { params, rows } = step.value;
      const text = this.#qualified(step.value.text);
      const values = rows === undefined ? [...params] : arraysOf(rows.columns, rows.records);
      const query = { name: prepares ? this.#prepared.nameOf(text) : undefined, text, values };
      step = script.next(resultOf(await client.query<Record<string, SqlValue>>(timed(query, deadlineMs))));
    }
    return step.value;
  }
}

function resultOf({ rows, rowCount, fields }: QueryResult<Record<string, SqlValue>>): StatementResult {
  const isQuery = fields.length > 0;
  return { rows: isQuery ? rows : [], changes: isQuery ? 0 : (rowCount ?? 0) };
}

function toWork(): Notice {
  return 'work';
}

interface Query {
  readonly name?: string | undefined;
  readonly text: string;
  readonly values?: unknown[];
}

/** The driver supports `query_timeout`, but its types lack it. */
function timed(query: Query, deadlineMs: number | null): QueryConfig {
  return Object.assign(query as QueryConfig, deadlineMs === null ? {} : { query_timeout: deadlineMs });
}
