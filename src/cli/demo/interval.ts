import type { ScheduleOptions } from '../../core/definition/definition.ts';
import { dayMs, hourMs } from '../../core/duration.ts';

/** Steps of one cron field: the unit in ms, its number in the next larger unit, and the cron. */
const units: readonly (readonly [ms: number, count: number, cron: (step: string) => string])[] = [
  [1000, 60, (step) => `${step} * * * * *`],
  [60_000, 60, (step) => `0 ${step} * * * *`],
  [hourMs, 24, (step) => `0 0 ${step} * * *`],
];

/**
 * Returns a rule that fires every `everyMs`: a cron if one expresses it (30 s: every full and half minute), else
 * elapsed time (a cron that steps by 7 s would begin anew each minute, 4 s after its last step).
 */
export function intervalRule(everyMs: number): Pick<ScheduleOptions<never>, 'cron' | 'every'> {
  for (const [ms, count, cron] of units) {
    const step = everyMs / ms;
    if (step === 1) return { cron: cron('*') };
    if (step > 1 && Number.isInteger(step) && step < count && count % step === 0) return { cron: cron(`*/${step}`) };
  }
  return everyMs === dayMs ? { cron: '0 0 0 * * *' } : { every: everyMs };
}
