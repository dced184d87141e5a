import { dueSlots, jitterMs } from '../core/schedule/due-slots.ts';
import type { DueQuestion, SlotDecision } from '../core/schedule/due-slots.ts';
import { anchoredRule } from '../core/schedule/rule.ts';
import { nextSlot } from '../core/schedule/fire-times.ts';
import type { ScheduleRule } from '../core/definition/spec.ts';
import { newExecution } from '../engine/client/start.ts';
import { createPinned } from '../store/executions/create.ts';
import { cancelLocked } from '../store/executions/commands.ts';
import { lockFamily } from '../store/executions/family.ts';
import { extendSlot, insertSlot, settleBuffered, slotAtOrBefore, slotOutcomes } from '../store/schedules/slots.ts';
import type { SlotReason } from '../store/schedules/slots.ts';
import { moveSchedule, openExecutions } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import { slotExecutionId } from './slot-id.ts';
import type { HeldStart } from './start.ts';

/** The rule that a schedule fires by. Throws ROW_DAMAGED. */
export function ruleOf({ rule, anchor, damaged }: Pick<ScheduleRecord, 'rule' | 'anchor' | 'damaged'>): ScheduleRule {
  if (damaged !== undefined) throw damaged;
  return anchoredRule(rule, anchor);
}

/** The question of the slots of a schedule that are due at `now`. Throws ROW_DAMAGED. */
export function questionOf(record: ScheduleRecord, now: number, pausedAt: number | null): DueQuestion {
  const { id: scheduleId, cursor, movedFrom, catchUpLeft } = record;
  return { rule: ruleOf(record), scheduleId, cursor, now, pausedAt, movedFrom, catchUpLeft };
}

/** The time of the next look at a schedule: its next slot and that slot's jitter; null while it fires nothing. */
export function wakeAfter(record: ScheduleRecord): number | null {
  if (!record.enabled || record.pausedAt !== null) return null;
  const rule = ruleOf(record);
  const next = nextSlot(rule, record.cursor);
  return next === null ? null : next + jitterMs(rule, record.id, next);
}

/** Slots that started nothing, and the reason. */
export interface Passed {
  readonly reason: SlotReason;
  readonly first: number;
  readonly last: number;
  readonly count: number;
  /** JSON text of a TaskError, for `failed`. */
  readonly error: string | null;
}

/** Records slots that started nothing; neighbours with the same reason are one row. Returns true if it began a new row. */
export function* recordPassed(tx: Tx, scheduleId: string, passed: Passed): Script<boolean> {
  const { reason, first, last, count, error } = passed;
  const before = yield* slotAtOrBefore(scheduleId, first);
  if (before?.reason === reason && before.error === error && before.through < first) {
    yield* extendSlot(scheduleId, before.slot, last, count, tx.now);
    return false;
  }
  const outcome = slotOutcomes[reason];
  const range = { slot: first, through: last, count, outcome, reason, error, at: tx.now };
  return yield* insertSlot(scheduleId, { ...range, isCatchUp: false, executionId: null });
}

/** The result of a firing. */
export interface Fired {
  readonly record: ScheduleRecord;
  /** Slots that were to start, whether their overlap let them or not. */
  readonly tried: number;
  /** More slots are due: the limit left them. */
  readonly more: boolean;
  readonly started: number;
  readonly cancelled: number;
  /** Errors (JSON text) of failed starts; an error that the slot before had is not repeated. */
  readonly failures: readonly string[];
}

/** The largest number of slots that one transaction tries to start. */
export const startLimit = 200;

/**
 * Fires the due slots of a schedule whose row is locked, at most `limit` that start: each slot with its outcome, the
 * executions it starts, and the cursor, in the caller's transaction. A crash before or after it loses nothing and repeats
 * nothing.
 */
export function* fireSchedule(
  tx: Tx,
  record: ScheduleRecord,
  start: HeldStart,
  limit: number = startLimit,
): Script<Fired> {
  return yield* new Firing(tx, record, start).run(limit);
}

class Firing {
  readonly #tx: Tx;
  readonly #record: ScheduleRecord;
  readonly #start: HeldStart;
  readonly #failures: string[] = [];
  /** Executions of this schedule that have not ended; read on first use. */
  #open: string[] | undefined;
  #bufferedSlot: number | null;
  #lastSlot: number | null;
  #started = 0;
  #cancelled = 0;

  constructor(tx: Tx, record: ScheduleRecord, start: HeldStart) {
    this.#tx = tx;
    this.#record = record;
    this.#start = start;
    this.#bufferedSlot = record.bufferedSlot;
    this.#lastSlot = record.lastSlot;
  }

