import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Store } from '../store/store.ts';
import { SchedulePlace } from '../testing/schedule-place.ts';

const everySecond = { workflow: 'etl', every: '1s', catchup: 'all', max: 1500, overlap: 'allow' } as const;

/** The largest number of executions that one transaction of a store has made since this call. */
function largestWrite(place: SchedulePlace, store: Store): () => number {
  const write = store.write.bind(store);
  let largest = 0;
  const written: Store['write'] = async (script) => {
    const before = (await place.executions()).length;
    const result = await write(script);
    largest = Math.max(largest, (await place.executions()).length - before);
    return result;
  };
  Object.assign(store, { write: written });
  return () => largest;
}

test('scheduling.md, Catch-up: the slots of one schedule start in transactions of limited size, in order, up to max', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('tick', everySecond);
  await place.clock.leap('30m');
  await place.loop();
  for (let turn = 0; turn < 20; turn++) await place.clock.settle();
  const slots = (await place.executions()).map(({ schedule }) => schedule!.slot);
  const late = slots.filter((slot) => slot <= Date.UTC(2026, 0, 1) + 1_500_000);
  assert.equal(late.length, 1500);
  assert.ok(place.notifications >= 8, `${place.notifications} transactions`);
  const rows = await place.schedules.history('tick', { limit: 1000 });
  assert.deepEqual(
    rows.filter(({ outcome }) => outcome === 'missed').map(({ count }) => count),
    [298],
    'those beyond max, up to the last second',
  );
});

test('scheduling.md, Catch-up: a runner that closes within a catch-up leaves the rest of it, and no more, to the next one', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('tick', { ...everySecond, max: 700 });
  await place.clock.leap('30m');
  let [looks, closing] = [0, Promise.resolve()];
  place.onResolve = () => {
    if (++looks === 2) closing = Promise.all(place.loops.map((loop) => loop.close())).then(() => undefined);
    return Promise.resolve();
  };
  await place.loop();
  await closing;
  assert.equal((await place.executions()).length, 200);
  await place.loop();
  for (let turn = 0; turn < 10; turn++) await place.clock.settle();
  const late = (await place.executions()).filter(({ schedule }) => schedule!.isCatchUp);
  assert.equal(late.length, 700);
});

test('scheduling.md, Catch-up: a change of the rule fires the slots of the old one in transactions of limited size', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('tick', everySecond);
  await place.clock.leap('20m');
  const largest = largestWrite(place, place.store);
  await place.schedules.update('tick', { every: '1h' });
  const started = (await place.executions()).length;
  assert.ok(started >= 1199, `${started} executions`);
  assert.ok(largest() <= 200, `${largest()} executions in one transaction`);
});
