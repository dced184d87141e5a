import { migrations } from '../migrations/migrate.ts';

/** All of our tables, as created by the migrations. */
const tables: readonly string[] = [
  'cloacina_migrations',
  ...migrations.flatMap(({ text }) => Array.from(text.matchAll(/create table (\w+)/g), (found) => found[1]!)),
];

/**
 * Puts a schema before the names of our tables, so that a statement means the same whatever `search_path` its connection
 * has: behind a pooler that is anybody's, and within the caller's own transaction it is the caller's.
 */
export function schemaQualifier(schema: string): (text: string) => string {
  const place = quotedName(schema);
  const named = new RegExp(`\\b(from|join|into|update|using|table)(\\s+)(${tables.join('|')})\\b`, 'g');
  const known = new Map<string, string>();
  return (text) => {
    let qualified = known.get(text);
    if (qualified === undefined) {
      qualified = text.replaceAll(named, (_, word: string, space: string, table: string) => {
        // the alias keeps the table's name within the statement: columns are written table.column
        return `${word}${space}${place}.${table}`;
      });
      known.set(text, qualified);
    }
    return qualified;
  };
}

/** Quotes a name for SQL. */
export function quotedName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
