import { isDate } from '../foreign/realms.ts';
import { parseCron } from './cron.ts';
import type { ScheduleOptions } from '../definition/definition.ts';
import { dayMs, durationMs, type Duration } from '../duration.ts';
import { OptionInvalidError, ScheduleInvalidError } from '../error.ts';
import { shown } from '../option-check.ts';
import { nextSlot } from './fire-times.ts';
import type { Catchup, Overlap, ScheduleRule } from '../definition/spec.ts';
import { nearZones, zone, type Zone } from './zone.ts';

/** A shorter interval cannot be kept: a slot fires within 100 ms (p99) of its time. */
const minEveryMs = 100;
/** Maximum number of executions that `catchup: 'all'` starts after an outage. */
const maxCatchup = 10_000;
const overlaps: readonly Overlap[] = ['skip', 'buffer_one', 'allow', 'cancel_other'];
const catchups: readonly Catchup[] = ['latest', 'skip', 'all'];

/**
 * Checks options and returns their rule with the defaults filled in: UTC, overlap skip, catchup latest, max 100, window
 * 24h, jitter 0. `every` without `startAt` counts from `now` (epoch ms); with `now` null its `startAt` stays null, to
 * be set by `anchoredRule` once the schedule begins. Times without an offset are local times of `timezone`. Throws
 * SCHEDULE_INVALID with the option at fault.
 */
export function scheduleRule(options: ScheduleOptions<unknown>, now: number | null): ScheduleRule {
  for (const field of ['cron', 'timezone'] as const) {
    if (typeof (options[field] ?? '') !== 'string') {
      throw new ScheduleInvalidError(field, `${shown(options[field])} is not text`);
    }
  }
  const cron = options.cron ?? null;
  if (cron !== null) parseCron(cron); // before spaces are normalized, so that character positions in errors are those of the written text
  const place = zoneOf(options.timezone ?? 'UTC');
  const rule: ScheduleRule = {
    cron: cron === null ? null : cron.trim().replaceAll(/\s+/g, ' '),
    every: length('every', options.every, null),
    at: instant('at', options.at, place),
    timezone: place.name,
    startAt: instant('startAt', options.startAt, place),
    endAt: instant('endAt', options.endAt, place),
    jitter: length('jitter', options.jitter, 0),
    overlap: options.overlap ?? 'skip',
    catchup: options.catchup ?? 'latest',
    max: options.max ?? 100,
    window: length('window', options.window, dayMs),
  };
  checkRule(rule);
  if (typeof (options.paused ?? false) !== 'boolean') {
    throw new ScheduleInvalidError('paused', `${shown(options.paused)} is not true or false`);
  }
  return now === null ? rule : anchoredRule(rule, now);
}

/** Sets the anchor of a rule: `every` without `startAt` counts from `now` (epoch ms). */
export function anchoredRule(rule: ScheduleRule, now: number): ScheduleRule {
  return rule.every !== null && rule.startAt === null ? { ...rule, startAt: now } : rule;
}

/** The start of the count of a rule, moved back by whole intervals to `now` or before. */
export function anchorBefore({ every }: ScheduleRule, anchor: number, now: number): number {
  return every === null || anchor <= now ? anchor : anchor - Math.ceil((anchor - now) / every) * every;
}

/** Checks a rule from outside, such as a manifest. Throws SCHEDULE_INVALID with the field at fault. */
export function checkRule(rule: ScheduleRule): void {
  checkKind(rule);
  zoneOf(rule.timezone);
  if (rule.cron !== null) parseCron(rule.cron);
  if (rule.every !== null && !(Number.isInteger(rule.every) && rule.every >= minEveryMs)) {
    throw new ScheduleInvalidError('every', `${rule.every} ms is less than the shortest interval, ${minEveryMs} ms`);
  }
  checkWord('overlap', rule.overlap, overlaps);
  checkWord('catchup', rule.catchup, catchups);
  if (!Number.isInteger(rule.max) || rule.max < 1 || rule.max > maxCatchup) {
    throw new ScheduleInvalidError('max', `${shown(rule.max)} is not a whole number from 1 to ${maxCatchup}`);
  }
  for (const field of ['window', 'jitter'] as const) {
    if (!Number.isInteger(rule[field]) || rule[field] < 0) {
      throw new ScheduleInvalidError(field, `${shown(rule[field])} is not a duration in whole milliseconds`);
    }
  }
  checkBounds(rule);
}

