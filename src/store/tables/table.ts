export type SqlValue = string | number | bigint | null | Uint8Array;

/** `flag` is a boolean stored as 0 or 1, `json` text that may be large; `bool` exists in no table, only in columns that travel. */
export type ColumnType = 'text' | 'int' | 'bigint' | 'bool' | 'flag' | 'json';

/** A column is named after its field, in snake case, unless the definition gives it another name. */
type ColumnSpec = ColumnType | readonly [type: ColumnType, name: string];

/** The columns of a record's fields. A field that holds an object has a column for each field of that object. */
export type Fields<R> = {
  readonly [F in keyof R]-?: NonNullable<R[F]> extends object
    ? { readonly [G in keyof NonNullable<R[F]>]-?: ColumnSpec }
    : ColumnSpec;
};

interface Column {
  readonly name: string;
  readonly type: ColumnType;
  readonly field: string;
  /** The field that holds the object of this column's field. */
  readonly within: string | null;
}

/** A row as a driver returns it. */
export type Row = Readonly<Record<string, SqlValue>>;

/** Columns in their order, each bound to a field of the records `R`. */
export class Columns<R> {
  readonly list: readonly Column[];

  constructor(fields: Fields<R> | readonly Column[]) {
    this.list = Array.isArray(fields) ? (fields as readonly Column[]) : columnsOf(fields as Fields<R>);
  }

  /** The names in their order, each behind a prefix; `instead` replaces columns by expressions. */
  names(prefix = '', instead: Readonly<Record<string, string>> = {}): string {
    return this.list.map(({ name }) => instead[name] ?? `${prefix}${name}`).join(', ');
  }

  /** The values of a record in the order of the columns. */
  params(record: R): SqlValue[] {
    const values: SqlValue[] = [];
    for (const column of this.list) {
      const value = valueOf(column, record);
      values.push(typeof value === 'boolean' ? Number(value) : value);
    }
    return values;
  }

  /** The record of a row. An object whose first column is null is null. */
  record(row: Row): R {
    const record: Record<string, unknown> = {};
    for (const { name, type, field, within } of this.list) {
      const value = type === 'flag' ? row[name] === 1 : row[name];
      if (within === null) record[field] = value;
      else if (record[within] === undefined) record[within] = row[name] === null ? null : { [field]: value };
      else if (record[within] !== null) (record[within] as Record<string, unknown>)[field] = value;
    }
    return record as R;
  }

  /** These columns followed by others. */
  and<S>(fields: Fields<S>): Columns<R & S> {
    return new Columns<R & S>([...this.list, ...columnsOf(fields)]);
  }
}

/** A table, or some of its columns. */
export class Table<R> extends Columns<R> {
  readonly name: string;
  readonly key: readonly string[];
  /** The head of an insert; a query follows. */
  readonly into: string;
  /** Inserts one record; its parameters are `params`. */
  readonly insertText: string;
  /** The end of an insert that overwrites the row with the same key. */
  readonly overwrite: string;

  constructor(name: string, key: readonly string[], fields: Fields<R> | readonly Column[]) {
    super(fields);
    this.name = name;
    this.key = key;
    this.into = `insert into ${name} (${this.names()})`;
    this.insertText = `${this.into} values (${this.list.map((_, i) => `$${i + 1}`).join(', ')})`;
    const others = this.list.filter((column) => !key.includes(column.name));
    this.overwrite = `on conflict (${key.join(', ')}) do update set ${overwrites(others.map((one) => one.name))}`;
  }

  without<F extends keyof R>(...fields: readonly F[]): Table<Omit<R, F>> {
    const kept = this.list.filter(({ field, within }) => !(fields as readonly unknown[]).includes(within ?? field));
    return new Table<Omit<R, F>>(this.name, this.key, kept);
  }
}

/** Assignments of an upsert. */
export function overwrites(columns: readonly string[]): string {
  return columns.map((name) => `${name} = excluded.${name}`).join(', ');
}

/** The value of a column in a record. */
export function valueOf({ field, within }: Column, record: unknown): SqlValue | boolean {
  type Holder = Readonly<Record<string, SqlValue | boolean>> | null;
  const holder = (within === null ? record : (record as Record<string, unknown>)[within]) as Holder;
  return holder?.[field] ?? null;
}

function columnsOf<R>(fields: Fields<R>): Column[] {
  return Object.entries<unknown>(fields).flatMap(([field, spec]) =>
    typeof spec === 'string' || Array.isArray(spec)
      ? [columnOf(field, spec as ColumnSpec, null)]
      : Object.entries(spec as Record<string, ColumnSpec>).map(([inner, one]) => columnOf(inner, one, field)),
  );
}

function columnOf(field: string, spec: ColumnSpec, within: string | null): Column {
  const [type, name] = typeof spec === 'string' ? [spec, snake(field)] : spec;
  return { name, type, field, within };
}

function snake(field: string): string {
  return field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