  *run(limit: number): Script<Fired> {
    const due = dueSlots({ ...questionOf(this.#record, this.#tx.now, null), limit });
    if (this.#bufferedSlot !== null) yield* this.#freeBuffered(this.#bufferedSlot);
    for (const decision of due.decisions) yield* this.#carryOut(decision);
    const moved = {
      cursor: due.cursor,
      nextAt: due.wakeAt,
      bufferedSlot: this.#bufferedSlot,
      lastSlot: this.#lastSlot,
      movedFrom: after(this.#record.movedFrom, due.cursor),
      catchUpLeft: due.catchUpLeft,
    };
    const record: ScheduleRecord = { ...this.#record, ...moved };
    yield* moveSchedule(record);
    const tried = due.decisions.filter(({ kind }) => kind === 'start').length;
    const acts = { started: this.#started, cancelled: this.#cancelled, failures: this.#failures };
    return { record, tried, more: due.more, ...acts };
  }

  *#carryOut(decision: SlotDecision): Script<void> {
    if (decision.kind === 'pass') return yield* this.#pass({ ...decision, error: null });
    const { slot, isCatchUp } = decision;
    const start = this.#start;
    const alone = { first: slot, last: slot, count: 1 };
    if (start.status === 'failed') return yield* this.#pass({ ...alone, reason: 'failed', error: start.error });
    const { overlap } = this.#record.rule;
    if (overlap === 'allow' || overlap === 'cancel_other' || (yield* this.#openNow()).length === 0) {
      return yield* this.#begin(slot, isCatchUp);
    }
    if (overlap === 'skip' || this.#bufferedSlot !== null) {
      return yield* this.#pass({ ...alone, reason: 'skipped_overlap', error: null });
    }
    return yield* this.#buffer(slot, isCatchUp);
  }

  *#pass(passed: Passed): Script<void> {
    const begun = yield* recordPassed(this.#tx, this.#record.id, passed);
    if (begun && passed.error !== null) this.#failures.push(passed.error);
  }

  *#begin(slot: number, isCatchUp: boolean): Script<void> {
    const executionId = slotExecutionId(this.#record.id, slot);
    const row = { slot, through: slot, count: 1, outcome: 'started', reason: null, isCatchUp, error: null } as const;
    const isNew = yield* insertSlot(this.#record.id, { ...row, executionId, at: this.#tx.now });
    if (!isNew) return; // it started while the clock was ahead
    if (this.#record.rule.overlap === 'cancel_other') yield* this.#cancelOpen();
    yield* this.#create(executionId, slot, isCatchUp);
  }

  *#create(id: string, slot: number, isCatchUp: boolean): Script<void> {
    const start = this.#start;
    if (start.status === 'failed') return;
    const { id: scheduleId, name, tenant } = this.#record;
    const schedule = { id: scheduleId, name, slot, isCatchUp };
    const { resolved, input, pins } = start;
    const create = newExecution({ resolved, input, options: {}, tenant, now: this.#tx.now, schedule, id });
    yield* createPinned(this.#tx, [create], pins);
    this.#open?.push(id);
    this.#lastSlot = Math.max(slot, this.#lastSlot ?? slot);
    this.#started += 1;
  }

  *#buffer(slot: number, isCatchUp: boolean): Script<void> {
    const row = { slot, through: slot, count: 1, outcome: 'buffered', reason: null, isCatchUp, error: null } as const;
    if (yield* insertSlot(this.#record.id, { ...row, executionId: null, at: this.#tx.now })) this.#bufferedSlot = slot;
  }

  /** Starts the buffered slot, once no execution of the schedule runs. */
  *#freeBuffered(slot: number): Script<void> {
    if ((yield* this.#openNow()).length > 0) return;
    const { id: scheduleId } = this.#record;
    const start = this.#start;
    this.#bufferedSlot = null;
    if (start.status === 'failed') {
      const failed = { outcome: 'failed', reason: 'failed', executionId: null, error: start.error } as const;
      this.#failures.push(start.error);
      yield* settleBuffered(scheduleId, { ...failed, slot, at: this.#tx.now });
      return;
    }
    const waited = yield* slotAtOrBefore(scheduleId, slot);
    const executionId = slotExecutionId(scheduleId, slot);
    const started = { outcome: 'started', reason: null, executionId, error: null } as const;
    yield* settleBuffered(scheduleId, { ...started, slot, at: this.#tx.now });
    yield* this.#create(executionId, slot, waited?.isCatchUp ?? false);
  }

  *#cancelOpen(): Script<void> {
    const open = yield* this.#openNow();
    yield* lockFamily(this.#tx, open);
    for (const id of open) {
      yield* cancelLocked(this.#tx, id, this.#record.tenant);
      this.#cancelled += 1;
    }
    this.#open = [];
  }

  *#openNow(): Script<readonly string[]> {
    this.#open ??= yield* openExecutions(this.#record.id);
    return this.#open;
  }
}

/** A time that the cursor has not reached yet, or null. */
function after(time: number | null, cursor: number): number | null {
  return time !== null && time > cursor ? time : null;
}
