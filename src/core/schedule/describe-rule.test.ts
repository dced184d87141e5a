import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScheduleOptions } from '../definition/definition.ts';
import { describeRule } from './describe-rule.ts';
import { scheduleRule } from './rule.ts';

function described(options: ScheduleOptions<unknown>): string {
  return describeRule(scheduleRule(options, Date.parse('2026-03-10T12:00:00Z')));
}

test('a cron is described as a sentence', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['* * * * * *', 'every second'],
    ['*/30 * * * * *', 'every 30 seconds'],
    ['10,20 * * * * *', 'at seconds 10 and 20 of every minute'],
    ['10,20 5 * * * *', 'at seconds 10 and 20 of minute 5 of every hour'],
    ['5 4 */3 * * *', 'at second 5 of minute 4 of every 3rd hour'],
    ['*/15 */5 * * * *', 'every 15 seconds of every 5th minute'],
    ['*/10 * 8-18 * * *', 'every 10 seconds from 08:00 to 18:59 every day'],
    ['30 30 2 * * *', 'at 02:30:30 every day'],
    ['* * * * *', 'every minute'],
    ['*/5 * * * *', 'every 5 minutes'],
    ['0,30 * * * *', 'every 30 minutes'],
    ['*/7 * * * *', 'every 7 minutes counted from the start of each hour'],
    ['10-20 * * * *', 'every minute from minute 10 to 20'],
    ['5 * * * *', 'at minute 5 of every hour'],
    ['30 */2 * * *', 'at minute 30 of every 2nd hour'],
    ['15 9-17 * * *', 'at minute 15 of the hours 9 to 17 every day'],
    ['*/5 9-17 * * MON-FRI', 'every 5 minutes from 09:00 to 17:59 on Monday to Friday'],
    ['* 2 * * *', 'every minute from 02:00 to 02:59 every day'],
    ['@hourly', 'every hour'],
    ['0 */2 * * *', 'every 2 hours'],
    ['0 9-17 * * 1-5', 'every hour from 09:00 to 17:00 on Monday to Friday'],
    ['0 2 * * *', 'at 02:00 every day'],
    ['0 6,14,22 * * *', 'at 06:00, 14:00 and 22:00 every day'],
    ['0 */24 * * *', 'at 00:00 every day'],
    ['0 0 1,15 * *', 'at 00:00 on the 1st and the 15th of the month'],
    ['0 0 1-7 * *', 'at 00:00 on the 1st to the 7th of the month'],
    ['0 0 L * *', 'at 00:00 on the last day of the month'],
    ['0 0 29 2 *', 'at 00:00 on the 29th of February'],
    ['@yearly', 'at 00:00 on the 1st of January'],
    ['@weekly', 'at 00:00 on Sunday'],
    ['0 0 * 2,8 *', 'at 00:00 every day in February and August'],
    ['5 4 * JAN,JUL MON', 'at 04:05 on Monday in January and July'],
    ['0 0 * * 0,6', 'at 00:00 on Saturday and Sunday'],
    ['0 0 * * FRI-SUN', 'at 00:00 on Friday to Sunday'],
    ['0 12 * * MON#2', 'at 12:00 on the 2nd Monday of the month'],
    ['0 12 * * 5L', 'at 12:00 on the last Friday of the month'],
    ['0 0 13 * FRI', 'at 00:00 on the 13th of the month, or on Friday'],
    ['0 0 */2 * MON', 'at 00:00 on every 2nd day from the 1st of the month, if it is Monday'],
  ];
  for (const [cron, sentence] of cases) assert.equal(described({ cron }), `${sentence}, UTC`, cron);
  assert.equal(described({ cron: '0 2 * * *', timezone: 'Europe/Berlin' }), 'at 02:00 every day, Europe/Berlin');
});

test('a duration, a single time, bounds and jitter are described', () => {
  const startAt = '2026-03-28T23:00:00';
  const sentences = [
    described({ every: '30s', startAt }),
    described({ every: '90m', startAt }),
    described({ every: '1d', startAt }),
    described({ every: '1w', startAt, timezone: 'Europe/Berlin' }),
    described({ every: 1500, startAt }),
    described({ at: '2026-07-01T02:00', timezone: 'Europe/Berlin' }),
    described({ cron: '@daily', startAt: '2026-04-01', endAt: '2026-05-01', jitter: '5m' }),
    described({ cron: '@daily', jitter: 60_000 }),
  ];
  assert.deepEqual(sentences, [
    'every 30 seconds, UTC, from 2026-03-28 23:00:00',
    'every 90 minutes, UTC, from 2026-03-28 23:00:00',
    'every 24 hours, UTC, from 2026-03-28 23:00:00',
    'every 7 days, Europe/Berlin, from 2026-03-28 23:00:00',
    'every 1.5 seconds, UTC, from 2026-03-28 23:00:00',
    'once, at 2026-07-01 02:00:00, Europe/Berlin',
    'at 00:00 every day, UTC, from 2026-04-01 00:00:00, until 2026-05-01 00:00:00, delayed by up to 5 minutes',
    'at 00:00 every day, UTC, delayed by up to 1 minute',
  ]);
});
