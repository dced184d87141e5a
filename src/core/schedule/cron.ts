import { cronFields, monthNames, type CronFields, type DayOfMonthField, type DayOfWeekField } from './cron-fields.ts';
import { dayMs } from '../duration.ts';
import { ScheduleInvalidError } from '../error.ts';

const secondsOfDay = 86_400;
const lastYear = 9999;
/** Each distinct text is compiled once; beyond this number the oldest entries are dropped. */
const maxCompiled = 4096;

/**
 * A compiled cron expression, matched against local times. Local times are ms "as if UTC": zones and clock changes are
 * applied by `fire-times.ts`. Days are kept as a mask for each shape of month, so a step costs no search.
 */
export class Cron {
  readonly fields: CronFields;
  readonly #seconds: Table;
  readonly #minutes: Table;
  readonly #hours: Table;
  readonly #months: ReadonlySet<number>;
  /** Key: first weekday of the month and its length (28 to 31). Bit d is set if day d matches. */
  readonly #days = new Map<number, number>();

  constructor(fields: CronFields) {
    this.fields = fields;
    this.#seconds = table(fields.second.values, 60);
    this.#minutes = table(fields.minute.values, 60);
    this.#hours = table(fields.hour.values, 24);
    this.#months = new Set(fields.month.values);
  }

  /** True if the hour is fixed, so that clock changes neither lose nor repeat a slot (scheduling.md). */
  get fixedHour(): boolean {
    return !this.fields.hour.star;
  }

  /**
   * True if any date matches: every month begins on every weekday at some time (29 February on each, within 40 years).
   */
  get possible(): boolean {
    return [...this.#months].some((month) => {
      const lengths = month === 2 ? [28, 29] : [daysIn(2001, month)];
      return lengths.some((length) => [0, 1, 2, 3, 4, 5, 6].some((first) => this.#mask(first, length) !== 0));
    });
  }

  /** The first match at or after a local time; Infinity after the year 9999. */
  next(local: number): number {
    const day = Math.floor(local / dayMs);
    const { date, ...first } = civil(day);
    let { year, month } = first;
    let dayZero = day - date; // the day before the first of the month
    let mask = this.#monthMask(year, month, dayZero + 1);
    if ((mask & (1 << date)) !== 0) {
      const second = this.#nextSecond(Math.ceil((local - day * dayMs) / 1000));
      if (second >= 0) return day * dayMs + second * 1000;
    }
    mask &= date === 31 ? 0 : -1 << (date + 1); // the days after this one
    while (mask === 0) {
      dayZero += daysIn(year, month);
      month = month === 12 ? 1 : month + 1;
      if (month === 1) year += 1;
      if (year > lastYear) return Infinity;
      mask = this.#monthMask(year, month, dayZero + 1);
    }
    return (dayZero + 31 - Math.clz32(mask & -mask)) * dayMs + this.#nextSecond(0) * 1000;
  }

  /** Counts the local times in [from, to) that match; the cost grows with the months between, not with the matches. */
  count(from: number, to: number): number {
    return to <= from ? 0 : this.#before(to, Math.floor(from / dayMs)) - this.#before(from, Math.floor(from / dayMs));
  }

  /** Matches in [`day`, local). */
  #before(local: number, day: number): number {
    const lastDay = Math.floor(local / dayMs);
    const aDay = this.#hours.size * this.#minutes.size * this.#seconds.size;
    let total = this.#matches(lastDay) ? this.#beforeSecond(Math.ceil((local - lastDay * dayMs) / 1000)) : 0;
    let at = day;
    let { year, month, date } = civil(day);
    while (at < lastDay) {
      const days = Math.min(daysIn(year, month) - date + 1, lastDay - at);
      const wanted = days >= 31 ? -2 : ((1 << days) - 1) << date;
      total += aDay * bits(this.#monthMask(year, month, at - date + 1) & wanted);
      at += days;
      date = 1;
      month = month === 12 ? 1 : month + 1;
      if (month === 1) year += 1;
    }
    return total;
  }

  #matches(day: number): boolean {
    const { year, month, date } = civil(day);
    return (this.#monthMask(year, month, day - date + 1) & (1 << date)) !== 0;
  }

  /** The first matching second of a day at or after `second` (0 to 86400), or -1. */
  #nextSecond(second: number): number {
    if (second >= secondsOfDay) return -1;
    const hour = Math.floor(second / 3600);
    const minute = Math.floor((second % 3600) / 60);
    const first = this.#minutes.first * 60 + this.#seconds.first;
    if (this.#hours.has(hour)) {
      if (this.#minutes.has(minute)) {
        const found = this.#seconds.next(second % 60);
        if (found >= 0) return hour * 3600 + minute * 60 + found;
      }
      const found = this.#minutes.next(minute + 1);
      if (found >= 0) return hour * 3600 + found * 60 + this.#seconds.first;
    }
    const found = this.#hours.next(hour + 1);
    return found < 0 ? -1 : found * 3600 + first;
  }

