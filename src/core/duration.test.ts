import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { durationMs, formatMs } from './duration.ts';
import { OptionInvalidError } from './error.ts';

describe('durations', () => {
  for (const [text, ms] of [
    ['500ms', 500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['2h', 7_200_000],
    ['3d', 259_200_000],
    ['1w', 604_800_000],
    ['1h30m', 5_400_000],
    ['1h 30m', 5_400_000],
    [' 1.5 h ', 5_400_000],
    ['3 days', 259_200_000],
    ['10 MINUTES', 600_000],
    ['0s', 0],
    ['0.4ms', 0],
  ] as const) {
    it(`'${text}' is ${ms} ms`, () => assert.equal(durationMs(text, 'option'), ms));
  }

  it('a number is milliseconds', () => {
    assert.equal(durationMs(1500, 'option'), 1500);
    assert.equal(durationMs(0, 'option'), 0);
  });

  for (const bad of ['', ' ', '5', 'm', '-5s', '5 parsecs', '1h-30m', 's5', '1e3s', '5s!', '.5s', '١s', '999999999w']) {
    it(`'${bad}' is refused with the option's name and what to write instead`, () => {
      assert.throws(
        () => durationMs(bad, 'timeout'),
        (error) => error instanceof OptionInvalidError && error.option === 'timeout' && error.message.length > 20,
      );
    });
  }

  for (const bad of ['6M', '1 M', '1h30M', '1d 2M']) {
    it(`'${bad}' is refused: elsewhere M is a month`, () => {
      assert.throws(() => durationMs(bad, 'retention'), {
        code: 'OPTION_INVALID',
        message: /'M' is a month elsewhere; write 'm' for minutes, or days, such as '30d'/,
      });
    });
  }

  for (const bad of [-1, Number.NaN, Infinity, 1e18]) {
    it(`${bad} is refused because no timer and no date can hold it`, () => {
      assert.throws(() => durationMs(bad, 'timeout'), OptionInvalidError);
    });
  }

  it('a value that is neither a text nor a number is refused, not taken for one', () => {
    for (const bad of [null, {}, true, [5]]) {
      assert.throws(() => durationMs(bad as unknown as string, 'timeout'), OptionInvalidError);
    }
  });

  it('a date that far from now can still be written', () => {
    const most = durationMs('52000w', 'option');
    assert.doesNotThrow(() => new Date(Date.UTC(2026, 0, 1) + most).toISOString());
  });

  it('a duration is shown in at most two units', () => {
    assert.deepEqual([740, 3210, 310_000, 300_000, 7_500_000, 273_600_000].map(formatMs), [
      '740 ms',
      '3.2 s',
      '5m 10s',
      '5m',
      '2h 5m',
      '3d 4h',
    ]);
  });

  it('a duration is never shown as 60.0 s or 1000 ms', () => {
    assert.equal(formatMs(59_990), '1m');
    assert.equal(formatMs(999.6), '1.0 s');
  });
});
