import type { BulkTexts } from '../tables/bulk.ts';
import { overwrites } from '../tables/table.ts';
import { rowsFrom } from './arrays.ts';

/** Columns of an execution that every insert must name. The row exists, so only `overwrites` is ever stored. */
const required: Readonly<Record<string, string>> = {
  id: 'o.id',
  tenant: 'o.tenant',
  workflow: 'o.workflow',
  build_id: 'o.build_id',
  status: 'o.status',
  epoch: 'o.epoch',
  created_at: 'o.created_at',
  root_id: 'o.root_id',
  input: `'{}'`,
  input_parsed: '0',
};

export const postgresBulk: BulkTexts = {
  insert: (table, conflict = '') => `${table.into} select ${table.names()} from ${rowsFrom(table, 1, 'r')} ${conflict}`,
  remove: ({ name }, columns, { and, returning = false } = {}) => {
    const conditions = columns.list.map((column) => `${name}.${column.name} = r.${column.name}`);
    if (and !== undefined) conditions.push(`${name}.${and}`);
    const text = removeText(name, rowsFrom(columns, 1, 'r'), conditions.join(' and '));
    return returning ? `${text} returning ${columns.names()}` : text;
  },
  // `insert ... on conflict`: the plan of `update ... from` degrades on tables that were never analysed
  update: (columns, set) => {
    const sets = set((column) => `r.${column}`);
    const values = { ...required, ...sets };
    return `insert into executions (${Object.keys(values).join(', ')}) select ${Object.values(values).join(', ')}
    from (select * from ${rowsFrom(columns, 1, 'r')}) r cross join lateral (select * from executions e where e.id = r.id limit 1) o
    on conflict (id) do update set ${overwrites(Object.keys(sets))}`;
  },
};

/** Deletes the rows of a table that belong to rows `r`: found by their key, also in a table that was never analysed. */
export function removeText(table: string, from: string, condition: string): string {
  return `delete from ${table} where ctid = any(array(select m.ctid from ${from}
    cross join lateral (select ctid from ${table} where ${condition}) m))`;
}
