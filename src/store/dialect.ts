import type { Dialect } from './sql.ts';

/** SQLite has one writer and no row locks: `begin immediate` already holds them all. */
export const sqliteDialect: Dialect = {
  forUpdate: '',
  skipLocked: '',
  holds: (column, key, value) =>
    `exists (select 1 from json_each(${column}) as tag where tag.key = ${key} and tag.value = ${value})`,
  among: (column, parameter) => `${column} in (select value from json_each(${parameter}))`,
};
