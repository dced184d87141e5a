export type {
  AnyWorkflow,
  ChildOptions,
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
} from './core/definition/definition.ts';
export type { Duration } from './core/duration.ts';
export { errorTable } from './core/error-table.ts';
export type { ErrorCode, ErrorRow } from './core/error-table.ts';
export * from './core/error.ts';
export { eventTypes } from './core/execution/event.ts';
export type { EventType } from './core/execution/event.ts';
export { executionStatuses } from './core/execution/states.ts';
export type { EndedStatus, ExecutionStatus, TaskStatus } from './core/execution/states.ts';
export type { Json, Jsonable } from './core/json.ts';
export type { ScheduleSpec, TaskSpec, WorkflowSpec } from './core/definition/spec.ts';
export type { TaskError } from './core/task-error.ts';
export { settled, unchecked, workflow } from './core/definition/workflow.ts';
export type { ExecutionHandle, ExecutionOutcome, ForkOptions, Result, StartNow } from './engine/client/client.ts';
export type { Clock, Timer } from './engine/clock.ts';
export type { Controlled } from './engine/client/execution-commands.ts';
export { ExecutionFailedError } from './engine/client/execution-failed.ts';
export type {
  EventsOptions,
  ExecutionDetail,
  ExecutionEvent,
  ExecutionLog,
  ExecutionSummary,
  ListOptions,
  LogsOptions,
  Page,
  TaskSummary,
  WatchOptions,
} from './engine/client/execution-queries.ts';
export type { Logger } from './engine/logger.ts';
export type { RunnerEvent, TaskProgress } from './engine/hooks.ts';
export type { StartOptions } from './engine/client/start.ts';
export type { Synchronous } from './engine/client/runner-transaction.ts';
export type { WorkflowEntry } from './engine/client/workflows.ts';
export { Client, Runner } from './open.ts';
export type { CloseOptions } from './open.ts';
export { defaultDatabase, defaultRegistry } from './core/process/default-places.ts';
export type { Asked, Grants } from './package/load/grants.ts';
export type { ClientOptions, PackageMemory, RunnerOptions } from './options.ts';
