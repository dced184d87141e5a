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

/** All rows of a query, in the shape that its caller reads them. */
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

/** The small difference between the databases, as pieces of SQL. */
export interface Dialect {
  readonly bulk: BulkTexts;
  /** Ends a select whose rows the transaction goes on to change. */
  readonly forUpdate: string;
  /** Ends a select whose rows stay as they are until the end of the transaction; others may ask for the same. */
  readonly forShare: string;
  /** Ends a select whose rows are there until the end of the transaction, under the same key; others may change the rest. */
  readonly forKeyShare: string;
  /** Ends a select whose rows the transaction goes on to change, without taking them away from who only needs them to be there. */
  readonly forNoKeyUpdate: string;
  /** The same, leaving out rows that another transaction holds. */
  readonly skipLocked: string;
  /**
   * Locks names (a JSON array, $1) until the end of the transaction, in one order for all; null where a transaction that
   * writes is alone anyway.
   */
  readonly lockNames: string | null;
  /** A condition: the column is among the strings of a JSON array given as that parameter. */
  among(column: string, parameter: string): string;
  /** A query that gives the values of a JSON array of arrays as rows of text columns `c0`, `c1`, ... */
  fields(parameter: string, count: number): string;
  /** The rows of a query as one value, a JSON array of arrays of those columns. */
  gathered(query: string, columns: string): string;
  /** What stands in `from` for the rows of such a value, which may be one of each row of what stands before it. */
  rows(value: string, alias: string): string;
  /** A column of such a row, by its place. */
  field(row: string, place: number): string;
  /** A query that gives the strings of a JSON array as rows of a column `value`. */
  strings(parameter: string): string;
}

/** What others hear of a commit: anything may be new; there may be work or mail for them; or there is only something to see. */
export type Notice = 'all' | 'work' | 'any';

/** A connection to a database that runs scripts. */
export interface Driver {
  /** Whether other connections can be on this database. */
  readonly shared: boolean;
  readonly dialect: Dialect;
  /** Runs a script that changes nothing, on one snapshot. */
  read<T>(script: () => Script<T>): Promise<T>;
  /** The same for a script of one statement, which is a snapshot by itself. */
  ask<T>(script: () => Script<T>): Promise<T>;
  /**
   * Runs a script as one transaction, durable once it resolves; then others are told of it, by default that there may be
   * work. Throws STORE_UNAVAILABLE when it could not in time, OUTCOME_UNKNOWN.
   */
  write<T>(script: () => Script<T>, notice?: (result: T) => Notice | null): Promise<T>;
  /** Where those who ask may have to wait for their turn: the same three, for what must not wait behind anybody. */
  readonly ahead?: Pick<Driver, 'read' | 'ask' | 'write'>;
  /** Whether another connection committed since the last call. */
  changed(): boolean;
  /** Where the database says so itself: calls a function when another connection has committed; ended by what it gives. */
  subscribe?(listener: (notice: Notice) => void): () => void;
  close(): Promise<void>;
}
