import type { Dialect } from './sql.ts';

/** SQLite has one writer and no row locks: `begin immediate` already holds them all. */
export const sqliteDialect: Dialect = {
  forUpdate: '',
  skipLocked: '',
  among: (column, parameter) => `${column} in (select value from json_each(${parameter}))`,
};
