import { postgresBulk } from './postgres/bulk.ts';
import type { Dialect, RowLock } from './script.ts';
import { sqliteBulk } from './tables/bulk.ts';

/** SQLite has one writer and no row locks: `begin immediate` already holds them all. */
export const sqliteDialect: Dialect = {
  bulk: sqliteBulk,
  lock: () => '',
  lockNames: null,
  among: (column, parameter) => `${column} in (select value from json_each(${parameter}))`,
  strings: (parameter) => `select value from json_each(${parameter})`,
  gathered: (query, columns) => `(select json_group_array(json_array(${columns})) from (${query}) q)`,
  rows: (value, alias) => `json_each(${value}) as ${alias}`,
  field: (row, place) => `json_extract(${row}, '$[${place}]')`,
  fields: (parameter, count) => {
    const columns = Array.from({ length: count }, (_, i) => `json_extract(value, '$[${i}]') as c${i}`);
    return `select ${columns.join(', ')} from json_each(${parameter})`;
  },
};

const rowLocks: Readonly<Record<RowLock, string>> = {
  update: ' for update',
  no_key_update: ' for no key update',
  share: ' for share',
  key_share: ' for key share',
  skip_locked: ' for update skip locked',
};

export const postgresDialect: Dialect = {
  bulk: postgresBulk,
  lock: (rows) => rowLocks[rows],
  // advisory locks need no table that would have to be cleared; two names with one hash only wait for each other
  lockNames: `select pg_advisory_xact_lock(hash) from (select distinct hashtextextended(value, 0) as hash
    from json_array_elements_text($1::json) order by hash) names`,
  // as an array: the planner expects few values and looks up each of them in an index
  among: (column, parameter) => `${column} = any(array(select json_array_elements_text(${parameter}::json)))`,
  strings: (parameter) => `select value from json_array_elements_text(${parameter}::json)`,
  gathered: (query, columns) => `(select json_agg(json_build_array(${columns})) from (${query}) q)`,
  rows: (value, alias) => `json_array_elements(${value}) as ${alias}(value)`,
  field: (row, place) => `${row}->>${place}`,
  fields: (parameter, count) => {
    const columns = Array.from({ length: count }, (_, i) => `value->>${i} as c${i}`);
    return `select ${columns.join(', ')} from json_array_elements(${parameter}::json)`;
  },
};

/** The dialect of a look that takes nothing: its scripts find the same rows and lock none. */
export function lockFree(dialect: Dialect): Dialect {
  return { ...dialect, lock: () => '', lockNames: null };
}
