import { dueSlots } from '../core/schedule/due-slots.ts';
import type { ScheduleRule } from '../core/definition/spec.ts';
import { settleBuffered } from '../store/schedules/slots.ts';
import { writeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import { questionOf, recordPassed, wakeAfter } from './fire.ts';
import type { Passed } from './fire.ts';
import { movedBack } from './move-back.ts';

/** The changes of a schedule; an omitted field stays. */
export interface ScheduleChange {
  readonly workflow?: string;
  readonly input?: string;
  readonly rule?: ScheduleRule;
  readonly overrides?: string | null;
  readonly paused?: boolean;
  readonly enabled?: boolean;
}

const timingFields = ['cron', 'every', 'at', 'timezone', 'startAt', 'endAt'] as const;

/** True if two rules have the same slots. */
export function isSameTiming(a: ScheduleRule, b: ScheduleRule): boolean {
  return timingFields.every((field) => a[field] === b[field]);
}

/**
 * Slots up to `now` that will start nothing: those of a paused schedule, and the unfired ones of a schedule that ends or
 * gets other slots.
 */
export function passedBy(record: ScheduleRecord, now: number): Passed[] {
  if (!record.enabled) return [];
  const { pausedAt } = record;
  const { decisions } = dueSlots(questionOf(record, now, pausedAt ?? now));
  return decisions.flatMap((decision): Passed[] => {
    if (decision.kind === 'start') return [];
    const reason = pausedAt === null && decision.reason === 'paused' ? 'missed' : decision.reason;
    return [{ ...decision, reason, error: null }];
  });
}

/**
 * Changes a schedule whose row is locked. A change of its slots counts from the time of the transaction on: the new rule
 * fires nothing before it, and every slot of the old one has a record. So does the end of a pause. A schedule that was
 * moved while the clock was ahead goes on from now.
 */
export function* changeSchedule(tx: Tx, known: ScheduleRecord, change: ScheduleChange): Script<ScheduleRecord> {
  const record = yield* movedBack(tx, known);
  const { rule = record.rule, enabled = record.enabled, paused = record.pausedAt !== null } = change;
  const isRetimed = !isSameTiming(rule, record.rule);
  const begins = enabled && !record.enabled;
  const isCut = record.enabled && (isRetimed || !enabled || (record.pausedAt !== null && !paused));
  if (isCut) for (const passed of passedBy(record, tx.now)) yield* recordPassed(tx, record.id, passed);
  const idle = paused || !enabled;
  if (idle && record.bufferedSlot !== null) yield* dropBuffered(tx, record, paused ? 'paused' : 'missed');
  const changed: ScheduleRecord = {
    ...record,
    workflow: change.workflow ?? record.workflow,
    input: change.input ?? record.input,
    rule,
    anchor: rule.every === record.rule.every ? record.anchor : tx.now,
    overrides: change.overrides === undefined ? record.overrides : change.overrides,
    enabled,
    pausedAt: paused ? (record.pausedAt ?? tx.now) : null,
    cursor: begins || isCut ? Math.max(record.cursor, tx.now) : record.cursor,
    bufferedSlot: idle ? null : record.bufferedSlot,
    movedFrom: isRetimed ? null : record.movedFrom,
    catchUpLeft: isCut ? null : record.catchUpLeft,
    updatedAt: tx.now,
  };
  const written = { ...changed, nextAt: wakeAfter(changed) };
  yield* writeSchedule(written);
  return written;
}

function* dropBuffered(tx: Tx, { id, bufferedSlot }: ScheduleRecord, reason: 'paused' | 'missed'): Script<void> {
  if (bufferedSlot === null) return;
  const dropped = { slot: bufferedSlot, outcome: reason, reason, executionId: null, error: null, at: tx.now };
  yield* settleBuffered(id, dropped);
}
