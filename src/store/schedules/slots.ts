import { clockToleranceMs } from '../../core/clock-ahead.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import type { ScheduleRule } from '../../core/definition/spec.ts';
import { storedRuleOrNull } from './schedules.ts';
import { all, first, run } from '../script.ts';
import type { Script } from '../script.ts';
import type { Scripts } from '../store.ts';

/** The outcome of a slot. `buffered`: it waits for the running execution to end. Persisted words. */
export type SlotOutcome = 'started' | 'buffered' | 'skipped' | 'paused' | 'missed' | 'failed';
/** The reason for which a slot started nothing. Persisted words. */
export type SlotReason = 'skipped_overlap' | 'missed' | 'paused' | 'outside_window' | 'failed';

export const slotOutcomes: Readonly<Record<SlotReason, SlotOutcome>> = {
  skipped_overlap: 'skipped',
  missed: 'missed',
  paused: 'paused',
  outside_window: 'missed',
  failed: 'failed',
};

/** One slot, or adjacent slots with one reason: `count` slots from `slot` through `through`. Times are epoch ms. */
export interface SlotRecord {
  readonly slot: number;
  readonly through: number;
  readonly count: number;
  readonly outcome: SlotOutcome;
  readonly reason: SlotReason | null;
  readonly isCatchUp: boolean;
  readonly executionId: string | null;
  /** JSON text of a TaskError: the error of a start that failed. */
  readonly error: string | null;
  /** The time of the write. */
  readonly at: number;
}

interface SlotRow {
  readonly slot: number;
  readonly through: number;
  readonly count: number;
  readonly outcome: SlotOutcome;
  readonly reason: SlotReason | null;
  readonly is_catch_up: number;
  readonly execution_id: string | null;
  readonly error: string | null;
  readonly at: number;
}

const columns = 'slot, through, count, outcome, reason, is_catch_up, execution_id, error, at';

function slotRecord(row: SlotRow): SlotRecord {
  const { slot, through, count, outcome, reason, error, at } = row;
  const { is_catch_up: isCatchUp, execution_id: executionId } = row;
  return { slot, through, count, outcome, reason, isCatchUp: isCatchUp !== 0, executionId, error, at };
}

/**
 * Returns false if the slot exists already: it must not start anything again. An outcome without an execution that was
 * written while the clock was ahead is replaced: by then the slot had not come.
 */
export function* insertSlot(scheduleId: string, record: SlotRecord): Script<boolean> {
  const changes = yield* run(
    `insert into schedule_slots (schedule_id, ${columns}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     on conflict (schedule_id, slot) do update set through = excluded.through, count = excluded.count,
       outcome = excluded.outcome, reason = excluded.reason, is_catch_up = excluded.is_catch_up,
       execution_id = excluded.execution_id, error = excluded.error, at = excluded.at
     where schedule_slots.execution_id is null and schedule_slots.outcome <> 'buffered'
       and schedule_slots.at > excluded.at + ${clockToleranceMs}`,
    scheduleId,
    record.slot,
    record.through,
    record.count,
    record.outcome,
    record.reason,
    Number(record.isCatchUp),
    record.executionId,
    record.error,
    record.at,
  );
  return changes > 0;
}

/** Sets the outcome of a buffered slot. */
export function* settleBuffered(
  scheduleId: string,
  record: Pick<SlotRecord, 'slot' | 'outcome' | 'reason' | 'executionId' | 'error' | 'at'>,
): Script<void> {
  yield* run(
    `update schedule_slots set outcome = $3, reason = $4, execution_id = $5, error = $6, at = $7
     where schedule_id = $1 and slot = $2 and outcome = 'buffered'`,
    scheduleId,
    record.slot,
    record.outcome,
    record.reason,
    record.executionId,
    record.error,
    record.at,
  );
}

/** Returns the latest slot of a schedule that is not later than `slot`. */
export function* slotAtOrBefore(scheduleId: string, slot: number): Script<SlotRecord | undefined> {
  const row = yield* first<SlotRow>(
    `select ${columns} from schedule_slots where schedule_id = $1 and slot <= $2 order by slot desc limit 1`,
    scheduleId,
    slot,
  );
  return row === undefined ? undefined : slotRecord(row);
}

/** Extends the row that begins at `slot` by `more` slots. */
export function* extendSlot(scheduleId: string, slot: number, through: number, more: number, at: number): Script<void> {
  yield* run(
    'update schedule_slots set through = $3, count = count + $4, at = $5 where schedule_id = $1 and slot = $2',
    scheduleId,
    slot,
    through,
    more,
    at,
  );
}

/** Ends the row that begins at `slot` earlier. */
export function* trimSlot(scheduleId: string, slot: number, through: number, count: number): Script<void> {
  yield* run(
    'update schedule_slots set through = $3, count = $4 where schedule_id = $1 and slot = $2',
    scheduleId,
    slot,
    through,
    count,
  );
}

