import type { SqlValue } from './sql.ts';

/** The types of columns that travel as arrays; `json` is text that may be large. */
export type ArrayType = 'text' | 'int' | 'bigint' | 'bool' | 'json';
export type ArrayColumns = Readonly<Record<string, ArrayType>>;

/**
 * Rows out of arrays, one parameter a column from `$first` on. Large texts travel as one JSON array each: arrays of quoted
 * text are slow to parse.
 */
export function rowsFrom(columns: ArrayColumns, first: number, name: string): string {
  const sources = Object.values(columns).map((type, i) => {
    const parameter = `$${first + i}`;
    return type === 'json' ? `json_array_elements_text(${parameter}::json)` : `unnest(${parameter}::${type}[])`;
  });
  return `rows from (${sources.join(', ')}) as ${name}(${Object.keys(columns).join(', ')})`;
}

/** The parameters of `rowsFrom`. */
export function arraysOf(columns: ArrayColumns, rows: readonly (readonly unknown[])[]): unknown[] {
  return Object.values(columns).map((type, i) => {
    const column = rows.map((row) => row[i]);
    return type === 'json' ? JSON.stringify(column) : column;
  });
}

/** The same as texts, for a script. */
export function arrayTexts(columns: ArrayColumns, rows: readonly (readonly SqlValue[])[]): string[] {
  return Object.values(columns).map((type, i) => {
    const column = rows.map((row) => row[i]);
    return type === 'json' ? JSON.stringify(column) : `{${column.map((value) => element(value ?? null)).join(',')}}`;
  });
}

function element(value: SqlValue): string {
  if (value === null) return 'NULL';
  return typeof value === 'string' ? `"${value.replaceAll(/["\\]/g, String.raw`\$&`)}"` : String(value);
}
