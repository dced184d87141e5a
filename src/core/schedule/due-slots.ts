import { countSlots, lastSlot, nextSlot, slotsBetween } from './fire-times.ts';
import type { ScheduleRule } from '../definition/spec.ts';

/**
 * A slot noticed within this many ms is on time if no later slot has come: enough for a stalled loop, a busy database
 * or a quick restart, so that `catchup: 'skip'` loses nothing to them. Counted from the end of its jitter.
 */
export const onTimeMs = 5000;
/** A slot noticed within this many ms is on time in any case: all schedules due in a second start within that second. */
export const alwaysOnTimeMs = 1000;

/** The reason for slots that started nothing. Slots older than `window` are `outside_window`; both count as missed. */
export type PassReason = 'missed' | 'paused' | 'outside_window';

/** The decision for one slot, or for adjacent slots with one reason. Slots are epoch ms. */
export type SlotDecision =
  | { readonly kind: 'start'; readonly slot: number; readonly isCatchUp: boolean }
  | {
      readonly kind: 'pass';
      readonly reason: PassReason;
      readonly first: number;
      readonly last: number;
      readonly count: number;
    };

export interface DueQuestion {
  readonly rule: ScheduleRule;
  readonly scheduleId: string;
  /** The last slot that was handled, or the time the schedule began; only later slots are considered. */
  readonly cursor: number;
  readonly now: number;
  /** Start of the pause (epoch ms), or null. To resume, ask once with it and store the answer; then it is null. */
  readonly pausedAt: number | null;
  /**
   * The cursor before the clock was set back; null (the default) once the clock has reached it. Slots up to it were
   * handled then: those that are late by now are not handled again.
   */
  readonly movedFrom?: number | null;
  /** The largest number of slots that start by one decision; the rest is due still. Default: any number. */
  readonly limit?: number;
  /** The late slots that the catch-up under way may still start, as the decision before told; null (the default): none is. */
  readonly catchUpLeft?: number | null;
}

export interface Due {
  /** In the order of the slots. */
  readonly decisions: readonly SlotDecision[];
  /** The last slot handled with these decisions. */
  readonly cursor: number;
  /** The next slot, or null after the last one. */
  readonly next: number | null;
  /** Time of the next evaluation: the next slot and its jitter; null while paused, since nothing starts then. */
  readonly wakeAt: number | null;
  /** True if the limit left slots that are due. */
  readonly more: boolean;
  /** The late slots that may start by the next decisions, where the limit cut a catch-up; else null. */
  readonly catchUpLeft: number | null;
}

interface Decided {
  readonly decisions: readonly SlotDecision[];
  readonly more: boolean;
  readonly catchUpLeft: number | null;
}

/**
 * Decides at `now` about every slot since the cursor. Slots are counted, not visited, so a schedule that fires each
 * second and was down for a year costs milliseconds; at most `max` late slots and those of about the last second start.
 * Slots wait for their jitter in order, so each starts within `jitter` of its time. The caller applies overlap: it
 * knows the running executions. `max` holds for an outage as a whole, however many decisions it takes.
 */
export function dueSlots(question: DueQuestion): Due {
  const { rule, scheduleId, cursor, now, pausedAt } = question;
  const from = pausedAt === null ? firstToDecide(question) : cursor + 1;
  const decided = pausedAt === null ? decideActive(question, from) : whole(pausedDecisions(question, pausedAt));
  const { decisions } = decided;
  const final = decisions.at(-1);
  const handled = final === undefined ? from - 1 : final.kind === 'start' ? final.slot : final.last;
  const next = nextSlot(rule, pausedAt === null ? handled : Math.max(handled, now));
  const wakeAt = next === null || pausedAt !== null ? null : next + jitterMs(rule, scheduleId, next);
  return { ...decided, cursor: handled, next, wakeAt };
}

function whole(decisions: readonly SlotDecision[]): Decided {
  return { decisions, more: false, catchUpLeft: null };
}

/** The first instant whose slots are to be decided: after the cursor, and after late slots that were handled before. */
function firstToDecide({ rule, cursor, now, movedFrom = null }: DueQuestion): number {
  if (movedFrom === null) return cursor + 1;
  const late = Math.max(cursor + 1, lateBefore(rule, cursor, now));
  return Math.min(Math.max(cursor, movedFrom) + 1, late);
}

