import type { NewOffer } from '../../store/transition.ts';
import type { Timer } from '../clock.ts';
import type { SlotRequest } from '../slots.ts';
import type { Attempt } from './attempt.ts';

/** The next attempt of a task as other runners may take it. */
export interface RunOffer {
  readonly row: NewOffer;
  /** A helper has it. */
  taken: boolean;
  /** Its withdrawal is on the way to the database. */
  withdrawing: boolean;
}

/** Nothing happens here: the task has not begun, is held, or waits for a message. */
interface Idle {
  readonly is: 'idle';
}

/** User code or the database has a question to answer; the task does nothing else until the answer. */
interface Asking {
  readonly is: 'asking';
}

/** The next attempt waits for a slot of this runner. */
interface Queued {
  readonly is: 'queued';
  /** Undefined if this runner does not serve the queue: a helper has to take the attempt. */
  readonly request: SlotRequest | undefined;
  /** Ends the turn of a poison suspect. A suspect without one waits for its turn. */
  readonly endTurn: (() => void) | undefined;
}

/** The attempt is offered to other runners, or one of them runs it. */
export interface Offered {
  readonly is: 'offered';
  readonly offer: RunOffer;
  /** The attempt still waits for a slot of this runner, too. */
  readonly request: SlotRequest | undefined;
  /** The attempt has a slot of this runner, which waits for the withdrawal of the offer. */
  readonly hasSlot: boolean;
  readonly charged: boolean;
}

/** The attempt has a slot and begins once its start is durable. */
export interface Starting {
  readonly is: 'starting';
  readonly endTurn: (() => void) | undefined;
  /** The start counts as one of the allowed attempts already. */
  readonly charged: boolean;
}

/** The function of the attempt runs. The attempt, not the phase, has the slot: it keeps it until the function returns. */
interface Running {
  readonly is: 'running';
  readonly attempt: Attempt;
  readonly charged: boolean;
}

/** A timer will wake the task. */
interface Waiting {
  readonly is: 'waiting';
  readonly timer: Timer;
}

/** Nothing happens to the task again. */
interface Ended {
  readonly is: 'ended';
}

/** The part of a task's state that exists only in memory: what it does or waits for, and what it holds for that. */
export type Phase = Idle | Asking | Queued | Offered | Starting | Running | Waiting | Ended;

export const idle: Phase = { is: 'idle' };
export const ended: Phase = { is: 'ended' };

/** An answer is to come that this runner has to be there for: the execution is not released before it. */
export function isBusy({ is }: Phase): boolean {
  return is === 'asking' || is === 'offered' || is === 'starting' || is === 'running';
}

/** The task has an attempt under way, here or at a helper, or waits for a slot. */
export function isActive({ is }: Phase): boolean {
  return is === 'queued' || is === 'offered' || is === 'starting' || is === 'running';
}

export function isRunning(phase: Phase, attempt: Attempt): boolean {
  return phase.is === 'running' && phase.attempt === attempt;
}

/** Whether the attempt under way was charged when it began. */
export function isCharged(phase: Phase): boolean {
  return (phase.is === 'offered' || phase.is === 'starting' || phase.is === 'running') && phase.charged;
}
