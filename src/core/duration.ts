import { OptionInvalidError } from './error.ts';

/**
 * A duration: milliseconds, or a number with a unit: `500ms`, `30s`, `5m`, `2h`, `3d`, `1w`, `1h30m`. There are no months:
 * `M` is refused.
 */
export type Duration = string | number;

export const hourMs = 3_600_000;
export const dayMs = 86_400_000;

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  millisecond: 1,
  milliseconds: 1,
  s: 1000,
  second: 1000,
  seconds: 1000,
  m: 60_000,
  minute: 60_000,
  minutes: 60_000,
  h: hourMs,
  hour: hourMs,
  hours: hourMs,
  d: dayMs,
  day: dayMs,
  days: dayMs,
  w: 7 * dayMs,
  week: 7 * dayMs,
  weeks: 7 * dayMs,
};

/** A thousand years: a time that far from now is still a valid date, and whole milliseconds stay exact. */
export const maxDurationMs = 31_557_600_000_000;

/** Returns a duration in whole milliseconds. `option` names the option in the error. Throws OPTION_INVALID. */
export function durationMs(duration: Duration, option: string): number {
  const ms = typeof duration === 'number' ? duration : parse(duration, option);
  if (ms >= 0 && ms <= maxDurationMs) return Math.round(ms);
  throw new OptionInvalidError(
    option,
    `${duration} is not a duration between 0 and 1000 years (a number means milliseconds)`,
  );
}

function parse(duration: string, option: string): number {
  if (typeof duration !== 'string') throw new OptionInvalidError(option, malformed(String(duration)));
  const text = duration.trim();
  if (!/^(\d+(\.\d+)?\s*[a-z]+\s*)+$/i.test(text)) throw new OptionInvalidError(option, malformed(duration));
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/gi)) {
    // a minute in any spelling, but for the one that ISO 8601 and date libraries use for a month
    if (unit === 'M') throw new OptionInvalidError(option, ambiguousMonth(duration));
    const ms = unitMs[unit!.toLowerCase()];
    if (ms === undefined) throw new OptionInvalidError(option, malformed(duration));
    total += Number(amount) * ms;
  }
  return total;
}

function malformed(text: string): string {
  return `'${text}' is not a duration; write a number and a unit (ms, s, m, h, d, w), such as '500ms', '30s' or '1h30m'`;
}

function ambiguousMonth(text: string): string {
  return `'${text}' is not a duration: 'M' is a month elsewhere; write 'm' for minutes, or days, such as '30d'`;
}

/** Formats milliseconds for display: `740 ms`, `3.2 s`, `5m 10s`, `2h 5m`, `3d 4h`. */
export function formatMs(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return pair(seconds, 60, 'm', 1, 's');
  if (seconds < 86_400) return pair(seconds, 3600, 'h', 60, 'm');
  return pair(seconds, 86_400, 'd', 3600, 'h');
}

function pair(seconds: number, large: number, largeUnit: string, small: number, smallUnit: string): string {
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)}${largeUnit}${rest === 0 ? '' : ` ${rest}${smallUnit}`}`;
}