function checkKind(rule: ScheduleRule): void {
  const [first, second] = (['cron', 'every', 'at'] as const).filter((field) => rule[field] !== null);
  if (first === undefined) {
    throw new ScheduleInvalidError('cron', 'a schedule needs exactly one of cron, every and at; none is given');
  }
  if (second !== undefined) {
    throw new ScheduleInvalidError(second, `a schedule has exactly one of cron, every and at; ${first} is given too`);
  }
}

function checkBounds(rule: ScheduleRule): void {
  const { startAt, endAt } = rule;
  for (const field of ['at', 'startAt', 'endAt'] as const) {
    const value = rule[field];
    if (value !== null && !Number.isSafeInteger(value)) {
      throw new ScheduleInvalidError(field, `${shown(value)} is not a time in whole milliseconds`);
    }
  }
  if (rule.at !== null && (startAt !== null || endAt !== null)) {
    throw new ScheduleInvalidError(
      startAt === null ? 'endAt' : 'startAt',
      'a schedule with at has no startAt and no endAt',
    );
  }
  if (startAt === null || endAt === null) return;
  if (endAt <= startAt) throw new ScheduleInvalidError('endAt', 'it must be after startAt');
  if (nextSlot(rule, startAt - 1) === null) {
    throw new ScheduleInvalidError('endAt', 'no slot falls between startAt and endAt, so it would never fire');
  }
}

function checkWord(field: string, value: string, words: readonly string[]): void {
  if (!words.includes(value))
    throw new ScheduleInvalidError(field, `${shown(value)} is not one of ${words.join(', ')}`);
}

function zoneOf(name: string): Zone {
  const place = zone(name);
  if (place !== null) return place;
  if (/^[+-]\d/.test(name)) {
    throw new ScheduleInvalidError('timezone', `'${name}' is an offset; name a zone such as 'Europe/Berlin'`);
  }
  const near = nearZones(name).map((each) => `'${each}'`);
  const hint = near.length > 0 ? `did you mean ${near.join(' or ')}?` : `write it as in 'Europe/Berlin'`;
  throw new ScheduleInvalidError('timezone', `there is no time zone '${name}'; ${hint}`);
}

function length<None>(field: string, value: Duration | undefined, none: None): number | None {
  if (value === undefined) return none;
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw new ScheduleInvalidError(field, `${shown(value)} is not a duration; write it as in '30s'`);
  }
  try {
    return durationMs(value, field);
  } catch (error) {
    if (!(error instanceof OptionInvalidError)) throw error;
    throw new ScheduleInvalidError(field, error.message.replace(`option '${field}': `, ''));
  }
}

const timePattern =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3})\d*)?)?)?(?:\s*(Z|[+-]\d\d:?\d\d))?$/i;

function instant(field: string, value: string | Date | undefined, place: Zone): number | null {
  if (value === undefined) return null;
  if (isDate(value) && !Number.isNaN(value.getTime())) return value.getTime();
  const parts = typeof value === 'string' ? timePattern.exec(value.trim()) : null;
  if (parts === null) {
    throw new ScheduleInvalidError(field, `${shown(value)} is not a time; write it as in '2026-03-29T02:30:00Z'`);
  }
  const [year, month, date, hour, minute, second] = parts.slice(1, 7).map((part) => Number(part ?? 0));
  const local = Date.UTC(year!, month! - 1, date, hour, minute, second, Number((parts[7] ?? '').padEnd(3, '0')));
  const back = new Date(local);
  // Date.UTC maps the years 0 to 99 to 1900 to 1999
  if (back.getUTCFullYear() !== year || back.getUTCMonth() !== month! - 1 || back.getUTCDate() !== date) {
    throw new ScheduleInvalidError(field, `${shown(value)}: there is no such date`);
  }
  if (back.getUTCHours() !== hour || back.getUTCMinutes() !== minute || back.getUTCSeconds() !== second) {
    throw new ScheduleInvalidError(field, `${shown(value)}: there is no such time of day`);
  }
  return parts[8] === undefined ? place.instantOf(local) : local - offsetOf(parts[8]);
}

/**
 * Parses a time as written in schedule options; without an offset it is UTC, a date alone is its midnight. Throws
 * SCHEDULE_INVALID.
 */
export function timeOf(field: string, text: string): number {
  return instant(field, text, zoneOf('UTC'))!;
}

function offsetOf(text: string): number {
  if (text.toUpperCase() === 'Z') return 0;
  const minutes = Number(text.slice(1, 3)) * 60 + Number(text.slice(-2));
  return (text.startsWith('-') ? -minutes : minutes) * 60_000;
}
