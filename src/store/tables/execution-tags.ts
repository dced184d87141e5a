import type { NewExecution } from '../transition.ts';
import { Table } from './table.ts';

interface ExecutionTag {
  readonly tenant: string;
  readonly name: string;
  readonly value: string;
  readonly createdAt: number;
  readonly executionId: string;
}

const key = ['tenant', 'name', 'value', 'created_at', 'execution_id'];

export const executionTags: Table<ExecutionTag> = new Table<ExecutionTag>('execution_tags', key, {
  tenant: 'text',
  name: 'text',
  value: 'text',
  createdAt: 'bigint',
  executionId: 'text',
});

/** A row for each tag of a new execution. */
export function tagRows({ id, tenant, tags, createdAt }: NewExecution): ExecutionTag[] {
  if (tags === null) return [];
  const entries = Object.entries(JSON.parse(tags) as Record<string, string>);
  return entries.map(([name, value]) => ({ tenant, name, value, createdAt, executionId: id }));
}
