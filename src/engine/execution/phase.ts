import type { NewOffer } from '../../store/transition.ts';
import type { Timer } from '../clock.ts';
import type { OfferBudget } from '../sharing/offer-budget.ts';
import type { SlotRequest, Slots } from '../slots.ts';
import type { Attempt } from './attempt.ts';
import type { TaskRun } from './task-run.ts';

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

export function isRunning({ phase }: TaskRun, attempt: Attempt): boolean {
  return phase.is === 'running' && phase.attempt === attempt;
}

/** Whether the attempt under way was charged when it began. */
export function isCharged(phase: Phase): boolean {
  return (phase.is === 'offered' || phase.is === 'starting' || phase.is === 'running') && phase.charged;
}

/** The parts of a runner that a phase can hold something of. */
export interface PhaseHost {
  readonly slots: Slots;
  readonly offers: OfferBudget;
}

/** Gives back what only the old phase of a task holds, and counts a new offer. `run` is in its new phase already. */
export function exchange(run: TaskRun, old: Phase, { slots, offers }: PhaseHost): void {
  const { phase: next } = run;
  if (next.is === 'offered' && old.is !== 'offered') offers.opened(next.offer.row.queue);
  switch (old.is) {
    case 'queued':
      offers.leave(run);
      cancel(old.request, next);
      if (endTurnOf(next) !== old.endTurn) old.endTurn?.();
      return;
    case 'offered': {
      const { offer, request, hasSlot } = old;
      cancel(request, next);
      if (next.is !== 'offered') offers.over(offer.row.queue, offer.taken);
      if (hasSlot && !hasSlotIn(next)) slots.release();
      return;
    }
    case 'starting':
      if (hasSlotIn(next)) return;
      old.endTurn?.();
      slots.release();
      return;
    case 'waiting':
      old.timer.cancel();
      return;
    default:
  }
}

function cancel(request: SlotRequest | undefined, next: Phase): void {
  const isKept = (next.is === 'queued' || next.is === 'offered') && next.request === request;
  if (request !== undefined && !isKept) request.cancelled = true;
}

function endTurnOf(phase: Phase): (() => void) | undefined {
  return phase.is === 'queued' || phase.is === 'starting' ? phase.endTurn : undefined;
}

function hasSlotIn(phase: Phase): boolean {
  return phase.is === 'starting' || phase.is === 'running' || (phase.is === 'offered' && phase.hasSlot);
}
