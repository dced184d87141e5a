import type { ExecutionStatus, TaskStatus } from '../../core/execution.ts';
import type { EventType } from '../../core/event.ts';
import type { Pin, ScheduleMark, TaskState } from '../transition.ts';

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
  /** How often a runner began to load it since one last came to the end of that. */
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
  readonly rootId: string;
  readonly parent: { readonly id: string; readonly task: string; readonly item: number } | null;
  readonly schedule: ScheduleMark | null;
  /** What it was forked from: an execution, and the task from which on it runs again. */
  readonly forked: { readonly from: string; readonly task: string } | null;
}

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

const columns = `id, tenant, workflow, package, version, digest, build_id, status, reason, owner, epoch, inbox_seq, inbox_acked,
  crash_count, load_attempts, priority, created_at, wake_at, started_at, ended_at, input, input_parsed, output, error, error_task, tags, root_id,
  parent_id, parent_task, parent_item, schedule_id, schedule_name, slot, is_catch_up, forked_from, forked_task`;

export const executionColumns: string = columns;

/** The columns of an execution in a query that names its table so. */
export function columnsOf(table: string): string {
  return columns.replaceAll(/(\w+)/g, `${table}.$1`);
}

export interface ExecutionRow {
  readonly id: string;
  readonly tenant: string;
  readonly workflow: string;
  readonly package: string | null;
  readonly version: string | null;
  readonly digest: string | null;
  readonly build_id: string;
  readonly status: ExecutionStatus;
  readonly reason: string | null;
  readonly owner: string | null;
  readonly epoch: number;
  readonly inbox_seq: number;
  readonly inbox_acked: number;
  readonly crash_count: number;
  readonly load_attempts: number;
  readonly priority: number;
  readonly created_at: number;
  readonly wake_at: number | null;
  readonly started_at: number | null;
  readonly ended_at: number | null;
  readonly input: string;
  readonly input_parsed: number;
  readonly output: string | null;
  readonly error: string | null;
  readonly error_task: string | null;
  readonly tags: string | null;
  readonly root_id: string;
  readonly parent_id: string | null;
  readonly parent_task: string | null;
  readonly parent_item: number | null;
  readonly schedule_id: string | null;
  readonly schedule_name: string | null;
  readonly slot: number | null;
  readonly is_catch_up: number | null;
  readonly forked_from: string | null;
  readonly forked_task: string | null;
}

export function executionRecord(row: ExecutionRow): ExecutionRecord {
  const { package: name, version, digest } = row;
  return {
    id: row.id,
    tenant: row.tenant,
    workflow: row.workflow,
    pin: name === null ? null : { package: name, version: version!, digest: digest! },
    buildId: row.build_id,
    status: row.status,
    reason: row.reason,
    owner: row.owner,
    epoch: row.epoch,
    inboxSeq: row.inbox_seq,
    inboxAcked: row.inbox_acked,
    crashCount: row.crash_count,
    loadAttempts: row.load_attempts,
    priority: row.priority,
    createdAt: row.created_at,
    wakeAt: row.wake_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    input: row.input,
    inputParsed: row.input_parsed !== 0,
    output: row.output,
    error: row.error,
    errorTask: row.error_task,
    tags: row.tags,
    rootId: row.root_id,
    parent: row.parent_id === null ? null : { id: row.parent_id, task: row.parent_task!, item: row.parent_item! },
    schedule:
      row.schedule_id === null
        ? null
        : { id: row.schedule_id, name: row.schedule_name!, slot: row.slot!, isCatchUp: row.is_catch_up === 1 },
    forked: row.forked_from === null ? null : { from: row.forked_from, task: row.forked_task! },
  };
}

export interface TaskRow {
  readonly execution_id: string;
  readonly task: string;
  readonly item: number;
  readonly status: TaskStatus;
  readonly attempt: number;
  readonly charged_attempts: number;
  readonly epoch: number;
  readonly started_at: number | null;
  readonly ended_at: number | null;
  readonly wake_at: number | null;
  readonly output: string | null;
  readonly error: string | null;
  readonly reason: string | null;
  readonly cause: string | null;
  readonly value: string | null;
}

export function taskRecord(row: TaskRow): TaskState {
  return {
    task: row.task,
    item: row.item,
    status: row.status,
    attempt: row.attempt,
    chargedAttempts: row.charged_attempts,
    epoch: row.epoch,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    wakeAt: row.wake_at,
    output: row.output,
    error: row.error,
    reason: row.reason,
    cause: row.cause,
    value: row.value,
  };
}

export interface EventRow {
  readonly execution_id: string;
  readonly seq: number;
  readonly type: EventType;
  readonly at: number;
  readonly task: string | null;
  readonly item: number | null;
  readonly attempt: number | null;
  readonly runner: string | null;
  readonly data: string | null;
}

export function eventRecord(row: EventRow): EventRecord {
  const { execution_id: executionId, seq, type, at, task, item, attempt, runner, data } = row;
  return { executionId, seq, type, at, task, item, attempt, runner, data };
}
