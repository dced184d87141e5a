import { CloacinaError } from '../../core/error.ts';
import { executions } from './0001-executions.ts';
import { registry } from './0002-registry.ts';
import { schedules } from './0003-schedules.ts';
import { first, run } from '../script.ts';
import type { Script } from '../script.ts';

export interface Migration {
  readonly number: number;
  readonly name: string;
  /** Statements, ended by semicolons; `{{rows by key}}` stands for what keeps a table in the order of its key. */
  readonly text: string;
  /**
   * The number of the schema that a version must know at least to go on working once this one is there; default its own.
   * Columns and tables that are only added leave older versions working.
   */
  readonly oldest?: number;
}

/** Forward only; a migration that was released never changes. */
export const migrations: readonly Migration[] = [
  { number: 1, name: 'executions', text: executions },
  { number: 2, name: 'registry', text: registry },
  { number: 3, name: 'schedules', text: schedules },
];

/**
 * Brings a database to the newest schema, in one transaction. `rowsByKey` is the database's own words after a table.
 * Throws DATABASE_TOO_NEW where a newer Cloacina migrated it to what this one cannot work with.
 */
export function* migrate(now: number, rowsByKey: string, list: readonly Migration[] = migrations): Script<void> {
  yield* run(
    'create table if not exists cloacina_migrations (number integer primary key, name text not null, at bigint not null, oldest integer not null)',
  );
  const newest = yield* schemaNumber();
  if (yield* isNewest(list)) return;
  for (const migration of list) {
    const { number, name, text, oldest = number } = migration;
    if (number <= newest) continue;
    for (const statement of statements(text, rowsByKey)) yield* run(statement);
    yield* run(
      'insert into cloacina_migrations (number, name, at, oldest) values ($1, $2, $3, $4)',
      number,
      name,
      now,
      oldest,
    );
  }
}

/** The number of the newest migration that was run; 0 for none. */
export function* schemaNumber(): Script<number> {
  const row = yield* first<{ newest: number | null }>('select max(number) as newest from cloacina_migrations');
  return row?.newest ?? 0;
}

/**
 * Whether nothing is left to migrate: also where a newer version has, to a schema that this one works with. Throws
 * DATABASE_TOO_NEW where it does not.
 */
export function* isNewest(list: readonly Migration[] = migrations): Script<boolean> {
  const known = list.at(-1)?.number ?? 0;
  const schema = yield* schemaNumber();
  if (schema <= known) return schema === known;
  const told = yield* first<{ oldest: number }>(
    'select max(oldest) as oldest from cloacina_migrations where number > $1',
    known,
  );
  if (told !== undefined && told.oldest <= known) return true;
  throw new CloacinaError(
    'DATABASE_TOO_NEW',
    `the database has schema ${schema}, which needs a Cloacina that knows schema ${told?.oldest ?? schema}; this one knows schemas up to ${known}: upgrade it`,
  );
}

/** The tables that are made by the migrations after a schema. */
export function tablesAfter(schema: number): readonly string[] {
  const texts = migrations.filter(({ number }) => number > schema).map(({ text }) => text);
  return texts.flatMap((text) => Array.from(text.matchAll(/create table (\w+)/g), (found) => found[1]!));
}

function statements(text: string, rowsByKey: string): string[] {
  const parts = text.replaceAll('{{rows by key}}', rowsByKey).split(';');
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}
