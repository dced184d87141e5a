import type { ScheduleOptions } from '../../core/definition/definition.ts';
import { dayMs, hourMs } from '../../core/duration.ts';

/** Steps of a cron field: the unit in ms, its number in the next larger unit, and the cron. */
const units: readonly (readonly [ms: number, count: number, cron: (step: string) => string])[] = [
  [1000, 60, (step) => `${step} * * * * *`],
  [60_000, 60, (step) => `0 ${step} * * * *`],
  [hourMs, 24, (step) => `0 0 ${step} * * *`],
];

/**
 * A schedule that fires every `everyMs`: a cron if one exists (30 s: every full and half minute), otherwise elapsed time
 * (a cron with steps of 7 s restarts each minute, 4 s after its last step).
 */
export function intervalRule(everyMs: number): Pick<ScheduleOptions<never>, 'cron' | 'every'> {
  for (const [ms, count, cron] of units) {
    const step = everyMs / ms;
    if (step === 1) return { cron: cron('*') };
    if (step > 1 && Number.isInteger(step) && step < count && count % step === 0) return { cron: cron(`*/${step}`) };
  }
  return everyMs === dayMs ? { cron: '0 0 0 * * *' } : { every: everyMs };
}
