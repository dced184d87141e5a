import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { iso, SchedulePlace } from '../testing/schedule-place.ts';

const at = (time: string): number => Date.parse(`2026-01-01T${time}:00Z`);
const everyTenMinutes = { workflow: 'etl', cron: '*/10 * * * *', overlap: 'allow' } as const;

/** A place at noon. */
async function noon(t: TestContext): Promise<SchedulePlace> {
  return SchedulePlace.open(t, at('12:00'));
}

/** A runner works from 14:05 on, by a clock that is two hours ahead, for half a minute; then the clock is right. */
async function whileAhead(place: SchedulePlace): Promise<void> {
  place.clock.setNow(at('14:05'));
  const loop = await place.loop();
  await place.clock.advance('30s');
  await loop.close();
  place.clock.setNow(at('12:05'));
}

test('scheduling.md: a schedule whose clock was ahead goes on from now once the clock is right, with a warning', async (t) => {
  const place = await noon(t);
  await place.loop();
  await place.schedules.add('tick', everyTenMinutes);
  await place.clock.advance('5m');
  place.clock.setNow(at('14:05'));
  await place.clock.advance('1m');
  assert.deepEqual(await place.started(), ['01-01T14:00:00 late']);
  place.clock.setNow(at('12:06'));
  await place.clock.advance('1m');
  const { next, last } = await place.schedules.get('tick');
  assert.deepEqual([iso(next!), last], ['01-01T12:10:00', null]);
  const warnings = place.logged.filter(({ level }) => level === 'warn');
  assert.deepEqual(
    warnings.map(({ message, data }) => [message, Reflect.get(data, 'schedule')]),
    [['a schedule was ahead of the clock, which was set back; it goes on from now', 'tick']],
  );
  await place.clock.advance('15m');
  assert.deepEqual(await place.started(), ['01-01T12:10:00', '01-01T12:20:00', '01-01T14:00:00 late']);
});

test('scheduling.md: a loop that is opened moves back a schedule that an earlier runner has moved ahead', async (t) => {
  const place = await noon(t);
  await place.schedules.add('tick', everyTenMinutes);
  await whileAhead(place);
  await place.loop();
  await place.clock.advance('20m');
  assert.deepEqual((await place.started()).slice(0, 2), ['01-01T12:10:00', '01-01T12:20:00']);
});

test('scheduling.md: a slot that started while the clock was ahead does not start again, nor cancel anything, at its time', async (t) => {
  const place = await noon(t);
  await place.schedules.add('tick', { ...everyTenMinutes, overlap: 'cancel_other' });
  await whileAhead(place);
  await place.loop();
  await place.clock.advance('1h 50m');
  const before = (await place.executions()).filter(({ endedAt }) => endedAt === null);
  await place.clock.advance('7m');
  const after = (await place.executions()).filter(({ endedAt }) => endedAt === null);
  assert.deepEqual(
    after.map(({ id }) => id),
    before.map(({ id }) => id),
  );
  const started = await place.started();
  assert.equal(new Set(started.map((line) => line.slice(0, 14))).size, started.length);
});

test('scheduling.md: outcomes that were recorded while the clock was ahead give way to those of the slots at their time', async (t) => {
  const place = await noon(t);
  await place.schedules.add('tick', everyTenMinutes);
  await place.clock.advance('15m');
  await place.clock.advance('10m');
  await whileAhead(place);
  assert.deepEqual(await place.historyOf('tick'), [
    '01-01T12:10:00..01-01T13:50:00 x11 missed',
    '01-01T14:00:00 started',
  ]);
  place.clock.setNow(at('12:25'));
  await place.loop();
  await place.clock.advance('20m');
  assert.deepEqual(await place.historyOf('tick'), [
    '01-01T12:10:00..01-01T12:20:00 x2 missed',
    '01-01T12:30:00 started',
    '01-01T12:40:00 started',
    '01-01T14:00:00 started',
  ]);
});

