import type { ExecutionStatus } from '../../core/execution/states.ts';
import type { NewExecution, Pin, ScheduleMark } from '../transition.ts';
import { Table } from './table.ts';

/** An execution as it is stored: values are JSON text, times epoch ms. */
export interface ExecutionRecord {
  readonly id: string;
  readonly tenant: string;
  readonly workflow: string;
  readonly pin: Pin | null;
  readonly buildId: string;
  readonly status: ExecutionStatus;
  readonly reason: string | null;
  readonly owner: string | null;
  readonly epoch: number;
  readonly inboxSeq: number;
  readonly inboxAcked: number;
  /** How often its owner was lost since a task last ended. */
  readonly crashCount: number;
  /** How often a runner began to load it since the last load that came to its end. */
  readonly loadAttempts: number;
  readonly priority: number;
  readonly createdAt: number;
  readonly wakeAt: number | null;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly input: string;
  readonly inputParsed: boolean;
  readonly output: string | null;
  readonly error: string | null;
  readonly errorTask: string | null;
  readonly tags: string | null;
  /** Executions with the same one count against one limit; null where there is no limit. */
  readonly limitKey: string | null;
  readonly rootId: string;
  readonly depth: number;
  readonly parent: { readonly id: string; readonly task: string; readonly item: number } | null;
  readonly schedule: ScheduleMark | null;
  /** The execution that it was forked from, and the first task that runs again. */
  readonly forked: { readonly from: string; readonly task: string } | null;
}

/** Fields that only an insert and conditions of queries use. */
type Unread = Pick<NewExecution, 'idempotencyKey' | 'inputHash' | 'retention'> & {
  /** True if it was not pinned by its channel: a channel that goes back from the version leaves it there. */
  readonly keepsVersion: boolean;
};

const table = new Table<ExecutionRecord & Unread>('executions', ['id'], {
  id: 'text',
  tenant: 'text',
  workflow: 'text',
  pin: { package: 'text', version: 'text', digest: 'text' },
  keepsVersion: 'flag',
  buildId: 'text',
  status: 'text',
  owner: 'text',
  epoch: 'int',
  priority: 'int',
  createdAt: 'bigint',
  wakeAt: 'bigint',
  startedAt: 'bigint',
  input: 'json',
  tags: 'text',
  idempotencyKey: 'text',
  inputHash: 'text',
  limitKey: 'text',
  rootId: 'text',
  depth: 'int',
  parent: { id: ['text', 'parent_id'], task: ['text', 'parent_task'], item: ['int', 'parent_item'] },
  schedule: {
    id: ['text', 'schedule_id'],
    name: ['text', 'schedule_name'],
    slot: 'bigint',
    isCatchUp: 'flag',
  },
  inputParsed: 'flag',
  retention: 'bigint',
  reason: 'text',
  endedAt: 'bigint',
  output: 'json',
  error: 'json',
  errorTask: 'text',
  inboxSeq: 'int',
  inboxAcked: 'int',
  crashCount: 'int',
  loadAttempts: 'int',
  forked: { from: ['text', 'forked_from'], task: ['text', 'forked_task'] },
});

/** The columns that are read. */
export const executions: Table<ExecutionRecord> = table.without(
  'idempotencyKey',
  'inputHash',
  'retention',
  'keepsVersion',
);

type Later = 'inboxSeq' | 'inboxAcked' | 'crashCount' | 'loadAttempts' | 'forked';

/** An execution that one commit creates and releases. */
export type ReleasedExecution = Omit<ExecutionRecord & Unread, Later>;

export const releasedExecutions: Table<ReleasedExecution> = table.without(
  'inboxSeq',
  'inboxAcked',
  'crashCount',
  'loadAttempts',
  'forked',
);

type OfRelease = 'reason' | 'endedAt' | 'output' | 'error' | 'errorTask';

export type NewExecutionRow = Omit<ReleasedExecution, OfRelease>;

/** The columns of an execution that is created. */
export const newExecutions: Table<NewExecutionRow> = releasedExecutions.without(
  'reason',
  'endedAt',
  'output',
  'error',
  'errorTask',
);

/** With an owner an execution runs at once, without one it waits for any runner. */
export function newExecutionRow(create: NewExecution, owner: string | null): NewExecutionRow {
  const unowned = create.startAt === null ? 'pending' : 'waiting';
  return {
    ...create,
    keepsVersion: create.pin !== null && create.pinBy !== 'channel',
    status: owner === null ? unowned : 'running',
    owner,
    epoch: owner === null ? 0 : 1,
    wakeAt: create.startAt,
    startedAt: owner === null ? null : create.createdAt,
  };
}
