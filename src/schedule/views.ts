import { parseJson, storedValue } from '../core/json.ts';
import type { Json } from '../core/json.ts';
import { nextSlot } from '../core/schedule/fire-times.ts';
import type { ExecutionStatus } from '../core/execution/states.ts';
import type { ScheduleRule } from '../core/definition/spec.ts';
import type { TaskError } from '../core/task-error.ts';
import { slotOutcomes } from '../store/schedules/slots.ts';
import type { HistoryRecord, SlotOutcome, SlotReason } from '../store/schedules/slots.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import { ruleOf } from './fire.ts';
import type { Passed } from './fire.ts';

/** A schedule in a list. Times are epoch ms, durations ms. */
export interface ScheduleSummary extends ScheduleRule {
  readonly id: string;
  readonly name: string;
  /** `operator`, `embedded`, or `package:<name>`. */
  readonly owner: string;
  readonly workflow: string;
  readonly paused: boolean;
  /** False if its owner (a package, an embedded workflow) no longer declares it. */
  readonly enabled: boolean;
  /** The next slot that will fire; null while paused or disabled, and after the last slot. */
  readonly next: number | null;
  /** The last slot that started an execution. */
  readonly last: number | null;
}

export interface ScheduleDetail extends ScheduleSummary {
  readonly input: Json;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Converts a record. Throws ROW_DAMAGED. */
export function scheduleSummary(record: ScheduleRecord, now: number): ScheduleSummary {
  if (record.damaged !== undefined) throw record.damaged;
  const { id, name, owner, workflow, rule, pausedAt, enabled, lastSlot } = record;
  const next = nextOf(record, now);
  return { id, name, owner, workflow, ...rule, paused: pausedAt !== null, enabled, next, last: lastSlot };
}

export function scheduleDetail(record: ScheduleRecord, now: number): ScheduleDetail {
  const { createdAt, updatedAt } = record;
  return { ...scheduleSummary(record, now), input: parseJson(record.input), createdAt, updatedAt };
}

export function nextOf(record: ScheduleRecord, now: number): number | null {
  if (!record.enabled || record.pausedAt !== null) return null;
  return nextSlot(ruleOf(record), Math.max(record.cursor, now));
}

/** The result of a slot, or of adjacent slots with one reason (`count` of them, from `slot` through `through`). */
export interface SlotSummary {
  readonly slot: number;
  readonly through: number;
  readonly count: number;
  readonly outcome: SlotOutcome;
  readonly reason: SlotReason | null;
  readonly isCatchUp: boolean;
  readonly executionId: string | null;
  /** Start time of its execution. */
  readonly startedAt: number | null;
  readonly status: ExecutionStatus | null;
  /** The reason why its execution could not be started. */
  readonly error: TaskError | null;
}

export function slotSummary(record: HistoryRecord): SlotSummary {
  const { slot, through, count, outcome, reason, isCatchUp, executionId, startedAt, status, error } = record;
  const parsed = storedValue(error, `the error of slot ${slot}`) as TaskError | null;
  return { slot, through, count, outcome, reason, isCatchUp, executionId, startedAt, status, error: parsed };
}

/** Converts slots of a paused schedule, which are recorded only when the pause ends. */
export function unrecordedSummary({ reason, first, last, count }: Passed): SlotSummary {
  const none = { isCatchUp: false, executionId: null, startedAt: null, status: null, error: null };
  return { slot: first, through: last, count, outcome: slotOutcomes[reason], reason, ...none };
}
