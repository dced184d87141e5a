import { derivedId } from '../engine/id.ts';

/**
 * The id of the execution of a slot: a UUIDv7 of the slot's time and bits of a hash of schedule and slot. Whoever fires
 * it, it is the same, so a slot can never have two executions.
 */
export function slotExecutionId(scheduleId: string, slot: number): string {
  return derivedId(Math.max(0, slot), `${scheduleId} ${slot}`);
}