function decideActive(question: DueQuestion, from: number): Decided {
  const { rule, scheduleId, now, limit = Infinity } = question;
  const first = nextSlot(rule, from - 1);
  if (first === null || first > now) return whole([]);
  const late = Math.max(from, lateBefore(rule, from - 1, now));
  const caughtUp = decideLate(question, from, late);
  if (caughtUp.more) return caughtUp;
  const decisions = [...caughtUp.decisions];
  let left = limit - decisions.reduce((count, { kind }) => count + Number(kind === 'start'), 0);
  for (const slot of slotsBetween(rule, late, now + 1)) {
    if (slot + jitterMs(rule, scheduleId, slot) > now) break;
    if (left-- <= 0) return { decisions, more: true, catchUpLeft: null };
    decisions.push({ kind: 'start', slot, isCatchUp: false });
  }
  return whole(decisions);
}

/** Decides about the late slots in [from, to), by `catchup` and `window`. */
function decideLate(question: DueQuestion, from: number, to: number): Decided {
  const { rule, now, limit = Infinity, catchUpLeft } = question;
  if (rule.catchup === 'skip') return whole(pass(rule, 'missed', from, to));
  const oldest = Math.min(Math.max(from, now - rule.window), to);
  const decisions = pass(rule, 'outside_window', from, oldest);
  if (rule.catchup === 'latest') {
    const slot = lastSlot(rule, oldest, to);
    if (slot === null) return whole(decisions);
    return whole([...decisions, ...pass(rule, 'missed', oldest, slot), { kind: 'start', slot, isCatchUp: true }]);
  }
  const left = catchUpLeft ?? rule.max;
  // one more than the limit tells that there is more
  const slots = [...slotsBetween(rule, oldest, to).take(Math.min(left, limit + 1))];
  const more = slots.length > limit;
  if (more) slots.pop();
  const starts = slots.map((slot): SlotDecision => ({ kind: 'start', slot, isCatchUp: true }));
  if (more) return { decisions: [...decisions, ...starts], more, catchUpLeft: left - starts.length };
  return whole([...decisions, ...starts, ...pass(rule, 'missed', (slots.at(-1) ?? oldest - 1) + 1, to)]);
}

/** Nothing starts while paused: slots that were late before the pause are missed, the rest up to `now` is paused. */
function pausedDecisions({ rule, cursor, now }: DueQuestion, pausedAt: number): SlotDecision[] {
  const until = now + 1;
  const paused = Math.min(Math.max(cursor + 1, lateBefore(rule, cursor, pausedAt)), until);
  return [...pass(rule, 'missed', cursor + 1, paused), ...pass(rule, 'paused', paused, until)];
}

/** Slots before this instant are late at `at`; see `onTimeMs` and `alwaysOnTimeMs`. */
function lateBefore(rule: ScheduleRule, cursor: number, at: number): number {
  const waited = at - rule.jitter;
  const newest = lastSlot(rule, Math.max(cursor + 1, waited - onTimeMs), waited + 1);
  return newest === null ? waited - onTimeMs : Math.min(newest, waited - alwaysOnTimeMs);
}

/** The slots in [from, to) as one decision; empty if there are no slots. */
function pass(rule: ScheduleRule, reason: PassReason, from: number, to: number): SlotDecision[] {
  const first = nextSlot(rule, from - 1);
  const last = lastSlot(rule, from, to);
  if (first === null || last === null) return [];
  return [{ kind: 'pass', reason, first, last, count: countSlots(rule, from, to) }];
}

/**
 * The delay in ms from a slot to the start of its execution: 0 to `jitter`, evenly spread, identical on every runner.
 * FNV-1a over the schedule's id and the slot, then the final mix of MurmurHash3, without which adjacent slots get
 * similar delays.
 */
export function jitterMs(rule: ScheduleRule, scheduleId: string, slot: number): number {
  if (rule.jitter === 0) return 0;
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${scheduleId} ${slot}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return Math.floor((((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32) * (rule.jitter + 1));
}
