import type { NewStep } from '../transition.ts';
import { Table } from './table.ts';

type StepRow = { readonly executionId: string } & NewStep;

export const steps: Table<StepRow> = new Table<StepRow>('steps', ['execution_id', 'task', 'item', 'name'], {
  executionId: 'text',
  task: 'text',
  item: 'int',
  name: 'text',
  output: 'json',
});
