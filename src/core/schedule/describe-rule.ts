import {
  monthNames,
  weekdayNames,
  type CronFields,
  type DayOfMonthField,
  type DayOfWeekField,
  type Field,
} from './cron-fields.ts';
import { parseCron } from './cron.ts';
import { dayMs, hourMs } from '../duration.ts';
import type { ScheduleRule } from '../definition/spec.ts';
import { zone } from './zone.ts';

const units: readonly (readonly [ms: number, name: string])[] = [
  [dayMs, 'day'],
  [hourMs, 'hour'],
  [60_000, 'minute'],
  [1000, 'second'],
];
/** Beyond this number, times of day are described by their pattern. */
const maxTimes = 6;

/**
 * Describes a rule in words: `every 30 seconds, UTC`; `at 02:00 every day, Europe/Berlin`. For display only; the text
 * may change. Throws SCHEDULE_INVALID for a rule with a bad cron.
 */
export function describeRule(rule: ScheduleRule): string {
  const parts = rule.at === null ? repeating(rule) : [`once, at ${clock(rule.at, rule.timezone)}`, rule.timezone];
  if (rule.jitter > 0) parts.push(`delayed by up to ${span(rule.jitter).replace(/^[a-z]/, '1 $&')}`);
  return parts.join(', ');
}

function repeating(rule: ScheduleRule): string[] {
  const parts = [rule.cron === null ? `every ${span(rule.every ?? 0)}` : cronWords(parseCron(rule.cron).fields)];
  if (rule.cron !== null || rule.startAt !== null || rule.endAt !== null) parts.push(rule.timezone);
  if (rule.startAt !== null) parts.push(`from ${clock(rule.startAt, rule.timezone)}`);
  if (rule.endAt !== null) parts.push(`until ${clock(rule.endAt, rule.timezone)}`);
  return parts;
}

function clock(instant: number, timezone: string): string {
  const offset = zone(timezone)?.segmentAt(instant).offset ?? 0;
  const [date, time] = new Date(instant + offset).toISOString().split('T') as [string, string];
  return `${date} ${time.replace(/(\.000)?Z$/, '')}`;
}

/** `30 seconds`, `90 minutes`; `second` for one unit, so that it reads well after `every`. */
function span(ms: number): string {
  if (ms === dayMs) return '24 hours'; // "every day" would move with the clock
  const [unit, name] = units.find(([each]) => ms % each === 0) ?? [1000, 'second'];
  return ms === unit ? name : `${ms / unit} ${name}s`;
}

function cronWords(fields: CronFields): string {
  return [timeWords(fields), dayWords(fields)].filter((words) => words !== '').join(' ');
}

/** The pattern of a field's values, among `size` values from 0. */
type Pattern =
  | { readonly kind: 'all' }
  | { readonly kind: 'step'; readonly by: number; readonly even: boolean }
  | { readonly kind: 'range'; readonly from: number; readonly to: number }
  | { readonly kind: 'list' };

function pattern({ values }: Field, size: number): Pattern {
  const [first, second] = values as [number, number | undefined];
  if (values.length === size) return { kind: 'all' };
  if (second === undefined) return { kind: 'list' };
  const by = second - first;
  const regular = values.every((value, index) => value === first + index * by);
  if (regular && first === 0 && by > 1 && values.length === Math.ceil(size / by)) {
    return { kind: 'step', by, even: size % by === 0 };
  }
  if (regular && by === 1 && values.length > 2) return { kind: 'range', from: first, to: values.at(-1)! };
  return { kind: 'list' };
}

function timeWords(fields: CronFields): string {
  const { second, minute, hour } = fields;
  const whole = onlyZero(second);
  if (!hour.star && hour.values.length * minute.values.length * second.values.length <= maxTimes) {
    const times = hour.values.flatMap((h) =>
      minute.values.flatMap((m) => second.values.map((s) => [h, m, ...(whole ? [] : [s])].map(two).join(':'))),
    );
    return `at ${list(times)}`;
  }
  if (whole && onlyZero(minute)) return hourly(hour);
  return withHours(whole ? minutely(minute) : withMinutes(secondly(second), minute), hour);
}

function onlyZero({ values }: Field): boolean {
  return values.length === 1 && values[0] === 0;
}

function secondly(second: Field): string {
  return repeated(pattern(second, 60), 'second', 'minute') ?? `at second${listed(second)}`;
}

function minutely(minute: Field): string {
  return repeated(pattern(minute, 60), 'minute', 'hour') ?? `at minute${listed(minute)}`;
}

