import { dueSlots } from '../core/schedule/rule.ts';
import type { ScheduleRule } from '../core/definition/spec.ts';
import { settleBuffered } from '../store/schedules/slots.ts';
import { writeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script } from '../store/script.ts';
import { recordPassed, ruleOf, wakeAfter } from './fire.ts';
import type { Passed } from './fire.ts';

/** The changes of a schedule; absent fields stay. */
export interface ScheduleChange {
  readonly workflow?: string;
  readonly input?: string;
  readonly rule?: ScheduleRule;
  readonly overrides?: string | null;
  readonly paused?: boolean;
  readonly enabled?: boolean;
}

const timingFields = ['cron', 'every', 'at', 'timezone', 'startAt', 'endAt'] as const;

/** Returns true if two rules have the same slots. */
export function isSameTiming(a: ScheduleRule, b: ScheduleRule): boolean {
  return timingFields.every((field) => a[field] === b[field]);
}

/**
 * Returns the slots up to `now` that will start nothing: those of a paused schedule, and the unfired ones of a schedule
 * that ends or gets other slots.
 */
export function passedBy(record: ScheduleRecord, now: number): Passed[] {
  if (!record.enabled) return [];
  const { id: scheduleId, cursor, pausedAt } = record;
  const { decisions } = dueSlots({ rule: ruleOf(record), scheduleId, cursor, now, pausedAt: pausedAt ?? now });
  return decisions.flatMap((decision): Passed[] => {
    if (decision.kind === 'start') return [];
    const reason = pausedAt === null && decision.reason === 'paused' ? 'missed' : decision.reason;
    return [{ ...decision, reason, error: null }];
  });
}

/**
 * Changes a schedule with a locked row. A change of its slots counts from `at` on: the new rule fires no earlier slot,
 * and every slot of the old rule is recorded. The same holds for the end of a pause.
 */
export function* changeSchedule(record: ScheduleRecord, change: ScheduleChange, at: number): Script<ScheduleRecord> {
  const { rule = record.rule, enabled = record.enabled, paused = record.pausedAt !== null } = change;
  const isRetimed = !isSameTiming(rule, record.rule);
  const begins = enabled && !record.enabled;
  const isCut = record.enabled && (isRetimed || !enabled || (record.pausedAt !== null && !paused));
  if (isCut) for (const passed of passedBy(record, at)) yield* recordPassed(record.id, passed, at);
  const idle = paused || !enabled;
  if (idle && record.bufferedSlot !== null) yield* dropBuffered(record, paused ? 'paused' : 'missed', at);
  const changed: ScheduleRecord = {
    ...record,
    workflow: change.workflow ?? record.workflow,
    input: change.input ?? record.input,
    rule,
    anchor: rule.every === record.rule.every ? record.anchor : at,
    overrides: change.overrides === undefined ? record.overrides : change.overrides,
    enabled,
    pausedAt: paused ? (record.pausedAt ?? at) : null,
    cursor: begins || isCut ? Math.max(record.cursor, at) : record.cursor,
    bufferedSlot: idle ? null : record.bufferedSlot,
    updatedAt: at,
  };
  const written = { ...changed, nextAt: wakeAfter(changed) };
  yield* writeSchedule(written);
  return written;
}

function* dropBuffered({ id, bufferedSlot }: ScheduleRecord, reason: 'paused' | 'missed', at: number): Script<void> {
  if (bufferedSlot === null) return;
  const dropped = { slot: bufferedSlot, outcome: reason, reason, executionId: null, error: null, at };
  yield* settleBuffered(id, dropped);
}
