import type { NewLog } from '../transition.ts';
import { Table } from './table.ts';

type LogRow = { readonly executionId: string } & NewLog;

export const logs: Table<LogRow> = new Table<LogRow>('logs', ['execution_id', 'task', 'item', 'attempt', 'n'], {
  executionId: 'text',
  task: 'text',
  item: 'int',
  attempt: 'int',
  n: 'int',
  at: 'bigint',
  level: 'text',
  message: 'json',
  data: 'json',
});
