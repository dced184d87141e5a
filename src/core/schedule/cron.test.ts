import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cronFields } from './cron-fields.ts';
import { parseCron } from './cron.ts';
import { ScheduleInvalidError } from '../error.ts';

function refused(expression: string): string {
  try {
    parseCron(expression);
  } catch (error) {
    assert.ok(error instanceof ScheduleInvalidError, String(error));
    assert.equal(error.code, 'SCHEDULE_INVALID');
    assert.equal(error.field, 'cron');
    return error.message;
  }
  return assert.fail(`'${expression}' was accepted`);
}

test('scheduling.md: an error about a bad cron says what is wrong, in which field, at which character', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['60 * * * *', /minute \(field 1, character 1\): 60 is more than 59/],
    ['* 24 * * *', /hour \(field 2, character 3\): 24 is more than 23/],
    ['0  9-24 * * *', /hour \(field 2, character 6\): 24 is more than 23/],
    ['* * 0 * *', /day of month \(field 3, character 5\): 0 is less than 1/],
    ['* * * 13 *', /month \(field 4, character 7\): 13 is more than 12/],
    ['* * * * 8', /day of week \(field 5, character 9\): 8 is more than 7/],
    ['61 * * * * *', /second \(field 1, character 1\): 61 is more than 59/],
    ['0 0 25 * * *', /hour \(field 3, character 5\): 25 is more than 23/],
    [
      '0 0 * * MOO',
      /day of week \(field 5, character 9\): 'MOO' is not a number from 0 to 7 or a name from SUN to SAT/,
    ],
    ['0 0 * FEBR *', /month \(field 4, character 7\): 'FEBR'/],
    ['0 0,12, * * *', /hour \(field 2, character 8\): a value is missing/],
    ['1,,2 * * * *', /minute \(field 1, character 3\): a value is missing/],
    ['10-5 * * * *', /the range '10-5' ends before it begins; write it as two, such as 10-59,0-5/],
    ['5- * * * *', /'5-' is not a value or a range/],
    ['-5 * * * *', /'-5' is not a value or a range/],
    ['1-2-3 * * * *', /'1-2-3' is not a value or a range/],
    ['*/0 * * * *', /minute \(field 1, character 3\): a step of 0 never moves/],
    ['*/90 * * * *', /a step of 90 is more than the 60 values of a minute; for an interval use the option every/],
    ['*/x * * * *', /the step 'x' is not a number/],
    ['*/2/3 * * * *', /'\*\/2\/3' has more than one step/],
    ['1.5 * * * *', /'1\.5' is not a number from 0 to 59/],
    ['0 0 ? * MON', /day of month \(field 3, character 5\): '\?' is not supported: write \*/],
    ['0 0 15W * *', /nearest weekdays \(W\) are not supported/],
    ['0 0 * * L', /'L' needs a weekday before it: 5L is the last Friday/],
    ['0 0 * * MON#6', /'#6' is not #1 to #5/],
    ['0 0 * * 8#1', /day of week \(field 5, character 9\): 8 is more than 7/],
    ['* * * *', /has 4 fields; write 5 .* or 6 \(second first\)/],
    ['', /has 0 fields/],
    ['0 0 0 1 1 * 2027', /has 7 fields.*there is no year field: use startAt and endAt/],
    ['@reboot', /'@reboot' is not one of @yearly, .*@hourly/],
    ['@every 5m', /use the option every/],
  ];
  for (const [expression, message] of cases) assert.match(refused(expression), message, expression);
});

test('scheduling.md: dates that never come (30 February) are refused at creation', () => {
  assert.match(refused('0 0 30 2 *'), /'0 0 30 2 \*': day of month: there is no 30 February, so it would never fire/);
  assert.match(refused('0 0 31 4,6,9,11 *'), /there is no 31 April or June or September or November/);
  assert.match(refused('0 0 0 31 FEB *'), /there is no 31 February/);
  assert.match(refused('0 0 31 2 */2'), /there is no 31 February/);
  // the first day is never the last Friday, and the field that begins with * does not turn the rule into an either-or
  assert.match(refused('0 0 */31 * 5L'), /no day of month/);
  assert.match(refused('0 0 */20 * MON#5'), /no day of month/);
});

