import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScheduleOptions } from '../definition/definition.ts';
import { ScheduleInvalidError } from '../error.ts';
import { anchoredRule, checkRule, scheduleRule } from './rule.ts';
import type { ScheduleRule } from '../definition/spec.ts';

const dayMs = 86_400_000;
const now = Date.parse('2026-03-10T12:00:00Z');

function iso(instant: number): string {
  return new Date(instant).toISOString().replace('.000', '').replace('2026-', '');
}

function refused(options: ScheduleOptions<unknown>): ScheduleInvalidError {
  try {
    scheduleRule(options, now);
  } catch (error) {
    assert.ok(error instanceof ScheduleInvalidError, String(error));
    return error;
  }
  return assert.fail(`${JSON.stringify(options)} was accepted`);
}

test('scheduling.md: the defaults are UTC, overlap skip, catchup latest, max 100, window 24h, no jitter', () => {
  assert.deepEqual(scheduleRule({ cron: ' 0  2 * * * ' }, now), {
    cron: '0 2 * * *',
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
  });
});

test('scheduling.md: every counts from startAt, or else from the time of adding', () => {
  assert.equal(scheduleRule({ every: '90s' }, now).startAt, now);
  assert.equal(scheduleRule({ every: '90s', startAt: new Date(5000) }, now).startAt, 5000);
  assert.equal(scheduleRule({ cron: '@daily' }, now).startAt, null);
  const later = scheduleRule({ every: '90s' }, null);
  assert.equal(later.startAt, null);
  assert.equal(anchoredRule(later, now).startAt, now);
  assert.equal(anchoredRule({ ...later, startAt: 7 }, now).startAt, 7);
});

function inBerlin(text: string): string {
  return iso(scheduleRule({ at: text, timezone: 'Europe/Berlin' }, now).at!);
}

test('a time without an offset is a local time of the zone of the schedule; with one it is an instant', () => {
  assert.equal(inBerlin('2026-07-01T12:00:00'), '07-01T10:00:00Z');
  assert.equal(inBerlin('2026-07-01 12:00'), '07-01T10:00:00Z');
  assert.equal(inBerlin('2026-07-01'), '06-30T22:00:00Z');
  assert.equal(inBerlin('2026-07-01T12:00:00Z'), '07-01T12:00:00Z');
  assert.equal(inBerlin('2026-07-01T12:00:00.25-0430'), '07-01T16:30:00.250Z');
  assert.equal(inBerlin('2026-07-01T12:00+05:45'), '07-01T06:15:00Z');
  assert.equal(inBerlin('2026-03-29T02:30'), '03-29T01:00:00Z'); // in the gap
  assert.equal(inBerlin('2026-10-25T02:30'), '10-25T00:30:00Z'); // the first of the two instants
});

test('a schedule that can never work is refused at creation, and the error names the option', () => {
  const cases: readonly (readonly [ScheduleOptions<unknown>, field: string, RegExp])[] = [
    [{}, 'cron', /exactly one of cron, every and at; none is given/],
    [{ cron: '@daily', every: '1h' }, 'every', /exactly one of cron, every and at; cron is given too/],
    [{ every: '1h', at: '2026-04-01' }, 'at', /every is given too/],
    [{ cron: '0 25 * * *' }, 'cron', /hour \(field 2, character 3\): 25 is more than 23/],
    [{ cron: '0 0 30 2 *' }, 'cron', /no 30 February/],
    [
      { cron: '@daily', timezone: 'Europe/Berlim' },
      'timezone',
      /no time zone 'Europe\/Berlim'; did you mean 'Europe\/Berlin'/,
    ],
    [{ cron: '@daily', timezone: '+02:00' }, 'timezone', /'\+02:00' is an offset; name a zone/],
    [{ cron: '@daily', timezone: 'qqqqqqqq' }, 'timezone', /write it as in 'Europe\/Berlin'/],
    [{ every: '0s' }, 'every', /0 ms is less than the shortest interval, 100 ms/],
    [{ every: 99 }, 'every', /shortest interval/],
    [{ every: 'soon' }, 'every', /^every: 'soon' is not a duration/],
    [{ every: -1 }, 'every', /-1 is not a duration/],
    [{ at: 'tomorrow' }, 'at', /'tomorrow' is not a time/],
    [{ at: '2026-02-30' }, 'at', /'2026-02-30': there is no such date/],
    [{ at: '2026-13-01' }, 'at', /no such date/],
    [{ at: '2026-02-03T24:30' }, 'at', /no such (date|time of day)/],
    [{ at: '2026-02-03T10:61' }, 'at', /no such time of day/],
    [{ at: new Date(NaN) }, 'at', /is not a time/],
    [{ at: '2026-04-01', startAt: '2026-03-01' }, 'startAt', /no startAt and no endAt/],
    [{ at: '2026-04-01', endAt: '2026-05-01' }, 'endAt', /no startAt and no endAt/],
    [{ cron: '@daily', startAt: '2026-04-01', endAt: '2026-04-01' }, 'endAt', /must be after startAt/],
    [{ cron: '0 0 1 6 *', startAt: '2026-02-01', endAt: '2026-05-01' }, 'endAt', /no slot falls between/],
    [{ cron: '@daily', window: '-1h' }, 'window', /not a duration/],
    [{ cron: '@daily', window: -5 }, 'window', /not a duration/],
    [{ cron: '@daily', jitter: 'x' }, 'jitter', /not a duration/],
    [{ cron: '@daily', max: 0 }, 'max', /0 is not a whole number from 1 to 10000/],
    [{ cron: '@daily', max: 1.5 }, 'max', /1\.5 is not a whole number/],
    // input of a caller without types
    [
      JSON.parse('{"cron":"@daily","overlap":"sometimes"}'),
      'overlap',
      /'sometimes' is not one of skip, buffer_one, allow, cancel_other/,
    ],
    [JSON.parse('{"cron":"@daily","catchup":"none"}'), 'catchup', /'none' is not one of latest, skip, all/],
    [JSON.parse('{"cron":"@daily","paused":"no"}'), 'paused', /'no' is not true or false/],
    [JSON.parse('{"cron":5}'), 'cron', /5 is not text/],
    [JSON.parse('{"cron":"@daily","timezone":2}'), 'timezone', /2 is not text/],
    [JSON.parse('{"at":1780000000000}'), 'at', /is not a time/],
    [JSON.parse('{"every":true}'), 'every', /true is not/],
  ];
  for (const [options, field, message] of cases) {
    const error = refused(options);
    assert.equal(error.field, field, JSON.stringify(options));
    assert.match(error.message, message, JSON.stringify(options));
  }
});

test('each field of a rule from outside is checked', () => {
  const good = scheduleRule({ cron: '@daily' }, now);
  checkRule(good);
  const bad: readonly (readonly [Partial<ScheduleRule>, string])[] = [
    [{ cron: '* *' }, 'cron'],
    [{ timezone: 'Nowhere' }, 'timezone'],
    [{ window: 1.5 }, 'window'],
    [{ jitter: -1 }, 'jitter'],
    [{ startAt: 0.5 }, 'startAt'],
    [{ cron: null, at: Infinity }, 'at'],
  ];
  for (const [fields, field] of bad) {
    assert.throws(
      () => checkRule({ ...good, ...fields }),
      (error) => error instanceof ScheduleInvalidError && error.field === field,
    );
  }
});
