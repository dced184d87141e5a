import { CloacinaError } from '../core/error.ts';
import { executions } from './migrations/0001-executions.ts';
import { packages } from './migrations/0002-packages.ts';
import { graph } from './migrations/0004-graph.ts';
import { batches } from './migrations/0005-batches.ts';
import { schedules } from './migrations/0003-schedules.ts';
import { all, run } from './sql.ts';
import type { Script } from './sql.ts';

export interface Migration {
  readonly number: number;
  readonly name: string;
  /** Statements, ended by semicolons; `{{rows by key}}` stands for what keeps a table in the order of its key. */
  readonly text: string;
}

/** Forward only; a migration that was released never changes. */
export const migrations: readonly Migration[] = [
  { number: 1, name: 'executions', text: executions },
  { number: 2, name: 'packages', text: packages },
  { number: 3, name: 'schedules', text: schedules },
  { number: 4, name: 'graph', text: graph },
  { number: 5, name: 'batches', text: batches },
];

/**
 * Brings a database to the newest schema, in one transaction. `rowsByKey` is the database's own words after a table.
 * Throws DATABASE_TOO_NEW where a newer Cloacina migrated it.
 */
export function* migrate(now: number, rowsByKey: string, list: readonly Migration[] = migrations): Script<void> {
  yield* run(
    'create table if not exists cloacina_migrations (number integer primary key, name text not null, at bigint not null)',
  );
  const done = yield* all<{ number: number }>('select number from cloacina_migrations order by number');
  const newest = done.at(-1)?.number ?? 0;
  isNewest(newest, list);
  for (const migration of list) {
    if (migration.number <= newest) continue;
    for (const statement of statements(migration.text, rowsByKey)) yield* run(statement);
    yield* run(
      'insert into cloacina_migrations (number, name, at) values ($1, $2, $3)',
      migration.number,
      migration.name,
      now,
    );
  }
}

/** Whether nothing is left to migrate. Throws DATABASE_TOO_NEW. */
export function isNewest(schema: number, list: readonly Migration[] = migrations): boolean {
  const known = list.at(-1)?.number ?? 0;
  if (schema <= known) return schema === known;
  throw new CloacinaError(
    'DATABASE_TOO_NEW',
    `the database has schema ${schema}, this Cloacina knows schemas up to ${known}; upgrade Cloacina`,
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
