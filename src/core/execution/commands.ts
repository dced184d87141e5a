import { isEnded, isTaskEnded } from './states.ts';
import type { ExecutionStatus, TaskStatus } from './states.ts';

/** A request to an execution that its owner, or the database without an owner, carries out. */
export type Command = 'cancel' | 'pause' | 'resume' | 'retry';

/** The state of an execution that decides about a request. */
export interface Commanded {
  readonly status: ExecutionStatus;
  readonly owner: string | null;
  /** The reason of a pause. */
  readonly reason: string | null;
}

/**
 * The effect of a request. `post`: the owner gets a message. `apply`: the execution has no owner, so the request is
 * carried out at once. `done`: its state is the requested one already. `ended`, `refused`: its state does not allow the
 * request.
 */
export type CommandEffect = 'post' | 'apply' | 'done' | 'ended' | 'refused';

export function effectOf(command: Command, { status, owner, reason }: Commanded): CommandEffect {
  if (command === 'retry') return owner === null && isRetryable(status, reason) ? 'apply' : 'refused';
  if (isEnded(status)) return 'ended';
  // a pause may be under way at the owner
  if (owner !== null) return 'post';
  if (command === 'pause' && status === 'paused') return 'done';
  if (command === 'resume' && !isResumable(status, reason)) return 'refused';
  return 'apply';
}

/** A runner would hold an execution again whose definition has changed. */
function isResumable(status: ExecutionStatus, reason: string | null): boolean {
  return status === 'paused' && reason !== 'DEFINITION_CHANGED';
}

/** It failed, was cancelled, or an engine holds it. */
function isRetryable(status: ExecutionStatus, reason: string | null): boolean {
  const isHeld = status === 'paused' && (reason === 'DEFINITION_CHANGED' || reason === 'CRASH_LOOP');
  return status === 'failed' || status === 'cancelled' || isHeld;
}

/** Returns true if the end of an execution cancels a task or an item with an event of its own. An item that never began has none. */
export function isCancelledByName(status: TaskStatus, isItem: boolean): boolean {
  return hasBegun(status) || (!isItem && !isTaskEnded(status));
}

/** Returns true if an attempt of the task, or its wait, has begun and has not ended. */
export function hasBegun(status: TaskStatus): boolean {
  return status === 'running' || status === 'waiting';
}

/** Tasks that have not ended: a cancellation ends them. */
export const openTasks: readonly TaskStatus[] = ['pending', 'running', 'waiting'];

/** Ended tasks that a retry opens again; it keeps the completed ones. */
export const reopenedTasks: readonly TaskStatus[] = ['failed', 'cancelled', 'skipped'];
