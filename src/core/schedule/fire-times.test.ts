import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cron as Croner } from 'croner';
import * as fc from 'fast-check';
import golden from './cron.golden.json' with { type: 'json' };
import { countSlots, lastSlot, nextSlot, slotsBetween } from './fire-times.ts';
import type { ScheduleRule } from '../definition/spec.ts';

const minuteMs = 60_000;
const hourMs = 3_600_000;
const dayMs = 86_400_000;

function rule(fields: Partial<ScheduleRule>): ScheduleRule {
  return {
    cron: null,
    every: null,
    at: null,
    timezone: 'UTC',
    startAt: null,
    endAt: null,
    jitter: 0,
    overlap: 'skip',
    catchup: 'latest',
    max: 100,
    window: dayMs,
    ...fields,
  };
}

function utc(text: string): number {
  return Date.parse(text);
}

function iso(instant: number): string {
  return new Date(instant).toISOString().replace('.000', '');
}

for (const row of golden) {
  test(`scheduling.md: ${row.clause}: '${row.cron}' ${row.timezone} from ${row.from}`, () => {
    const { cron, timezone } = row;
    // an endlessly repeated slot would show up here
    const slots = [...slotsBetween(rule({ cron, timezone }), utc(row.from), utc(row.to)).take(100)];
    assert.deepEqual(slots.map(iso), row.slots);
    assert.equal(countSlots(rule({ cron, timezone }), utc(row.from), utc(row.to)), row.slots.length);
    assert.equal(lastSlot(rule({ cron, timezone }), utc(row.from), utc(row.to)), slots.at(-1));
  });
}

// The slow reference: it walks real time minute by minute, reads the wall clock from Intl and remembers the position.

interface Minute {
  readonly instant: number;
  readonly local: number;
}

/** Windows of 6 days that contain a clock change, with two days to warm up. */
const windows: readonly (readonly [timezone: string, change: string])[] = [
  ['Europe/Berlin', '2026-03-29T01:00:00Z'],
  ['Europe/Berlin', '2026-10-25T01:00:00Z'],
  ['America/New_York', '2026-03-08T07:00:00Z'],
  ['America/New_York', '2026-11-01T06:00:00Z'],
  ['Australia/Lord_Howe', '2026-10-03T15:30:00Z'],
  ['Australia/Lord_Howe', '2026-04-04T15:00:00Z'],
  ['America/Sao_Paulo', '2018-11-04T03:00:00Z'],
  ['America/Sao_Paulo', '2018-02-18T02:00:00Z'],
  ['Pacific/Apia', '2011-12-30T10:00:00Z'],
  ['Pacific/Apia', '2012-03-31T14:00:00Z'],
  ['Africa/Casablanca', '2025-02-23T02:00:00Z'],
  ['Africa/Casablanca', '2025-04-06T02:00:00Z'],
  ['Antarctica/Troll', '2026-03-29T01:00:00Z'],
  ['America/Nuuk', '2026-03-29T01:00:00Z'],
  ['Asia/Kathmandu', '1985-12-31T18:30:00Z'],
  ['Europe/Dublin', '2026-10-25T01:00:00Z'],
  ['Asia/Gaza', '2010-08-10T21:00:00Z'],
  ['Pacific/Kwajalein', '1993-08-20T12:00:00Z'],
  ['UTC', '2028-02-29T00:00:00Z'],
];

const walked = new Map<string, readonly Minute[]>();

function minutesOf(timezone: string, change: string): readonly Minute[] {
  const key = `${timezone} ${change}`;
  const known = walked.get(key);
  if (known !== undefined) return known;
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short', timeStyle: 'medium' });
  const minutes: Minute[] = [];
  for (let instant = utc(change) - 4 * dayMs; instant < utc(change) + 2 * dayMs; instant += minuteMs) {
    minutes.push({ instant, local: utc(`${format.format(instant).replace(' ', 'T')}Z`) });
  }
  walked.set(key, minutes);
  return minutes;
}

