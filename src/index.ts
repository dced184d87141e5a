export type {
  AnyWorkflow,
  Ctx,
  Log,
  MapOptions,
  NodeOptions,
  Retry,
  ScheduleOptions,
  Settled,
  SettledTask,
  SkipReason,
  Task,
  Workflow,
  WorkflowOptions,
  WorkflowRef,
  WorkOptions,
} from './core/definition.ts';
export type { Duration } from './core/duration.ts';
export { errorTable } from './core/error-table.ts';
export type { ErrorCode, ErrorRow } from './core/error-table.ts';
export * from './core/error.ts';
export { eventTypes } from './core/event.ts';
export type { EventType } from './core/event.ts';
export { executionStatuses } from './core/execution.ts';
export type { EndedStatus, ExecutionStatus, TaskStatus } from './core/execution.ts';
export type { Json, Jsonable } from './core/json.ts';
export type { ScheduleSpec, TaskSpec, WorkflowSpec } from './core/spec.ts';
export type { TaskError } from './core/task-error.ts';
export { settled, unchecked, workflow } from './core/workflow.ts';
export type { ExecutionHandle, ExecutionOutcome, Result, StartNow } from './engine/client.ts';
export type { Clock, Timer } from './engine/clock.ts';
export type { Controlled } from './engine/control.ts';
export { ExecutionFailedError } from './engine/execution-failed.ts';
export type {
  ExecutionDetail,
  ExecutionEvent,
  ExecutionLog,
  ExecutionSummary,
  ListOptions,
  Page,
  TaskSummary,
} from './engine/executions.ts';
export type { Logger } from './engine/logger.ts';
export type { RunnerEvent, TaskProgress } from './engine/hooks.ts';
export type { StartOptions } from './engine/start.ts';
export type { Synchronous } from './engine/transaction.ts';
export type { WorkflowEntry } from './engine/workflows.ts';
export { Client, Runner } from './open.ts';
export { defaultDatabase, defaultRegistry } from './options.ts';
export type { Asked, Grants } from './package/grants.ts';
export type { ClientOptions, RunnerOptions } from './options.ts';
