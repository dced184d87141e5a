import { derivedId } from '../engine/id.ts';

/**
 * Returns the id of a slot's execution: a UUIDv7 of the slot's time and bits of a hash of schedule and slot. It is the
 * same on every runner, so a slot can never have two executions.
 */
export function slotExecutionId(scheduleId: string, slot: number): string {
  return derivedId(Math.max(0, slot), `${scheduleId} ${slot}`);
}