interface Generated {
  readonly text: string;
  readonly values: ReadonlySet<number>;
}

/** A field and its allowed values, computed independently. */
function fieldArbitrary(min: number, max: number): fc.Arbitrary<Generated> {
  const value = fc.integer({ min, max });
  const every = fc.constant({ text: '*', values: new Set(numbers(min, max, 1)) });
  const step = fc.integer({ min: 1, max: max - min + 1 }).map((by) => ({
    text: `*/${by}`,
    values: new Set(numbers(min, max, by)),
  }));
  const range = fc.tuple(value, value, fc.integer({ min: 1, max: 9 })).map(([a, b, by]) => ({
    text: `${Math.min(a, b)}-${Math.max(a, b)}${by > max - min ? '' : `/${by}`}`,
    values: new Set(numbers(Math.min(a, b), Math.max(a, b), by > max - min ? 1 : by)),
  }));
  const list = fc
    .uniqueArray(value, { minLength: 1, maxLength: 4 })
    .map((each) => ({ text: each.join(','), values: new Set(each) }));
  return fc.oneof({ weight: 3, arbitrary: every }, step, range, { weight: 4, arbitrary: list });
}

function numbers(from: number, to: number, by: number): number[] {
  const found: number[] = [];
  for (let value = from; value <= to; value += by) found.push(value);
  return found;
}

interface GeneratedCron {
  readonly text: string;
  readonly fixed: boolean;
  readonly matches: (local: number) => boolean;
}

const cronArbitrary: fc.Arbitrary<GeneratedCron> = fc
  .tuple(
    fieldArbitrary(0, 59),
    fieldArbitrary(0, 23),
    fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, fieldArbitrary(1, 31)),
    fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, fieldArbitrary(0, 6)),
  )
  .map(([minute, hour, dates, weekdays]) => ({
    text: `${minute.text} ${hour.text} ${dates?.text ?? '*'} * ${weekdays?.text ?? '*'}`,
    fixed: !hour.text.startsWith('*'),
    matches: (local) => {
      const shown = new Date(local);
      if (!minute.values.has(shown.getUTCMinutes()) || !hour.values.has(shown.getUTCHours())) return false;
      const byDate = dates === null || dates.values.has(shown.getUTCDate());
      const byWeekday = weekdays === null || weekdays.values.has(shown.getUTCDay());
      const free = (dates?.text ?? '*').startsWith('*') || (weekdays?.text ?? '*').startsWith('*');
      return free ? byDate && byWeekday : byDate || byWeekday;
    },
  }));

function slowSlots(cron: GeneratedCron, minutes: readonly Minute[], from: number): number[] {
  const slots: number[] = [];
  let shown = minutes[0]!.local - minuteMs;
  for (const { instant, local } of minutes) {
    let fires = !(cron.fixed && local <= shown) && cron.matches(local);
    for (let skipped = shown + minuteMs; cron.fixed && skipped < local; skipped += minuteMs) {
      fires ||= cron.matches(skipped);
    }
    if (fires && instant >= from) slots.push(instant);
    shown = Math.max(shown, local);
  }
  return slots;
}

test('scheduling.md: slots around clock changes are those of a walk through every minute', () => {
  fc.assert(
    fc.property(fc.constantFrom(...windows), cronArbitrary, ([timezone, change], cron) => {
      const from = utc(change) - 2 * dayMs;
      const to = utc(change) + 2 * dayMs;
      const expected = slowSlots(cron, minutesOf(timezone, change), from);
      const found = [...slotsBetween(rule({ cron: cron.text, timezone }), from, to)];
      assert.deepEqual(found.map(iso), expected.map(iso));
      assert.equal(countSlots(rule({ cron: cron.text, timezone }), from, to), expected.length);
    }),
    { numRuns: 400 },
  );
});