test('scheduling.md: a clock that is behind for a while starts no slot again', async (t) => {
  const place = await noon(t);
  await place.loop();
  await place.schedules.add('tick', { ...everyTenMinutes, overlap: 'skip', catchup: 'all' });
  await place.clock.advance('1h 5m');
  const told = await place.historyOf('tick');
  assert.deepEqual(told, ['01-01T12:10:00 started', '01-01T12:20:00..01-01T13:00:00 x5 skipped_overlap']);
  place.clock.setNow(at('10:05'));
  await place.clock.advance('2m');
  await place.end('completed');
  place.clock.setNow(at('13:07'));
  await place.clock.advance('2m');
  assert.equal((await place.executions()).length, 1);
});

test('scheduling.md: a buffered slot that has not come is dropped, and starts at its time', async (t) => {
  const place = await noon(t);
  const loop = await place.loop();
  await place.schedules.add('tick', { ...everyTenMinutes, overlap: 'buffer_one' });
  await place.clock.advance('10m');
  place.clock.setNow(at('14:05'));
  await place.clock.advance('1m');
  assert.equal((await place.historyOf('tick')).at(-1), '01-01T14:00:00 buffered');
  place.clock.setNow(at('12:11'));
  await place.clock.advance('1m');
  await place.end('completed');
  loop.executionEnded();
  await place.clock.advance('1m');
  assert.deepEqual(await place.started(), ['01-01T12:10:00']);
  await place.clock.advance('10m');
  assert.deepEqual(await place.started(), ['01-01T12:10:00', '01-01T12:20:00']);
});

test('scheduling.md: a single time that passed only by a clock that was ahead is still to come', async (t) => {
  const place = await noon(t);
  await place.schedules.add('once', { workflow: 'etl', at: '2026-01-01T13:00:00Z', window: '10m' });
  await whileAhead(place);
  assert.deepEqual(await place.historyOf('once'), ['01-01T13:00:00 outside_window']);
  await place.loop();
  await place.clock.advance('1h');
  assert.deepEqual(await place.historyOf('once'), ['01-01T13:00:00 started']);
});

test('scheduling.md: an interval that was added while the clock was ahead begins at once, in its own rhythm', async (t) => {
  const place = await noon(t);
  place.clock.setNow(at('14:05'));
  await place.schedules.add('tick', { workflow: 'etl', every: '10m', overlap: 'allow' });
  place.clock.setNow(at('12:06'));
  await place.loop();
  await place.clock.advance('20m');
  assert.deepEqual(await place.started(), ['01-01T12:15:00', '01-01T12:25:00']);
});

test('scheduling.md: resume and update set right a schedule that is ahead of the clock', async (t) => {
  for (const act of ['resume', 'update', 'update of the input'] as const) {
    const place = await noon(t);
    await place.schedules.add('tick', everyTenMinutes);
    await whileAhead(place);
    assert.equal(iso((await place.schedules.get('tick')).next!), '01-01T12:10:00', 'shown before it is moved back');
    if (act === 'resume') {
      await place.schedules.pause('tick');
      await place.schedules.resume('tick');
    } else if (act === 'update') await place.schedules.update('tick', { cron: '*/5 * * * *' });
    else await place.schedules.update('tick', { input: { a: 1 } });
    place.clock.setNow(at('12:06'));
    await place.loop();
    await place.clock.advance('5m');
    assert.deepEqual((await place.started()).slice(0, 1), ['01-01T12:10:00'], act);
    assert.deepEqual(place.logged, [], act);
  }
});

test('scheduling.md: clocks that differ by seconds move no schedule back', async (t) => {
  const place = await noon(t);
  await place.loop();
  await place.schedules.add('tick', everyTenMinutes);
  await place.clock.advance('10m');
  place.clock.setNow(place.clock.now() - 8000);
  await place.clock.advance('10m 10s');
  assert.deepEqual(await place.started(), ['01-01T12:10:00', '01-01T12:20:00']);
  assert.deepEqual(place.logged, []);
});
