import { CloacinaError } from '../../core/error.ts';
import { executions } from './0001-executions.ts';
import { registry } from './0002-registry.ts';
import { schedules } from './0003-schedules.ts';
import { first, run } from '../script.ts';
import type { Script } from '../script.ts';

export interface Migration {
  readonly number: number;
  readonly name: string;
  /** Statements, ended by semicolons; `{{rows by key}}` is replaced by the clause that stores a table in key order. */
  readonly text: string;
  /**
   * The oldest schema number whose code still works with this schema; default its own. Added columns and tables leave
   * older versions working.
   */
  readonly oldest?: number;
}

/** Forward only; a released migration never changes. */
export const migrations: readonly Migration[] = [
  { number: 1, name: 'executions', text: executions },
  { number: 2, name: 'registry', text: registry },
  { number: 3, name: 'schedules', text: schedules },
];

/**
 * Migrates a database to the newest schema, in one transaction. `rowsByKey` is the database's clause after a table
 * definition. Throws DATABASE_TOO_NEW if a newer Cloacina migrated it to an incompatible schema.
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

/** Returns the number of the newest applied migration; 0 for none. */
export function* schemaNumber(): Script<number> {
  const row = yield* first<{ newest: number | null }>('select max(number) as newest from cloacina_migrations');
  return row?.newest ?? 0;
}

/**
 * Returns true if nothing is left to migrate, also after a newer version's compatible migrations. Throws
 * DATABASE_TOO_NEW for incompatible ones.
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

/** Returns the tables created by the migrations after a schema. */
export function tablesAfter(schema: number): readonly string[] {
  const texts = migrations.filter(({ number }) => number > schema).map(({ text }) => text);
  return texts.flatMap((text) => Array.from(text.matchAll(/create table (\w+)/g), (found) => found[1]!));
}

function statements(text: string, rowsByKey: string): string[] {
  const parts = text.replaceAll('{{rows by key}}', rowsByKey).split(';');
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}