test('scheduling.md: counts and last slots of any range, also of seconds, equal the visited slots', () => {
  const seconds = fieldArbitrary(0, 59);
  const part = fc.tuple(fc.integer({ min: -3 * hourMs, max: 3 * hourMs }), fc.integer({ min: 0, max: 5 * hourMs }));
  fc.assert(
    fc.property(
      fc.constantFrom(...windows),
      seconds,
      cronArbitrary,
      part,
      ([timezone, change], second, cron, [at, length]) => {
        const every = rule({ cron: `${second.text} ${cron.text}`, timezone });
        const from = utc(change) + at;
        const slots = [...slotsBetween(every, from, from + length)];
        assert.equal(countSlots(every, from, from + length), slots.length);
        assert.equal(lastSlot(every, from, from + length), slots.at(-1) ?? null);
      },
    ),
    { numRuns: 200 },
  );
});

test('slots equal those of croner if the rules agree (no clock change, plain days)', () => {
  const from = utc('2026-02-10T11:12:13Z');
  const zones = fc.constantFrom('UTC', 'Asia/Kathmandu', 'Asia/Tokyo', 'America/Phoenix');
  const days = fc.constantFrom(
    '* * *',
    '* * MON-FRI',
    '13 * *',
    'L * *',
    '* * 5L',
    '* * MON#2',
    '13 * FRI',
    '1-7 2,8 *',
    '29 2 *',
  );
  const times = fc.tuple(fieldArbitrary(0, 59), fieldArbitrary(0, 59), fieldArbitrary(0, 23));
  fc.assert(
    fc.property(zones, times, days, (timezone, [second, minute, hour], day) => {
      const cron = `${second.text} ${minute.text} ${hour.text} ${day}`;
      const theirs = new Croner(cron, { timezone, paused: true }).nextRuns(8, new Date(from));
      const ours = [...slotsBetween(rule({ cron, timezone }), from + 1, Infinity).take(theirs.length)];
      assert.deepEqual(
        ours.map(iso),
        theirs.map((date) => iso(date.getTime())),
      );
    }),
    { numRuns: 100 },
  );
});

test('slots around a clock change equal those of croner if the rules agree (one time a day, every hour)', () => {
  for (const [timezone, change] of windows) {
    if (['Pacific/Apia', 'America/Nuuk', 'Pacific/Kwajalein'].includes(timezone)) continue; // gaps at the end of a day
    const crons = ['30 2 * * *', '15 1 * * *', '0 0 * * *', '30 0 * * *', '30 * * * *', '*/15 * * * *', '0 */2 * * *'];
    for (const cron of crons) {
      const theirs = new Croner(cron, { timezone, paused: true }).nextRuns(30, new Date(utc(change) - dayMs));
      const ours = [...slotsBetween(rule({ cron, timezone }), utc(change) - dayMs + 1, Infinity).take(30)];
      assert.deepEqual(
        ours.map(iso),
        theirs.map((date) => iso(date.getTime())),
        `${cron} ${timezone} ${change}`,
      );
    }
  }
});

test('scheduling.md: the same day, no schedule is ever lost: a daily slot comes once every day for 30 years in every kind of zone', () => {
  const from = utc('2000-01-01T12:00:00Z');
  const to = utc('2030-01-01T12:00:00Z');
  for (const timezone of new Set(windows.map(([each]) => each))) {
    if (timezone === 'Pacific/Apia') continue; // it crossed the date line in 2011; the golden table has it
    for (const cron of ['0 0 * * *', '30 2 * * *', '45 23 * * *']) {
      assert.equal(countSlots(rule({ cron, timezone }), from, to), 10_958, `${cron} ${timezone}`);
    }
  }
});

