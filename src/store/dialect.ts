import { postgresBulk } from './postgres/bulk.ts';
import type { Dialect } from './script.ts';
import { sqliteBulk } from './tables/bulk.ts';

/** SQLite has one writer and no row locks: `begin immediate` already holds them all. */
export const sqliteDialect: Dialect = {
  bulk: sqliteBulk,
  forUpdate: '',
  forShare: '',
  forKeyShare: '',
  forNoKeyUpdate: '',
  skipLocked: '',
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

export const postgresDialect: Dialect = {
  bulk: postgresBulk,
  forUpdate: ' for update',
  forShare: ' for share',
  forKeyShare: ' for key share',
  forNoKeyUpdate: ' for no key update',
  skipLocked: ' for update skip locked',
  // no table of names, so there is nothing to make and to clear away; two names of one hash wait for each other, no more
  lockNames: `select pg_advisory_xact_lock(hash) from (select distinct hashtextextended(value, 0) as hash
    from json_array_elements_text($1::json) order by hash) names`,
  // as an array: the planner takes it for few values, and looks each of them up in an index
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
