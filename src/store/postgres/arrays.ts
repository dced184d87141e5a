import type { SqlValue } from '../script.ts';
import type { ColumnType, Columns } from '../tables/table.ts';
import { valueOf } from '../tables/table.ts';

/**
 * Returns the SQL that turns arrays into rows, one parameter a column from `$first` on. Large texts are sent as one
 * JSON array each: arrays of quoted text are slow to parse.
 */
export function rowsFrom(columns: Pick<Columns<unknown>, 'list' | 'names'>, first: number, name: string): string {
  const sources = columns.list.map(({ type }, i) => {
    const parameter = `$${first + i}`;
    return type === 'json'
      ? `json_array_elements_text(${parameter}::json)`
      : `unnest(${parameter}::${typeName(type)}[])`;
  });
  return `rows from (${sources.join(', ')}) as ${name}(${columns.names()})`;
}

/** The type of a column on PostgreSQL. */
export function typeName(type: ColumnType): string {
  return { text: 'text', json: 'text', int: 'int', flag: 'int', bigint: 'bigint', bool: 'bool' }[type];
}

/**
 * Returns the parameters of `rowsFrom`, as text. A column without a value is an empty array: `rows from` fills up with
 * nulls. The first column has a value in every row. Throws EncodingError.
 */
export function arraysOf<R>(columns: Columns<R>, rows: readonly R[]): string[] {
  try {
    return parametersOf(columns, rows);
  } catch (cause) {
    throw new EncodingError(cause);
  }
}

/** The values do not fit into the parameters of a statement: together they exceed the maximum length of a string. */
export class EncodingError extends Error {
  override readonly name = 'EncodingError';
  constructor(cause: unknown) {
    super('values cannot be put into the parameters of a statement', { cause });
  }
}

function parametersOf<R>({ list }: Columns<R>, rows: readonly R[]): string[] {
  return list.map((column) => {
    const values = rows.map((row) => valueOf(column, row));
    const isJson = column.type === 'json';
    if (values.every((value) => value === null)) return isJson ? '[]' : '{}';
    return isJson ? JSON.stringify(values) : `{${values.map((value) => element(value, column.type)).join(',')}}`;
  });
}

function element(value: SqlValue | boolean, type: ColumnType): string {
  if (typeof value === 'string')
    return `"${special.test(value) ? value.replaceAll(everySpecial, String.raw`\$&`) : value}"`;
  if (value === null) return 'NULL';
  return `${type === 'flag' ? Number(value) : (value as number | bigint | boolean)}`;
}

const special = /["\\]/;
const everySpecial = /["\\]/g;
