import type { OfferBudget } from '../sharing/offer-budget.ts';
import type { SlotRequest, Slots } from '../slots.ts';
import type { Phase } from './phase.ts';
import type { TaskRun } from './task-run.ts';

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
