import type { EventType } from '../../core/execution/event.ts';
import type { NewEvent, NewExecution } from '../transition.ts';
import { Table } from './table.ts';

export interface EventRecord {
  readonly executionId: string;
  readonly seq: number;
  readonly type: EventType;
  readonly at: number;
  readonly task: string | null;
  readonly item: number | null;
  readonly attempt: number | null;
  readonly runner: string | null;
  readonly data: string | null;
}

export const events: Table<EventRecord> = new Table<EventRecord>('events', ['execution_id', 'seq'], {
  executionId: 'text',
  seq: 'int',
  type: 'text',
  at: 'bigint',
  task: 'text',
  item: 'int',
  attempt: 'int',
  runner: 'text',
  data: 'json',
});

/** An event that a runner writes; null for an execution without an owner. */
export function eventRow(executionId: string, event: NewEvent, runner: string | null): EventRecord {
  return { executionId, ...event, runner };
}

/** The first event of an execution without an owner. */
export function createdEventRow({ id, createdAt }: NewExecution): EventRecord {
  const none = { task: null, item: null, attempt: null, data: null };
  return eventRow(id, { seq: 1, type: 'execution.created', at: createdAt, ...none }, null);
}
