import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scheduleRule } from '../../core/schedule/rule.ts';
import { slotsBetween } from '../../core/schedule/fire-times.ts';
import { intervalRule } from './interval.ts';

const second = 1000;
const minute = 60_000;
const hour = 3_600_000;

test('an interval that one field of a cron can step by becomes a cron', () => {
  const crons = [second, 2 * second, 30 * second, minute, 5 * minute, hour, 6 * hour, 24 * hour].map((everyMs) => {
    return intervalRule(everyMs).cron;
  });
  assert.deepEqual(crons, [
    '* * * * * *',
    '*/2 * * * * *',
    '*/30 * * * * *',
    '0 * * * * *',
    '0 */5 * * * *',
    '0 0 * * * *',
    '0 0 */6 * * *',
    '0 0 0 * * *',
  ]);
});

test('an interval that no cron can express is elapsed time', () => {
  for (const everyMs of [500, 1500, 7 * second, 90 * second, 7 * minute, 5 * hour, 48 * hour]) {
    assert.deepEqual(intervalRule(everyMs), { every: everyMs });
  }
});

test('the slots of a day are one interval apart in both forms', () => {
  const from = Date.UTC(2026, 0, 1);
  for (const everyMs of [30 * second, 45 * second, 90 * second, 12 * minute, 8 * hour, 24 * hour]) {
    const slots = [...slotsBetween(scheduleRule(intervalRule(everyMs), from), from + 1, from + 24 * hour + 1)];
    assert.equal(slots.length, Math.floor((24 * hour) / everyMs));
    for (const [index, slot] of slots.entries()) assert.equal(slot - (slots[index - 1] ?? slot - everyMs), everyMs);
  }
});
