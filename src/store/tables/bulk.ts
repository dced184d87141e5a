import type { Columns, Table } from './table.ts';

/** An expression for a given column of a row that a bulk statement reads. */
export type Given = (column: string) => string;

/**
 * Statements for many rows at once (`Statement.rows`). SQLite runs the text for each row, whose values are its parameters;
 * PostgreSQL runs it once, and its parameters are arrays.
 */
export interface BulkTexts {
  readonly insert: <R>(table: Table<R>, conflict?: string) => string;
  /** Deletes the rows whose columns have the given values, under a further condition. Returns these columns where `returning`. */
  readonly remove: <R>(table: { readonly name: string }, columns: Columns<R>, options?: RemoveOptions) => string;
  /** Sets columns of the executions with the given `id`; expressions name the row before as `o`. */
  readonly update: <R>(columns: Columns<R>, set: (given: Given) => Readonly<Record<string, string>>) => string;
}

export interface RemoveOptions {
  /** On a column of the table. */
  readonly and?: string;
  readonly returning?: boolean;
}

export const sqliteBulk: BulkTexts = {
  insert: (table, conflict = '') => `${table.insertText} ${conflict}`,
  remove: ({ name }, columns, { and, returning = false } = {}) => {
    const conditions = columns.list.map((column, i) => `${column.name} = $${i + 1}`);
    if (and !== undefined) conditions.push(and);
    return `delete from ${name} where ${conditions.join(' and ')}${returning ? ` returning ${columns.names()}` : ''}`;
  },
  update: (columns, set) => {
    const given: Given = (column) => `$${columns.list.findIndex(({ name }) => name === column) + 1}`;
    const sets = Object.entries(set(given)).map(([column, value]) => `${column} = ${value}`);
    return `update executions as o set ${sets.join(', ')} where o.id = ${given('id')}`;
  },
};
