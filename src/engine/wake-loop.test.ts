import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../testing/clock.ts';
import { systemClock } from './clock.ts';
import { WakeLoop } from './wake-loop.ts';
import type { Polled } from './wake-loop.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function loopOf(
  clock: ManualClock,
  pass: (n: number) => Promise<Polled> | Polled,
): { loop: WakeLoop; passes: number[] } {
  const passes: number[] = [];
  const loop = new WakeLoop({
    clock,
    pass: async () => {
      passes.push(clock.monotonic());
      return pass(passes.length);
    },
    onError: () => undefined,
    retryMs: 1000,
  });
  return { loop, passes };
}

test('a notification in any microtask of a pass, and around its end, is followed by another pass', async () => {
  for (let microtasks = 0; microtasks < 20; microtasks++) {
    const { loop, passes } = loopOf(new ManualClock(), (n) => {
      if (n === 1) void later();
      return { found: false };
    });
    const later = async (): Promise<void> => {
      for (let i = 0; i < microtasks; i++) await Promise.resolve();
      loop.notify();
    };
    loop.notify();
    for (let i = 0; i < 10; i++) await turn();
    assert.equal(passes.length, 2, `after ${microtasks} microtasks`);
    assert.equal(loop.running, undefined);
  }
});

test('passes never overlap, and one pass answers all notifications of the pass before', async () => {
  let active = 0;
  const { loop, passes } = loopOf(new ManualClock(), async () => {
    assert.equal(++active, 1);
    await turn();
    active -= 1;
    return { found: true };
  });
  for (let i = 0; i < 10; i++) loop.notify();
  await turn();
  for (let i = 0; i < 10; i++) loop.notify();
  await loop.running;
  assert.equal(passes.length, 2);
});

test('the event loop has a turn between two passes', async () => {
  let turns = 0;
  const seen: number[] = [];
  const { loop } = loopOf(new ManualClock(), (n) => {
    seen.push(turns);
    return { found: true, dueInMs: n < 5 ? 0 : undefined };
  });
  let isOpen = true;
  const count = (): void => {
    turns += 1;
    if (isOpen) setImmediate(count);
  };
  setImmediate(count);
  loop.notify();
  await loop.running;
  isOpen = false;
  assert.deepEqual(
    seen.map((at, i) => i === 0 || at > seen[i - 1]!),
    [true, true, true, true, true],
  );
});

test('a pass begins when something is due, and at the latest with the safety net', async () => {
  const clock = new ManualClock();
  const { loop, passes } = loopOf(clock, (n) => ({ found: n > 1, dueInMs: n === 1 ? 30 : 500, safetyNetMs: 100 }));
  loop.notify();
  await clock.advance(150);
  assert.deepEqual(passes, [0, 30, 130]);
  loop.dueIn(200);
  loop.dueIn(20);
  await clock.advance(20);
  assert.deepEqual(passes, [0, 30, 130, 170]);
  assert.equal(clock.timers, 1);
  await loop.close();
  assert.equal(clock.timers, 0);
});

test('only a pass that the safety net alone has started counts as caught, and only if it found something', async () => {
  const clock = new ManualClock();
  let found = true;
  const { loop } = loopOf(clock, () => ({ found, safetyNetMs: 100 }));
  loop.notify();
  await clock.advance(50);
  assert.equal(loop.caught, 0, 'notified');
  await clock.advance(50);
  assert.equal(loop.caught, 1, 'the net');
  loop.catchUp();
  await clock.settle();
  assert.equal(loop.caught, 2, 'the net of the caller');
  loop.notify();
  loop.catchUp();
  loop.catchUp();
  loop.notify();
  await clock.settle();
  assert.equal(loop.caught, 2, 'notified as well');
  found = false;
  await clock.advance(100);
  assert.equal(loop.caught, 2, 'nothing found');
  await loop.close();
});

test('a pass that throws is repeated after the retry time', async () => {
  const clock = new ManualClock();
  const { loop, passes } = loopOf(clock, (n) => {
    if (n === 1) throw new Error('away');
    return { found: false };
  });
  await loop.poll();
  await clock.advance(1000);
  assert.deepEqual(passes, [0, 1000]);
});

test('a pause after a pass delays the next one', async () => {
  const clock = new ManualClock();
  const { loop, passes } = loopOf(clock, () => ({ found: false, pauseMs: 40 }));
  loop.notify();
  await Promise.resolve();
  loop.notify();
  await clock.advance(100);
  assert.deepEqual(passes, [0, 40]);
});

test('poll resolves after a pass that began after the call, or when the loop is closed', async () => {
  const clock = new ManualClock();
  const gate = Promise.withResolvers<void>();
  const { loop, passes } = loopOf(clock, async (n) => {
    if (n === 1) await gate.promise;
    return { found: false };
  });
  loop.notify();
  let polled = false;
  const poll = loop.poll().then(() => (polled = true));
  await clock.settle();
  assert.equal(polled, false);
  gate.resolve();
  await poll;
  assert.equal(passes.length, 2);
  const never = new WakeLoop({
    clock,
    pass: () => new Promise<Polled>(() => undefined),
    onError: () => undefined,
    retryMs: 1,
  });
  never.notify();
  const waits = never.poll();
  void never.close();
  await waits;
  await never.poll();
});

test('a caller that polls keeps the process alive, and only while it waits', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  const loop = new WakeLoop({
    clock: systemClock,
    pass: () => Promise.resolve({ found: false, pauseMs: 20 }),
    onError: () => undefined,
    retryMs: 1,
  });
  const polls = [loop.poll(), loop.poll(), loop.poll()];
  await Promise.resolve();
  assert.equal(timers(), before + 1);
  await Promise.all(polls);
  assert.equal(timers(), before);
  await loop.close();
});