  /** Counts the matching seconds of a day before `second`. */
  #beforeSecond(second: number): number {
    const hour = Math.floor(second / 3600);
    const minute = Math.floor((second % 3600) / 60);
    const anHour = this.#minutes.size * this.#seconds.size;
    let total = this.#hours.before(hour) * anHour;
    if (!this.#hours.has(hour)) return total;
    total += this.#minutes.before(minute) * this.#seconds.size;
    return this.#minutes.has(minute) ? total + this.#seconds.before(second % 60) : total;
  }

  #monthMask(year: number, month: number, firstDay: number): number {
    return this.#months.has(month) ? this.#mask(weekdayOf(firstDay), daysIn(year, month)) : 0;
  }

  #mask(firstWeekday: number, length: number): number {
    const key = firstWeekday * 32 + length;
    const known = this.#days.get(key);
    if (known !== undefined) return known;
    const { dayOfMonth, dayOfWeek } = this.fields;
    const byDate = dateMask(dayOfMonth, length);
    const byWeekday = weekdayMask(dayOfWeek, firstWeekday, length);
    // the Vixie rule: a field that begins with * does not restrict, so both must match; otherwise either is enough
    const mask = dayOfMonth.star || dayOfWeek.star ? byDate & byWeekday : byDate | byWeekday;
    this.#days.set(key, mask);
    return mask;
  }
}

const compiled = new Map<string, Cron>();

/** Compiles an expression. Throws SCHEDULE_INVALID for the option `cron`: bad syntax, or dates that never occur. */
export function parseCron(expression: string): Cron {
  const known = compiled.get(expression);
  if (known !== undefined) return known;
  const cron = new Cron(cronFields(expression));
  if (!cron.possible) {
    throw new ScheduleInvalidError('cron', `'${expression}': ${impossible(cron.fields)}, so it would never fire`);
  }
  if (compiled.size >= maxCompiled) compiled.delete(compiled.keys().next().value!);
  compiled.set(expression, cron);
  return cron;
}

function impossible({ dayOfMonth, month }: CronFields): string {
  const longest = Math.max(...month.values.map((value) => daysIn(2000, value)));
  const beyond = !dayOfMonth.last && dayOfMonth.values.every((date) => date > longest);
  if (!beyond) return 'no day of month (and month) it allows is ever one of its days of week';
  const names = month.values.map((value) => monthNames[value - 1]);
  return `day of month: there is no ${dayOfMonth.values.join(' or ')} ${names.join(' or ')}`;
}

function dateMask({ values, last }: DayOfMonthField, length: number): number {
  let mask = last ? 1 << length : 0;
  for (const date of values) if (date <= length) mask |= 1 << date;
  return mask;
}

function weekdayMask({ values, last, nth }: DayOfWeekField, firstWeekday: number, length: number): number {
  let mask = 0;
  for (let date = 1; date <= length; date += 1) {
    const weekday = (firstWeekday + date - 1) % 7;
    const n = Math.ceil(date / 7);
    const chosen =
      values.includes(weekday) ||
      (date + 7 > length && last.includes(weekday)) ||
      nth.some((each) => each.weekday === weekday && each.n === n);
    if (chosen) mask |= 1 << date;
  }
  return mask;
}

/** Lookup table of a small set: next member, and number of smaller members. */
interface Table {
  readonly size: number;
  readonly first: number;
  has(value: number): boolean;
  /** The first member at or after a value, or -1. */
  next(value: number): number;
  /** The number of smaller members. */
  before(value: number): number;
}

function table(values: readonly number[], limit: number): Table {
  const next = new Int8Array(limit + 1).fill(-1);
  const before = new Int8Array(limit + 1);
  for (let value = limit - 1; value >= 0; value -= 1) next[value] = values.includes(value) ? value : next[value + 1]!;
  for (let value = 1; value <= limit; value += 1) {
    before[value] = before[value - 1]! + (next[value - 1] === value - 1 ? 1 : 0);
  }
  return {
    size: values.length,
    first: next[0]!,
    has: (value) => next[value] === value,
    next: (value) => next[value]!,
    before: (value) => before[value]!,
  };
}

/** Converts a day counted from 1970-01-01 to a date (Howard Hinnant, chrono-compatible low-level date algorithms). */
function civil(day: number): { year: number; month: number; date: number } {
  const z = day + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const fromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  const date = dayOfYear - Math.floor((153 * fromMarch + 2) / 5) + 1;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, date };
}

function daysIn(year: number, month: number): number {
  if (month !== 2) return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
}

/** 1970-01-01 was a Thursday. */
function weekdayOf(day: number): number {
  return (((day + 4) % 7) + 7) % 7;
}

function bits(mask: number): number {
  let rest = mask;
  let count = 0;
  for (; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
