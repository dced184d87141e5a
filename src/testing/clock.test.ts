import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delay } from '../engine/clock.ts';
import { ManualClock } from './clock.ts';

test('timers fire in the order of their times, each at its time, and in the order of setting within one time', async () => {
  const clock = new ManualClock({ now: 1000 });
  const fired: string[] = [];
  for (const [name, ms] of Object.entries({ c: 300, a: 100, b1: 200, b2: 200 })) {
    clock.timer(ms, () => fired.push(`${name}@${clock.now()}`));
  }
  await clock.advance(250);
  assert.deepEqual(fired, ['a@1100', 'b1@1200', 'b2@1200']);
  assert.equal(clock.now(), 1250);
  await clock.advance(50);
  assert.deepEqual(fired.at(-1), 'c@1300');
  assert.equal(clock.timers, 0);
});

test('work that a timer triggers settles before the next timer fires, and may set timers in between', async () => {
  const clock = new ManualClock({ now: 0 });
  const seen: number[] = [];
  const tick = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
    await new Promise<void>((resolve) => setImmediate(resolve));
    seen.push(clock.now());
    clock.timer(1000, () => void tick());
  };
  clock.timer(1000, () => void tick());
  await clock.advance('1 minute');
  assert.deepEqual(
    seen,
    Array.from({ length: 60 }, (_, i) => (i + 1) * 1000),
  );
});

test('a cancelled timer does not fire; one without delay fires on its own', async () => {
  const clock = new ManualClock();
  let fired = 0;
  clock.timer(10, () => fired++).cancel();
  clock.timer(0, () => fired++).cancel();
  await clock.advance('1h');
  assert.equal(fired, 0);
  await delay(clock, 0);
  assert.equal(clock.timers, 0);
});

test('a leap fires timers that became due meanwhile once, late; the wall clock can be set without affecting timers', async () => {
  const clock = new ManualClock({ now: 0 });
  const seen: number[] = [];
  const tick = (): void => {
    seen.push(clock.now());
    clock.timer(1000, tick);
  };
  clock.timer(1000, tick);
  await clock.leap('1h');
  assert.deepEqual(seen, [3_600_000]);
  clock.setNow(5);
  await clock.advance(999);
  assert.equal(seen.length, 1);
  await clock.advance(1);
  assert.deepEqual(seen, [3_600_000, 1005]);
  assert.equal(clock.monotonic(), 3_601_000);
});

test('work that never settles is an error and not a test that hangs', async () => {
  const clock = new ManualClock();
  let going = true;
  const spin = (): void => {
    if (going) clock.timer(0, spin);
  };
  spin();
  await assert.rejects(clock.settle(), /never came to rest/);
  going = false;
});
