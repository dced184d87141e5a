import type { ScheduleOptions } from './definition.ts';
import { durationMs } from './duration.ts';
import { ScheduleInvalidError } from './error.ts';
import type { Json } from './json.ts';
import type { ScheduleSpec } from './spec.ts';

const dayMs = 86_400_000;

/**
 * A schedule as a definition writes it, in plain JSON: times as epoch ms, lengths as ms, defaults filled in. Whether
 * its cron and zone can ever fire is judged where it is added (`core/schedule.ts`).
 */
export function scheduleSpec(name: string, options: ScheduleOptions<unknown>, input: Json): ScheduleSpec {
  return {
    name,
    input,
    cron: options.cron ?? null,
    every: options.every === undefined ? null : durationMs(options.every, 'every'),
    at: instant('at', options.at),
    timezone: options.timezone ?? 'UTC',
    startAt: instant('startAt', options.startAt),
    endAt: instant('endAt', options.endAt),
    jitter: options.jitter === undefined ? 0 : durationMs(options.jitter, 'jitter'),
    overlap: options.overlap ?? 'skip',
    catchup: options.catchup ?? 'latest',
    max: options.max ?? 100,
    window: options.window === undefined ? dayMs : durationMs(options.window, 'window'),
    paused: options.paused ?? false,
  };
}

function instant(field: string, value: string | Date | undefined): number | null {
  if (value === undefined) return null;
  const ms = typeof value === 'string' ? Date.parse(value) : value.getTime();
  if (Number.isNaN(ms)) throw new ScheduleInvalidError(field, `'${String(value)}' is not a time; write it as ISO 8601`);
  return ms;
}