test('scheduling.md: the next slot is computed from the slot: every counts elapsed time from startAt, over clock changes too', () => {
  const startAt = utc('2026-03-28T23:00:00.250Z');
  const every = rule({ every: 90 * minuteMs, startAt, timezone: 'Europe/Berlin' });
  assert.equal(nextSlot(every, startAt - dayMs), startAt);
  assert.equal(nextSlot(every, startAt), startAt + 90 * minuteMs);
  assert.equal(nextSlot(every, startAt + 90 * minuteMs - 1), startAt + 90 * minuteMs);
  assert.equal(nextSlot(every, startAt + 1000 * dayMs + 7), startAt + 1000 * dayMs + 90 * minuteMs);
  assert.equal(countSlots(every, startAt, startAt + dayMs), 16);
  assert.equal(countSlots(every, startAt - dayMs, startAt + 1), 1);
  assert.equal(lastSlot(every, startAt - dayMs, startAt + dayMs), startAt + 15 * 90 * minuteMs);
});

test('every without startAt counts from 1970', () => {
  assert.equal(nextSlot(rule({ every: 1000 }), 1500), 2000);
  assert.equal(nextSlot(rule({ every: 1000 }), -1500), -1000);
});

test('scheduling.md: at is one slot', () => {
  const at = utc('2026-05-05T05:05:05Z');
  assert.equal(nextSlot(rule({ at }), at - 1), at);
  assert.equal(nextSlot(rule({ at }), at), null);
  assert.equal(countSlots(rule({ at }), at, at + 1), 1);
  assert.equal(countSlots(rule({ at }), at + 1, at + 9), 0);
  assert.equal(lastSlot(rule({ at }), 0, at + 1), at);
  assert.equal(lastSlot(rule({ at }), 0, at), null);
});

test('scheduling.md: slots are in the range from startAt to before endAt', () => {
  const bounds = { startAt: utc('2026-01-10T00:00:00Z'), endAt: utc('2026-01-13T00:00:00Z') };
  for (const bounded of [rule({ cron: '0 0 * * *', ...bounds }), rule({ every: dayMs, ...bounds })]) {
    assert.deepEqual([...slotsBetween(bounded, 0, utc('2027-01-01T00:00:00Z'))].map(iso), [
      '2026-01-10T00:00:00Z',
      '2026-01-11T00:00:00Z',
      '2026-01-12T00:00:00Z',
    ]);
    assert.equal(countSlots(bounded, 0, utc('2027-01-01T00:00:00Z')), 3);
    assert.equal(lastSlot(bounded, 0, utc('2027-01-01T00:00:00Z')), utc('2026-01-12T00:00:00Z'));
    assert.equal(nextSlot(bounded, utc('2026-01-12T00:00:00Z')), null);
  }
});

test('backfill ranges are half-open', () => {
  const hourly = rule({ cron: '@hourly' });
  assert.equal([...slotsBetween(hourly, 0, hourMs)].length, 1);
  assert.equal([...slotsBetween(hourly, 1, hourMs + 1)].length, 1);
  assert.deepEqual([...slotsBetween(hourly, 5, 5)], []);
});

test('slots end with the year 9999', () => {
  assert.equal(nextSlot(rule({ cron: '0 0 1 1 *' }), utc('9999-06-01T00:00:00Z')), null);
  assert.equal(nextSlot(rule({ cron: '0 0 1 1 *', timezone: 'Europe/Berlin' }), utc('9999-06-01T00:00:00Z')), null);
});

test('a year of a schedule that fires every second is counted, not visited', () => {
  const from = utc('2025-01-01T00:00:00Z');
  const to = utc('2026-01-01T00:00:00Z');
  assert.equal(countSlots(rule({ cron: '* * * * * *' }), from, to), 31_536_000);
  assert.equal(countSlots(rule({ cron: '* * * * * *', timezone: 'Europe/Berlin' }), from, to), 31_536_000);
  // a fixed hour field does not count the repeated hour again, and the skipped one is a single slot already counted
  assert.equal(countSlots(rule({ cron: '* * 0-23 * * *', timezone: 'Europe/Berlin' }), from, to), 31_536_000 - 3600);
  assert.equal(lastSlot(rule({ cron: '* * * * * *' }), from, to), to - 1000);
});
