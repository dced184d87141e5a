import { createHash } from 'node:crypto';

/**
 * The id of the execution of a slot: a UUIDv7 of the slot's time and 74 bits of a hash of schedule and slot. Whoever
 * fires it, it is the same, so a slot can never have two executions.
 */
export function slotExecutionId(scheduleId: string, slot: number): string {
  const hash = createHash('sha256').update(`${scheduleId} ${slot}`).digest('hex');
  const time = Math.max(0, slot).toString(16).padStart(12, '0');
  const variant = (8 | (Number.parseInt(hash[3]!, 16) & 3)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hash.slice(0, 3)}-${variant}${hash.slice(4, 7)}-${hash.slice(7, 19)}`;
}
