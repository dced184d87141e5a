import type { Dialect } from './sql.ts';

/** SQLite has one writer and no row locks: `begin immediate` already holds them all. */
export const sqliteDialect: Dialect = {
  forUpdate: '',
  forShare: '',
  forKeyShare: '',
  forNoKeyUpdate: '',
  skipLocked: '',
  lockName: null,
  among: (column, parameter) => `${column} in (select value from json_each(${parameter}))`,
  strings: (parameter) => `select value from json_each(${parameter})`,
  fields: (parameter, count) => {
    const columns = Array.from({ length: count }, (_, i) => `json_extract(value, '$[${i}]') as c${i}`);
    return `select ${columns.join(', ')} from json_each(${parameter})`;
  },
};

export const postgresDialect: Dialect = {
  forUpdate: ' for update',
  forShare: ' for share',
  forKeyShare: ' for key share',
  forNoKeyUpdate: ' for no key update',
  skipLocked: ' for update skip locked',
  // no table of names, so there is nothing to make and to clear away; two names of one hash wait for each other, no more
  lockName: 'select pg_advisory_xact_lock(hashtextextended($1, 0))',
  // as an array: the planner takes it for few values, and looks each of them up in an index
  among: (column, parameter) => `${column} = any(array(select json_array_elements_text(${parameter}::json)))`,
  strings: (parameter) => `select value from json_array_elements_text(${parameter}::json)`,
  fields: (parameter, count) => {
    const columns = Array.from({ length: count }, (_, i) => `value->>${i} as c${i}`);
    return `select ${columns.join(', ')} from json_array_elements(${parameter}::json)`;
  },
};