/** Describes hours on the hour: by step, as a range, or listed. */
function hourly(hour: Field): string {
  const found = pattern(hour, 24);
  if (found.kind === 'range') return `every hour from ${two(found.from)}:00 to ${two(found.to)}:00`;
  return repeated(found, 'hour', 'day') ?? `at ${list(hour.values.map((h) => `${two(h)}:00`))}`;
}

function repeated(found: Pattern, unit: string, whole: string): string | null {
  if (found.kind === 'all') return `every ${unit}`;
  if (found.kind === 'range') return `every ${unit} from ${unit} ${found.from} to ${found.to}`;
  if (found.kind !== 'step') return null;
  return `every ${found.by} ${unit}s${found.even ? '' : ` counted from the start of each ${whole}`}`;
}

function withMinutes(words: string, minute: Field): string {
  const found = pattern(minute, 60);
  if (found.kind === 'all') return words.startsWith('every') ? words : `${words} of every minute`;
  if (found.kind === 'step') return `${words} of every ${ordinal(found.by)} minute`;
  if (found.kind === 'range') return `${words} of the minutes ${found.from} to ${found.to}`;
  return `${words} of minute${listed(minute)}`;
}

function withHours(words: string, hour: Field): string {
  const found = pattern(hour, 24);
  const repeats = words.startsWith('every');
  if (found.kind === 'all') return repeats || words.endsWith('every minute') ? words : `${words} of every hour`;
  if (found.kind === 'step') return `${words} of every ${ordinal(found.by)} hour`;
  if (found.kind === 'range') {
    return repeats
      ? `${words} from ${two(found.from)}:00 to ${two(found.to)}:59`
      : `${words} of the hours ${found.from} to ${found.to}`;
  }
  const [only, ...more] = hour.values;
  if (repeats && more.length === 0) return `${words} from ${two(only!)}:00 to ${two(only!)}:59`;
  return `${words} of hour${listed(hour)}`;
}

function dayWords(fields: CronFields): string {
  const { dayOfMonth, dayOfWeek, month, hour } = fields;
  const anyMonth = month.values.length === 12;
  const months = list(month.values.map((value) => monthNames[value - 1]!));
  const anyDate = dayOfMonth.star && dayOfMonth.values.length === 31;
  const anyWeekday = dayOfWeek.star && dayOfWeek.values.length === 7;
  if (anyDate && anyWeekday) {
    if (!anyMonth) return `every day in ${months}`;
    return hour.star && hour.values.length > 1 ? '' : 'every day';
  }
  const dates = `on ${dateWords(dayOfMonth)} of ${anyMonth ? 'the month' : months}`;
  if (anyWeekday) return dates;
  const weekdays = weekdayWords(dayOfWeek, anyMonth ? null : months);
  if (anyDate) return `on ${weekdays}`;
  // the Vixie rule
  return dayOfMonth.star || dayOfWeek.star ? `${dates}, if it is ${weekdays}` : `${dates}, or on ${weekdays}`;
}

function dateWords({ values, last, star }: DayOfMonthField): string {
  const [first, second] = values;
  const days =
    star && first === 1 && second !== undefined
      ? [second === 2 ? 'every day' : `every ${ordinal(second - first)} day from the 1st`]
      : isRun(values)
        ? [`the ${ordinal(first!)} to the ${ordinal(values.at(-1)!)}`]
        : values.map((value) => `the ${ordinal(value)}`);
  return list(last ? [...days, 'the last day'] : days);
}

function weekdayWords({ values, nth, last }: DayOfWeekField, months: string | null): string {
  const monday = values.map((value) => (value + 6) % 7).toSorted((a, b) => a - b);
  const names = monday.map((value) => weekdayNames[(value + 1) % 7]!);
  const plain = isRun(monday) ? [`${names[0]} to ${names.at(-1)}`] : names;
  const ofMonth = [
    ...nth.map(({ weekday, n }) => `the ${ordinal(n)} ${weekdayNames[weekday]}`),
    ...last.map((weekday) => `the last ${weekdayNames[weekday]}`),
  ];
  const words = list([...plain, ...ofMonth]);
  if (ofMonth.length > 0) return `${words} of ${months ?? 'the month'}`;
  return months === null ? words : `${words} in ${months}`;
}

function isRun(values: readonly number[]): boolean {
  const [first = 0] = values;
  const last = values.at(-1) ?? first;
  return values.length > 2 && last - first === values.length - 1;
}

function listed({ values }: Field): string {
  return `${values.length === 1 ? '' : 's'} ${list(values.map(String))}`;
}

function list(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

function ordinal(n: number): string {
  const teen = n % 100 > 10 && n % 100 < 14;
  const ending = teen ? 'th' : (['th', 'st', 'nd', 'rd'][n % 10] ?? 'th');
  return `${n}${ending}`;
}

function two(n: number): string {
  return String(n).padStart(2, '0');
}
