import { ScheduleInvalidError } from '../error.ts';

/** One field of a cron expression: its allowed values, ascending. */
export interface Field {
  readonly values: readonly number[];
  /** True if the field begins with `*`: a wildcard, or a step over one. */
  readonly star: boolean;
}

export interface DayOfMonthField extends Field {
  /** `L`: the last day of the month. */
  readonly last: boolean;
}

/** 0 is Sunday. */
export interface DayOfWeekField extends Field {
  /** `5L`: the last such weekday of the month. */
  readonly last: readonly number[];
  /** `MON#2`: the second such weekday of the month. */
  readonly nth: readonly { readonly weekday: number; readonly n: number }[];
}

export interface CronFields {
  readonly second: Field;
  readonly minute: Field;
  readonly hour: Field;
  readonly dayOfMonth: DayOfMonthField;
  readonly month: Field;
  readonly dayOfWeek: DayOfWeekField;
}

interface Kind {
  readonly label: string;
  readonly min: number;
  readonly max: number;
  readonly names: readonly string[];
}

/** January first. */
export const monthNames: readonly string[] = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
/** Sunday first. */
export const weekdayNames: readonly string[] = [
  'Sunday',
  'Monday',
  'Tuesday',
  'Wednesday',
  'Thursday',
  'Friday',
  'Saturday',
];

const short = (name: string): string => name.slice(0, 3).toUpperCase();

const kinds: readonly Kind[] = [
  { label: 'second', min: 0, max: 59, names: [] },
  { label: 'minute', min: 0, max: 59, names: [] },
  { label: 'hour', min: 0, max: 23, names: [] },
  { label: 'day of month', min: 1, max: 31, names: [] },
  { label: 'month', min: 1, max: 12, names: monthNames.map(short) },
  { label: 'day of week', min: 0, max: 7, names: weekdayNames.map(short) },
];

const aliases: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/**
 * Parses the fields of an expression: minute, hour, day of month, month, day of week (0 or 7 is Sunday), with seconds
 * first if there are six; or an alias such as `@daily`. Throws SCHEDULE_INVALID for the option `cron`; the message
 * names the fault, the field and the character (from 1).
 */
export function cronFields(expression: string): CronFields {
  const text = alias(expression) ?? expression;
  const words = [...text.matchAll(/\S+/g)].map((match) => ({ text: match[0], at: match.index }));
  if (words.length !== 5 && words.length !== 6) {
    const year = words.length === 7 ? '; there is no year field: use startAt and endAt' : '';
    throw new ScheduleInvalidError(
      'cron',
      `'${expression}' has ${words.length} field${words.length === 1 ? '' : 's'}; write 5 (minute, hour, day of month, month, day of week) or 6 (second first)${year}`,
    );
  }
  const read = words.length === 6 ? words : [{ text: '0', at: 0 }, ...words];
  const readers = read.map((word, index) => {
    const position = index + words.length - 5; // the field's number as written, from 1
    return new FieldReader(text, kinds[index]!, position, word.text, word.at);
  });
  const [second, minute, hour, dayOfMonth, month, dayOfWeek] = readers as [FieldReader, ...FieldReader[]];
  return {
    second: second.read(),
    minute: minute!.read(),
    hour: hour!.read(),
    dayOfMonth: dayOfMonth!.readDayOfMonth(),
    month: month!.read(),
    dayOfWeek: dayOfWeek!.readDayOfWeek(),
  };
}

function alias(expression: string): string | null {
  const word = expression.trim().toLowerCase();
  if (!word.startsWith('@')) return null;
  const known = aliases[word];
  if (known !== undefined) return known;
  const hint = word.startsWith('@every') ? '; for an interval use the option every' : '';
  throw new ScheduleInvalidError('cron', `'${expression}' is not one of ${Object.keys(aliases).join(', ')}${hint}`);
}

interface Item {
  readonly text: string;
  readonly at: number;
}

/** A range as written, `low-high`, and its values. */
interface WrappedRange {
  readonly low: string;
  readonly high: string;
  readonly from: number;
  readonly to: number;
  /** The last value of the field. */
  readonly top: number;
}

/** Reads one field; its errors name the field, its number and the character. */
class FieldReader {
  readonly #expression: string;
  readonly #kind: Kind;
  readonly #position: number;
  readonly #star: boolean;
  readonly #items: readonly Item[];

