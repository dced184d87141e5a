/** The event types of an execution. They are persisted and never change. */
export const eventTypes = [
  'execution.created',
  'execution.started',
  'execution.adopted',
  'execution.released',
  'execution.waiting',
  'execution.resumed',
  'execution.paused',
  'execution.cancelling',
  'execution.completed',
  'execution.failed',
  'execution.cancelled',
  'execution.retried',
  'execution.forked',
  'task.started',
  'task.timed_out',
  'task.retrying',
  'task.completed',
  'task.failed',
  'task.skipped',
  'task.cancelled',
  'task.waiting',
  'signal.received',
] as const;

export type EventType = (typeof eventTypes)[number];
