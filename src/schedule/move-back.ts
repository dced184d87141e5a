import { isAhead } from '../core/clock-ahead.ts';
import { anchorBefore } from '../core/schedule/rule.ts';
import { countSlots, lastSlot } from '../core/schedule/fire-times.ts';
import { deleteBuffered, lastStarted, slotAtOrBefore, trimSlot } from '../store/schedules/slots.ts';
import { lockSchedule, writeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import { ruleOf, wakeAfter } from './fire.ts';

/** True if a schedule was moved while the clock was ahead: until its cursor has come, nothing would fire. */
function wasAhead({ cursor }: ScheduleRecord, now: number): boolean {
  return isAhead(cursor, now);
}

/** The time after which the next slot counts. */
export function cursorOf({ cursor }: Pick<ScheduleRecord, 'cursor'>, now: number): number {
  return isAhead(cursor, now) ? now : Math.max(cursor, now);
}

/**
 * A schedule that goes on from now where it was moved while the clock was ahead; its row is locked, and the caller writes
 * the result. Slots that have started stay started. The recorded outcomes of other slots that have not come give way to
 * those of their time (`insertSlot`).
 */
export function* movedBack(tx: Tx, record: ScheduleRecord): Script<ScheduleRecord> {
  const { id, rule, anchor, bufferedSlot, lastSlot: last } = record;
  if (!wasAhead(record, tx.now)) return record;
  const moved = { ...record, anchor: anchorBefore(rule, anchor, tx.now), cursor: tx.now };
  const before = yield* slotAtOrBefore(id, tx.now);
  if (before !== undefined && before.through > tx.now) {
    const through = lastSlot(ruleOf(moved), before.slot, tx.now + 1) ?? before.slot;
    yield* trimSlot(id, before.slot, through, countSlots(ruleOf(moved), before.slot, through + 1));
  }
  const isBuffered = bufferedSlot !== null && bufferedSlot <= tx.now;
  if (bufferedSlot !== null && !isBuffered) yield* deleteBuffered(id, bufferedSlot);
  const back: ScheduleRecord = {
    ...moved,
    bufferedSlot: isBuffered ? bufferedSlot : null,
    lastSlot: last !== null && last > tx.now ? yield* lastStarted(id, tx.now) : last,
    movedFrom: Math.max(record.cursor, record.movedFrom ?? record.cursor),
  };
  return { ...back, nextAt: wakeAfter(back) };
}

/** Moves a schedule back; undefined if another runner has done that, or has removed or paused it. */
export function* moveBack(tx: Tx, { id }: ScheduleRecord): Script<ScheduleRecord | undefined> {
  const locked = yield* lockSchedule(tx, id);
  if (locked === undefined || locked.damaged !== undefined || !wasAhead(locked, tx.now)) return undefined;
  if (!locked.enabled || locked.pausedAt !== null) return undefined;
  const back = yield* movedBack(tx, locked);
  yield* writeSchedule(back);
  return back;
}
