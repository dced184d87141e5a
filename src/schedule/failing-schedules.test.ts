import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../store/script.ts';
import { SchedulePlace } from '../testing/schedule-place.ts';

/** From now on each transaction fails that records a slot of these schedules. */
async function poison(place: SchedulePlace, ...names: readonly string[]): Promise<void> {
  const list = names.map((name) => `'${name}'`).join(', ');
  await place.store.write(() =>
    run(`create trigger poison before insert on schedule_slots
         when new.schedule_id in (select id from schedules where name in (${list}))
         begin select raise(abort, 'poisoned'); end`),
  );
}

/** The schedules of the executions that exist, in order, each once. */
async function fired(place: SchedulePlace): Promise<readonly string[]> {
  return [...new Set((await place.executions()).map(({ schedule }) => schedule!.name))].toSorted();
}

test('scheduling.md: a schedule whose firing fails for its own sake stops no other one, and is postponed with a warning', async (t) => {
  const place = await SchedulePlace.open(t);
  const names = Array.from({ length: 120 }, (_, i) => `s${String(i).padStart(3, '0')}`);
  for (const name of names) await place.schedules.add(name, { workflow: 'etl', every: '10m', overlap: 'allow' });
  await poison(place, 's000', 's050');
  await place.loop();
  await place.clock.advance('10m');
  assert.deepEqual(
    await fired(place),
    names.filter((name) => name !== 's000' && name !== 's050'),
  );
  const warned = (): string[] =>
    place.logged
      .filter(({ message }) => message.includes('postponed'))
      .map(({ data }) => String(Reflect.get(data, 'schedule')));
  assert.deepEqual(warned().toSorted(), ['s000', 's050']);
  await place.clock.advance('9m');
  assert.ok(warned().length < 160, `${warned().length} warnings: each wait is longer than the one before`);
  await place.store.write(() => run('drop trigger poison'));
  await place.clock.advance('1m');
  assert.deepEqual(await fired(place), names);
  assert.equal((await place.executions()).length, 240, 'no slot is lost');
});

test('scheduling.md: several schedules in a row that fail stop no other one', async (t) => {
  const place = await SchedulePlace.open(t);
  const names = Array.from({ length: 8 }, (_, i) => `s${i}`);
  for (const name of names) await place.schedules.add(name, { workflow: 'etl', every: '10m', overlap: 'allow' });
  await poison(place, ...names.slice(0, 6));
  await place.loop();
  await place.clock.advance('10m 10s');
  assert.deepEqual(await fired(place), ['s6', 's7']);
});

test('scheduling.md: a buffered slot that cannot be started stops no other schedule', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('kept', { workflow: 'etl', every: '1m', overlap: 'buffer_one' });
  await place.clock.advance('2m');
  await place.store.write(() =>
    run(`create trigger poison before update on schedule_slots begin select raise(abort, 'poisoned'); end`),
  );
  await place.end('completed');
  await place.schedules.add('tick', { workflow: 'etl', every: '10s', overlap: 'allow' });
  await place.clock.advance('40s');
  const ticks = (await place.executions()).filter(({ schedule }) => schedule!.name === 'tick');
  assert.equal(ticks.length, 4);
  await place.store.write(() => run('drop trigger poison'));
  await place.clock.advance('59s');
  assert.deepEqual((await place.historyOf('kept')).slice(0, 2), ['01-01T00:01:00 started', '01-01T00:02:00 started']);
});
