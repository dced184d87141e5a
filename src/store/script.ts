import type { BulkTexts } from './tables/bulk.ts';
import type { Columns, SqlValue } from './tables/table.ts';

/*
 * SQL as scripts: a generator yields statements and is sent their rows. One script serves both databases: the SQLite
 * driver runs it to its end within one turn of the event loop (so nothing interleaves with its transaction), the
 * PostgreSQL driver awaits each statement. A script touches nothing but its statements, so a driver may run it again
 * from the start when the database was busy.
 */

export type { SqlValue };

export interface Statement {
  /** Parameters are written $1, $2, ... */
  readonly text: string;
  readonly params: readonly SqlValue[];
  /** Many rows in place of the parameters; the text is one of `BulkTexts`. */
  readonly rows?: { readonly columns: Columns<unknown>; readonly records: readonly unknown[] };
}

export interface StatementResult {
  readonly rows: readonly Record<string, SqlValue>[];
  /** Rows inserted, updated or deleted. */
  readonly changes: number;
}

export type Script<T> = Generator<Statement, T, StatementResult>;

/** All rows of a query, in the shape that the caller states. */
export function* all<Row>(text: string, ...params: readonly SqlValue[]): Script<readonly Row[]> {
  const { rows } = yield { text, params };
  return rows as unknown as readonly Row[];
}

/** The first row of a query. */
export function* first<Row>(text: string, ...params: readonly SqlValue[]): Script<Row | undefined> {
  const rows = yield* all<Row>(text, ...params);
  return rows[0];
}

/** The number of rows that a statement changed. */
export function* run(text: string, ...params: readonly SqlValue[]): Script<number> {
  const { changes } = yield { text, params };
  return changes;
}

/** Runs a text of `BulkTexts` for many records; does nothing without one. */
export function* bulk<R>(columns: Columns<R>, records: readonly R[], text: string): Script<StatementResult> {
  if (records.length === 0) return { rows: [], changes: 0 };
  return yield { text, params: [], rows: { columns, records } };
}

/** The transaction of a script: the first parameter of every script that needs the dialect or the time. */
export interface Tx {
  readonly dialect: Dialect;
  /** The time at which the transaction began, epoch ms. */
  readonly now: number;
}

/** The part of a transaction that most scripts need; a driver has it too. */
export type On = Pick<Tx, 'dialect'>;

/**
 * How a select locks its rows until the end of the transaction. `update`: the transaction changes or deletes them.
 * `no_key_update`: it changes other columns than the key, so `key_share` of other transactions goes on. `share`: the rows
 * keep their values; several transactions may hold that at once. `key_share`: the rows stay under their keys; other columns
 * may change. `skip_locked`: `update` of the rows that no other transaction holds; the select leaves out the rest.
 */
export type RowLock = 'update' | 'no_key_update' | 'share' | 'key_share' | 'skip_locked';

/** The small difference between the databases, as pieces of SQL. */
export interface Dialect {
  readonly bulk: BulkTexts;
  /** The clause that ends a select whose rows are locked; empty where a transaction that writes is alone anyway. */
  lock(rows: RowLock): string;
  /**
   * Locks names (a JSON array, $1) until the end of the transaction, always in the same order; null where a transaction
   * that writes is alone anyway.
   */
  readonly lockNames: string | null;
  /** A condition: the column is among the strings of the JSON array in a parameter. */
  among(column: string, parameter: string): string;
  /** A query for the values of a JSON array of arrays, as rows of text columns `c0`, `c1`, ... */
  fields(parameter: string, count: number): string;
  /** A value: the rows of a query as a JSON array of arrays of the named columns. */
  gathered(query: string, columns: string): string;
  /** An item of `from`: the rows of such a value, which may come from each row of the items before it. */
  rows(value: string, alias: string): string;
  /** A column of such a row, by its place. */
  field(row: string, place: number): string;
  /** A query for the strings of a JSON array, as rows of a column `value`. */
  strings(parameter: string): string;
}

/**
 * The notice of a commit to other connections: `all` anything may be new; `work` there may be work or messages for them;
 * `any` there is only something to see.
 */
export type Notice = 'all' | 'work' | 'any';

/** A connection to a database that runs scripts. */
export interface Driver {
  /** True if other connections can be on this database. */
  readonly shared: boolean;
  readonly dialect: Dialect;
  /** Runs a script that changes nothing, on one snapshot. */
  read<T>(script: () => Script<T>): Promise<T>;
  /** The same for a script of one statement, which is a snapshot by itself. */
  ask<T>(script: () => Script<T>): Promise<T>;
  /**
   * Runs a script as one transaction, durable once it resolves; then other connections get a notice, by default that there
   * may be work. Throws STORE_UNAVAILABLE when it could not in time, OUTCOME_UNKNOWN.
   */
  write<T>(script: () => Script<T>, notice?: (result: T) => Notice | null): Promise<T>;
  /** The same three for calls that must not wait, if the driver lets other calls wait for a connection. */
  readonly ahead?: Pick<Driver, 'read' | 'ask' | 'write'>;
  /** True if another connection committed since the last call. */
  changed(): boolean;
  /**
   * Calls a function when another connection has committed, until a call of the returned function; only if the database
   * sends notices.
   */
  subscribe?(listener: (notice: Notice) => void): () => void;
  close(): Promise<void>;
}