  constructor(expression: string, kind: Kind, position: number, text: string, at: number) {
    this.#expression = expression;
    this.#kind = kind;
    this.#position = position;
    this.#star = text.startsWith('*');
    let next = at;
    this.#items = text.split(',').map((item) => {
      const start = next;
      next += item.length + 1;
      return { text: item, at: start };
    });
  }

  read(): Field {
    return this.#field(this.#items);
  }

  readDayOfMonth(): DayOfMonthField {
    const plain = this.#items.filter(({ text }) => text.toUpperCase() !== 'L');
    return { ...this.#field(plain), last: plain.length < this.#items.length };
  }

  readDayOfWeek(): DayOfWeekField {
    const last: number[] = [];
    const nth: { weekday: number; n: number }[] = [];
    const plain: Item[] = [];
    for (const item of this.#items) {
      const [, day, mark, n] = /^(.+?)(?:(L)|#(.*))$/i.exec(item.text) ?? [];
      if (day === undefined) plain.push(item);
      else if (mark !== undefined) last.push(this.#value(day, item.at) % 7);
      else nth.push({ weekday: this.#value(day, item.at) % 7, n: this.#nth(n!, item.at + day.length + 1) });
    }
    return { ...this.#field(plain), last, nth };
  }

  #field(items: readonly Item[]): Field {
    const found = items.flatMap((item) => this.#expand(item));
    const values = this.#kind.max === 7 ? found.map((value) => value % 7) : found;
    return { values: [...new Set(values)].toSorted((a, b) => a - b), star: this.#star };
  }

  #expand({ text, at }: Item): number[] {
    const [range, step, ...more] = text.split('/');
    if (range === undefined || range === '') this.#fail(at, 'a value is missing');
    if (more.length > 0) this.#fail(at, `'${text}' has more than one step`);
    const [from, to] = this.#range(range, at, step);
    const by = step === undefined ? 1 : this.#step(step, at + range.length + 1);
    const values: number[] = [];
    for (let value = from; value <= to; value += by) values.push(value);
    return values;
  }

  #range(range: string, at: number, step: string | undefined): readonly [number, number] {
    const { min, max } = this.#kind;
    const top = max === 7 ? 6 : max; // a whole week ends on Saturday: 7 is Sunday again
    if (range === '*') return [min, top];
    const [low, high, ...more] = range.split('-');
    if (low === undefined || low === '' || high === '' || more.length > 0) {
      this.#fail(at, `'${range}' is not a value or a range such as 1-5`);
    }
    const from = this.#value(low, at);
    if (high === undefined) return [from, step === undefined ? from : Math.max(from, top)];
    let to = this.#value(high, at + low.length + 1);
    if (max === 7 && high.toUpperCase() === 'SUN' && from > 0) to = 7;
    if (from <= to) return [from, to];
    const parts = this.#wrapped({ low, high, from: max === 7 ? from % 7 : from, to, top }, Number(step ?? 1));
    const how = parts.length > 1 ? 'write it as two, such as' : 'write';
    return this.#fail(at, `the range '${range}' ends before it begins; ${how} ${parts.join(',')}`);
  }

  /** The items that mean a range across the end of the field: up to its top, and on from its first value. */
  #wrapped({ low, high, from, to, top }: WrappedRange, step: number): readonly string[] {
    const { min } = this.#kind;
    const by = Number.isInteger(step) && step > 0 ? step : 1;
    const part = (first: string, begin: number, last: string, end: number): string => {
      if (begin + by > end) return first;
      return `${first}-${last}${by === 1 ? '' : `/${by}`}`;
    };
    // 7 is Sunday again, which begins the week
    if (from <= to) return [part(String(from), from, high, to)];
    const next = from + (Math.floor((top - from) / by) + 1) * by - top - 1 + min;
    const head = part(low, from, String(top), top);
    return next > to ? [head] : [head, part(String(next), next, high, to)];
  }

  #value(text: string, at: number): number {
    const { min, max, names, label } = this.#kind;
    const named = names.indexOf(text.toUpperCase());
    if (named >= 0) return named + min;
    if (!/^\d+$/.test(text)) this.#fail(at, this.#notAValue(text));
    const value = Number(text);
    if (value > max) this.#fail(at, `${value} is more than ${max}`);
    if (value < min) this.#fail(at, `${value} is less than ${min}, the first ${label}`);
    return value;
  }

  #notAValue(text: string): string {
    const { label, names, min, max } = this.#kind;
    if (text === '?') return `'?' is not supported: write * (0 and 7 are Sunday here, 1 is Monday)`;
    if (/^L$/i.test(text) && label === 'day of week') return `'L' needs a weekday before it: 5L is the last Friday`;
    if (/^(\d+W|LW|WL)$/i.test(text)) return `'${text}': nearest weekdays (W) are not supported`;
    const named = names.length > 0 ? ` or a name from ${names[0]} to ${names.at(-1)}` : '';
    return `'${text}' is not a number from ${min} to ${max}${named}`;
  }

  #step(text: string, at: number): number {
    const { min, max, label } = this.#kind;
    const size = (max === 7 ? 6 : max) - min + 1;
    if (!/^\d+$/.test(text)) this.#fail(at, `the step '${text}' is not a number`);
    const step = Number(text);
    if (step === 0) this.#fail(at, 'a step of 0 never moves');
    if (step > size) {
      this.#fail(
        at,
        `a step of ${step} is more than the ${size} values of a ${label}; for an interval use the option every`,
      );
    }
    return step;
  }

  #nth(text: string, at: number): number {
    if (!/^[1-5]$/.test(text))
      this.#fail(at, `'#${text}' is not #1 to #5, the first to the fifth such weekday of a month`);
    return Number(text);
  }

  #fail(at: number, what: string): never {
    const where = `${this.#kind.label} (field ${this.#position}, character ${at + 1})`;
    throw new ScheduleInvalidError('cron', `'${this.#expression}': ${where}: ${what}`);
  }
}