/** Deletes a buffered slot. */
export function* deleteBuffered(scheduleId: string, slot: number): Script<void> {
  yield* run(
    `delete from schedule_slots where schedule_id = $1 and slot = $2 and outcome = 'buffered'`,
    scheduleId,
    slot,
  );
}

/** The latest slot up to `at` that started an execution, or null. */
export function* lastStarted(scheduleId: string, at: number): Script<number | null> {
  const row = yield* first<{ slot: number }>(
    `select slot from schedule_slots where schedule_id = $1 and slot <= $2 and execution_id is not null
     order by slot desc limit 1`,
    scheduleId,
    at,
  );
  return row?.slot ?? null;
}

/** Deletes slots of a schedule, at most `limit`; returns their number. */
function* deleteSlots(scheduleId: string, limit: number): Script<number> {
  return yield* run(
    `delete from schedule_slots where schedule_id = $1
     and slot in (select slot from schedule_slots where schedule_id = $1 order by slot limit $2)`,
    scheduleId,
    limit,
  );
}

/** Slots deleted by one transaction, so that the writer is not held long. */
const deleteLimit = 5000;

/** Deletes all slots of a schedule that is gone, some in each transaction. */
export async function deleteAllSlots(store: Pick<Scripts, 'write'>, scheduleId: string): Promise<void> {
  for (;;) {
    const deleted = await store.write(() => deleteSlots(scheduleId, deleteLimit));
    if (deleted < deleteLimit) return;
  }
}

/** A slot with the status of its execution; null if it has none, or it was pruned. */
export interface HistoryRecord extends SlotRecord {
  readonly status: ExecutionStatus | null;
  readonly startedAt: number | null;
}

/** Returns the latest slots of a schedule, the newest first; with `before` only older ones. */
export function* slotHistory(scheduleId: string, limit: number, before: number | null): Script<HistoryRecord[]> {
  const rows = yield* all<SlotRow & { status: ExecutionStatus | null; started_at: number | null }>(
    `select l.slot, l.through, l.count, l.outcome, l.reason, l.is_catch_up, l.execution_id, l.error, l.at,
     e.status, e.started_at
     from schedule_slots l left join executions e on e.id = l.execution_id
     where l.schedule_id = $1 and l.slot < $2 order by l.slot desc limit $3`,
    scheduleId,
    before ?? Number.MAX_SAFE_INTEGER,
    limit,
  );
  return rows.map((row) => Object.assign(slotRecord(row), { status: row.status, startedAt: row.started_at }));
}

/** The number of slots with one outcome. */
export interface SlotTally {
  readonly outcome: SlotOutcome;
  readonly status: ExecutionStatus | null;
  readonly slots: number;
  /** The slots of these that started on time, and their delay, ms. */
  readonly timed: number;
  readonly lagSumMs: number;
  readonly lagMaxMs: number;
}

/** The slots of a tenant from `since` on, counted by their outcomes; of one schedule, or of all (null). */
export function* tallySlots(tenant: string, scheduleId: string | null, since: number): Script<readonly SlotTally[]> {
  return yield* all<SlotTally>(
    `select l.outcome, e.status, sum(l.count) as slots,
     sum(case when l.execution_id is not null and l.is_catch_up = 0 then 1 else 0 end) as timed,
     sum(case when l.execution_id is not null and l.is_catch_up = 0 then l.at - l.slot else 0 end) as "lagSumMs",
     max(case when l.execution_id is not null and l.is_catch_up = 0 then l.at - l.slot else 0 end) as "lagMaxMs"
     from schedules s join schedule_slots l on l.schedule_id = s.id and l.slot >= $2
     left join executions e on e.id = l.execution_id
     where s.tenant = $1 and (cast($3 as text) is null or s.id = $3) group by l.outcome, e.status`,
    tenant,
    since,
    scheduleId,
  );
}

/** Rows that begin before `since` and reach past it, with the rule that tells how many of their slots do. */
export interface Straddler {
  readonly outcome: SlotOutcome;
  readonly count: number;
  readonly through: number;
  readonly rule: ScheduleRule;
  readonly anchor: number;
}

export function* straddlers(tenant: string, scheduleId: string | null, since: number): Script<Straddler[]> {
  const rows = yield* all<Omit<Straddler, 'rule'> & { rule: string }>(
    `select l.outcome, l.count, l.through, s.rule, s.anchor
     from schedules s join schedule_slots l on l.schedule_id = s.id
     and l.slot = (select max(p.slot) from schedule_slots p where p.schedule_id = s.id and p.slot < $2)
     where s.tenant = $1 and (cast($3 as text) is null or s.id = $3) and l.through >= $2`,
    tenant,
    since,
    scheduleId,
  );
  return rows.flatMap(({ outcome, count, through, rule, anchor }): Straddler[] => {
    const known = storedRuleOrNull(rule);
    return known === null ? [] : [{ outcome, count, through, rule: known, anchor }];
  });
}
