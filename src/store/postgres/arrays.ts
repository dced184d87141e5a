/** Types of columns that are sent as arrays; `json` is text that may be large. */
export type ArrayType = 'text' | 'int' | 'bigint' | 'bool' | 'json';
export type ArrayColumns = Readonly<Record<string, ArrayType>>;

/**
 * Returns the SQL that turns arrays into rows, one parameter a column from `$first` on. Large texts are sent as one
 * JSON array each: arrays of quoted text are slow to parse.
 */
export function rowsFrom(columns: ArrayColumns, first: number, name: string): string {
  const sources = Object.values(columns).map((type, i) => {
    const parameter = `$${first + i}`;
    return type === 'json' ? `json_array_elements_text(${parameter}::json)` : `unnest(${parameter}::${type}[])`;
  });
  return `rows from (${sources.join(', ')}) as ${name}(${Object.keys(columns).join(', ')})`;
}

/**
 * Returns the parameters of `rowsFrom`, as text. A column without a value is an empty array: `rows from` fills up with
 * nulls. The first column has a value in every row. Throws EncodingError.
 */
export function arraysOf(columns: ArrayColumns, rows: readonly (readonly unknown[])[]): string[] {
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

function parametersOf(columns: ArrayColumns, rows: readonly (readonly unknown[])[]): string[] {
  return Object.values(columns).map((type, i) => {
    const column = rows.map((row) => row[i] ?? null);
    if (column.every((value) => value === null)) return type === 'json' ? '[]' : '{}';
    return type === 'json' ? JSON.stringify(column) : `{${column.map((value) => element(value)).join(',')}}`;
  });
}

function element(value: unknown): string {
  if (typeof value === 'string')
    return `"${special.test(value) ? value.replaceAll(everySpecial, String.raw`\$&`) : value}"`;
  return value === null ? 'NULL' : `${value as number | bigint | boolean}`;
}

const special = /["\\]/;
const everySpecial = /["\\]/g;