test('scheduling.md: rare dates are not refused: 29 February, on a Sunday, 31 of a short month beside a weekday', () => {
  for (const expression of [
    '0 0 29 2 *',
    '0 0 29 2 */7',
    '0 0 30 2 MON',
    '0 0 L 2 *',
    '0 0 * 2 MON#5',
    '0 0 31 2,3 *',
  ]) {
    assert.doesNotThrow(() => parseCron(expression), expression);
  }
});

test('an expression is read into values: steps, ranges, names, Sunday as 7, L and #', () => {
  const fields = cronFields('5/20 */6 9-17/4 1,15,L JAN-MAR fri-SUN,2#3,4L');
  assert.deepEqual(fields.second, { values: [5, 25, 45], star: false });
  assert.deepEqual(fields.minute, { values: [0, 6, 12, 18, 24, 30, 36, 42, 48, 54], star: true });
  assert.deepEqual(fields.hour.values, [9, 13, 17]);
  assert.deepEqual(fields.dayOfMonth, { values: [1, 15], star: false, last: true });
  assert.deepEqual(fields.month.values, [1, 2, 3]);
  assert.deepEqual(fields.dayOfWeek, { values: [0, 5, 6], star: false, last: [4], nth: [{ weekday: 2, n: 3 }] });
});

test('a compiled expression is kept', () => {
  assert.equal(parseCron('1 2 3 4 *'), parseCron('1 2 3 4 *'));
});

test('a count of matches equals the matches visited one by one', () => {
  const cron = parseCron('*/7 3,30-34 */5 10-20 * *');
  const from = Date.UTC(2027, 11, 29, 15, 31, 8);
  const to = Date.UTC(2028, 2, 12, 10, 33, 1);
  let visited = 0;
  for (let at = cron.next(from); at < to; at = cron.next(at + 1)) visited += 1;
  assert.ok(visited > 1000);
  assert.equal(cron.count(from, to), visited);
  assert.equal(cron.count(to, from), 0);
});

test('a range that ends before it begins is refused with an expression that means it', () => {
  const suggested = (expression: string): string => {
    try {
      cronFields(expression);
    } catch (error) {
      const found = /ends before it begins; write (?:it as two, such as )?(\S+)$/.exec((error as Error).message)?.[1];
      assert.ok(found !== undefined, String(error));
      return found;
    }
    throw new Error(`'${expression}' was accepted`);
  };
  assert.equal(suggested('* * * * 7-1'), '0-1');
  assert.equal(suggested('* * * * 7-0'), '0');
  assert.equal(suggested('* * * * 6-1'), '6,0-1');
  assert.equal(suggested('* * * * SAT-MON'), 'SAT,0-MON');
  assert.equal(suggested('* * * * FRI-MON/2'), 'FRI,0');
  assert.equal(suggested('* 22-4/2 * * *'), '22,0-4/2');
  assert.equal(suggested('* * * NOV-FEB *'), 'NOV-12,1-FEB');
  const fields = ['minute', 'hour', 'dayOfMonth', 'month', 'dayOfWeek'] as const;
  const bounds = [
    [0, 59],
    [0, 23],
    [1, 31],
    [1, 12],
    [0, 6],
  ] as const;
  for (const [at, [min, max]] of bounds.entries()) {
    const place = (text: string): string => fields.map((_, i) => (i === at ? text : '*')).join(' ');
    for (let from = min + 1; from <= max; from += 1) {
      for (const to of [min, Math.floor((min + from) / 2), from - 1].filter((end) => end < from)) {
        for (const step of [1, 2, 3, max - min]) {
          const size = max - min + 1;
          const wrapped: number[] = [];
          for (let value = from; value <= to + size; value += step) wrapped.push(((value - min) % size) + min);
          const text = place(suggested(place(`${from}-${to}${step === 1 ? '' : `/${step}`}`)));
          assert.deepEqual(
            cronFields(text)[fields[at]!].values,
            wrapped.toSorted((a, b) => a - b),
            text,
          );
        }
      }
    }
  }
});
