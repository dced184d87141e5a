import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { workflow } from '../core/definition/workflow.ts';
import { run } from '../store/script.ts';
import { iso, SchedulePlace, withTask } from '../testing/schedule-place.ts';
import { slotExecutionId } from './slot-id.ts';

const start = Date.UTC(2026, 0, 1);

test('scheduling.md: every slot starts one execution, which knows its schedule and slot', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  const { id, next } = await place.schedules.add('tick', { workflow: 'etl', cron: '*/30 * * * * *', overlap: 'allow' });
  assert.equal(next, start + 30_000);
  await place.clock.advance('2m');
  assert.deepEqual(
    await place.started(),
    [30, 60, 90, 120].map((s) => iso(start + s * 1000)),
  );
  const [first] = await place.executions();
  assert.deepEqual(first!.schedule, { id, name: 'tick', slot: start + 30_000, isCatchUp: false });
  assert.equal(first!.id, slotExecutionId(id, start + 30_000));
  assert.equal(first!.createdAt, start + 30_000);
  assert.match(first!.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(Number.parseInt(first!.id.replace('-', '').slice(0, 12), 16), start + 30_000);
});

test('scheduling.md: there is exactly one execution per slot, whatever the number of runners', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.loop();
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1s', overlap: 'allow' });
  await place.clock.advance('1m');
  const slots = await place.started();
  assert.equal(slots.length, 60);
  assert.equal(new Set(slots).size, 60);
  assert.equal((await place.historyOf('tick')).length, 60);
});

test('scheduling.md: a crash before or after a firing loses nothing and repeats nothing', async (t) => {
  const place = await SchedulePlace.open(t);
  const dropped = await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '10s', overlap: 'allow' });
  await place.clock.advance('25s');
  await dropped.close(); // as if killed: its memory is lost
  await place.clock.advance('4s');
  const other = await place.loop();
  await place.clock.advance('11s');
  await other.close();
  await place.loop();
  await place.clock.advance('10s');
  assert.deepEqual(
    await place.started(),
    [10, 20, 30, 40, 50].map((s) => iso(start + s * 1000)),
  );
});

test('scheduling.md: a firing whose commit failed leaves no slot, no execution and no cursor, and is retried', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '10s', overlap: 'allow' });
  await place.store.write(() =>
    run(`create trigger broken before insert on events begin select raise(abort, 'no room'); end`),
  );
  await place.clock.advance('12s');
  assert.deepEqual(await place.historyOf('tick'), []);
  assert.ok(place.logged.some(({ message }) => message.includes('postponed')));
  await place.store.write(() => run('drop trigger broken'));
  await place.clock.advance('7s');
  assert.deepEqual(await place.historyOf('tick'), ['01-01T00:00:10 started']);
  assert.equal((await place.executions()).length, 1);
});

test('scheduling.md: catchup latest starts one execution for all missed slots; slots older than the window are recorded apart', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('hourly', { workflow: 'etl', cron: '@hourly', window: '3h' });
  await place.clock.leap('10h 30m');
  await place.loop();
  assert.deepEqual(await place.started(), ['01-01T10:00:00 late']);
  assert.deepEqual(await place.historyOf('hourly'), [
    '01-01T01:00:00..01-01T07:00:00 x7 outside_window',
    '01-01T08:00:00..01-01T09:00:00 x2 missed',
    '01-01T10:00:00 started',
  ]);
});

test('scheduling.md: catchup skip starts nothing late; all starts the oldest up to max', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('skip', { workflow: 'etl', cron: '@hourly', catchup: 'skip' });
  await place.schedules.add('all', { workflow: 'etl', cron: '@hourly', catchup: 'all', max: 2, overlap: 'allow' });
  await place.clock.leap('4h 30m');
  await place.loop();
  assert.deepEqual(await place.historyOf('skip'), ['01-01T01:00:00..01-01T04:00:00 x4 missed']);
  assert.deepEqual(await place.historyOf('all'), [
    '01-01T01:00:00 started',
    '01-01T02:00:00 started',
    '01-01T03:00:00..01-01T04:00:00 x2 missed',
  ]);
  assert.deepEqual(await place.started(), ['01-01T01:00:00 late', '01-01T02:00:00 late']);
});

test("scheduling.md: a year's outage of a schedule that fires every second is a few rows and costs almost nothing", async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('second', { workflow: 'etl', cron: '* * * * * *', timezone: 'Europe/Berlin' });
  await place.clock.leap('365d');
  const before = performance.now();
  await place.loop();
  assert.ok(performance.now() - before < 2000);
  const rows = await place.schedules.history('second');
  assert.deepEqual(
    rows.map(({ count, reason }) => [count, reason]),
    [
      [2, 'skipped_overlap'], // slots of the last second are on time and meet the late one
      [1, null],
      [86_398, 'missed'],
      [364 * 86_400 - 1, 'outside_window'],
    ],
  );
});

test('scheduling.md: overlap skip records slots that meet a pending execution, neighbours as one row', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  await place.clock.advance('5m');
  await place.end('completed');
  await place.clock.advance('3m');
  assert.deepEqual(await place.historyOf('tick'), [
    '01-01T00:01:00 started',
    '01-01T00:02:00..01-01T00:05:00 x4 skipped_overlap',
    '01-01T00:06:00 started',
    '01-01T00:07:00..01-01T00:08:00 x2 skipped_overlap',
  ]);
});

test('scheduling.md: overlap counts only executions of this schedule', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('a', { workflow: 'etl', every: '1m' });
  await place.schedules.add('b', { workflow: 'etl', every: '1m' });
  await place.clock.advance('1m');
  assert.equal((await place.executions()).length, 2);
});

test('scheduling.md: overlap buffer_one keeps one slot until the running execution has ended', async (t) => {
  const place = await SchedulePlace.open(t);
  const loop = await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m', overlap: 'buffer_one' });
  await place.clock.advance('3m 10s');
  assert.deepEqual(await place.historyOf('tick'), [
    '01-01T00:01:00 started',
    '01-01T00:02:00 buffered',
    '01-01T00:03:00 skipped_overlap',
  ]);
  await place.end('completed');
  loop.executionEnded();
  await place.clock.settle();
  assert.deepEqual(await place.started(), ['01-01T00:01:00', '01-01T00:02:00']);
  assert.equal((await place.schedules.get('tick')).last, start + 120_000);
  await place.end('completed');
  await place.clock.advance('1s'); // it polls without a notification
  await place.clock.advance('49s');
  assert.deepEqual((await place.historyOf('tick')).slice(1), [
    '01-01T00:02:00 started',
    '01-01T00:03:00 skipped_overlap',
    '01-01T00:04:00 started',
  ]);
});

test('scheduling.md: a buffered slot survives its runner, and a pause takes it', async (t) => {
  const place = await SchedulePlace.open(t);
  const dropped = await place.loop();
  const options = { workflow: 'etl', every: '1m', overlap: 'buffer_one' } as const;
  await place.schedules.add('kept', options);
  await place.schedules.add('paused', options);
  await place.clock.advance('2m');
  await dropped.close();
  await place.schedules.pause('paused');
  await place.end('completed');
  await place.loop();
  await place.clock.advance('1s');
  assert.deepEqual(await place.historyOf('kept'), ['01-01T00:01:00 started', '01-01T00:02:00 started']);
  assert.deepEqual(await place.historyOf('paused'), ['01-01T00:01:00 started', '01-01T00:02:00 paused']);
});

test('scheduling.md: overlap cancel_other cancels running executions and starts the slot', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m', overlap: 'cancel_other' });
  await place.clock.advance('2m');
  assert.deepEqual(
    (await place.executions()).map(({ status }) => status),
    ['cancelled', 'pending'],
  );
  const [, second] = await place.executions();
  await place.store.write(() =>
    run(`update executions set owner = 'r', status = 'running', epoch = 1 where id = $1`, second!.id),
  );
  await place.clock.advance('1m');
  assert.equal((await place.store.execution(second!.id))!.inboxSeq, 1); // its owner is asked to cancel it
  assert.equal((await place.executions()).length, 3);
});

/** Advances one hour in half hours, without waiting in between. */
async function hourOf({ clock }: SchedulePlace): Promise<void> {
  for (let half = 0; half < 2; half++) {
    await clock.leap('29m 59s');
    await clock.advance('1s');
  }
}

test('scheduling.md: DST: a slot in the spring gap fires once after it, one in the repeated hour once', async (t) => {
  const place = await SchedulePlace.open(t, new Date('2026-03-28T00:00:00Z'));
  await place.loop();
  const options = { workflow: 'etl', cron: '30 2 * * *', timezone: 'Europe/Berlin', overlap: 'allow' } as const;
  await place.schedules.add('nightly', options);
  for (let hour = 0; hour < 72; hour++) await hourOf(place);
  assert.deepEqual(await place.started(), ['03-28T01:30:00', '03-29T01:00:00', '03-30T00:30:00']);
  await place.schedules.pause('nightly');
  await place.clock.leap(Date.parse('2026-10-24T12:00:00Z') - place.clock.now());
  await place.schedules.resume('nightly');
  for (let hour = 0; hour < 48; hour++) await hourOf(place);
  assert.deepEqual((await place.started()).slice(3), ['10-25T00:30:00', '10-26T01:30:00']);
});

test('scheduling.md: the next slot is computed from the slot: a late firing does not move the ones after it', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '10s', overlap: 'allow' });
  await place.clock.advance('9990ms');
  await place.clock.leap('3s');
  await place.clock.advance('10s');
  assert.deepEqual(await place.started(), ['01-01T00:00:10', '01-01T00:00:20']);
});

test('scheduling.md: jitter delays by the same for every runner, and no slot is lost', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m', jitter: '30s', overlap: 'allow' });
  await place.clock.advance('10m 31s');
  const lags = (await place.executions()).map(({ createdAt, schedule }) => createdAt - schedule!.slot);
  assert.equal(lags.length, 10);
  assert.ok(lags.every((lag) => lag >= 0 && lag <= 30_000));
  assert.ok(new Set(lags).size > 5);
});

test('scheduling.md: at fires once, and then the schedule has no next slot', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('once', { workflow: 'etl', at: '2026-01-01T05:00:00Z' });
  await place.clock.advance('1d');
  assert.deepEqual(await place.started(), ['01-01T05:00:00']);
  const { next, last } = await place.schedules.get('once');
  assert.deepEqual([next, last], [null, start + 5 * 3_600_000]);
});

test('scheduling.md: a start that fails is recorded with its error, neighbours as one row, and reported once', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  const etl = place.workflows.get('etl')!;
  place.workflows.delete('etl');
  await place.clock.advance('3m');
  place.workflows.set('etl', withTask(workflow('etl', { input: z.object({ url: z.string() }) })));
  await place.clock.advance('1m');
  place.workflows.set('etl', etl);
  await place.clock.advance('1m');
  assert.deepEqual(await place.historyOf('tick'), [
    '01-01T00:01:00..01-01T00:03:00 x3 failed',
    '01-01T00:04:00 failed',
    '01-01T00:05:00 started',
  ]);
  const rows = await place.schedules.history('tick');
  assert.deepEqual(
    rows.map(({ error }) => error?.code),
    [undefined, 'INPUT_INVALID', 'WORKFLOW_NOT_FOUND'],
  );
  assert.equal(place.logged.filter(({ level }) => level === 'warn').length, 2);
});

test('scheduling.md: the input is parsed for every slot, defaults filled', async (t) => {
  const place = await SchedulePlace.open(t);
  place.workflows.set('etl', withTask(workflow('etl', { input: z.object({ rows: z.number().default(3) }) })));
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  await place.clock.advance('1m');
  const [execution] = await place.executions();
  assert.deepEqual([execution!.input, execution!.inputParsed], ['{"rows":3}', true]);
});

test('engine.md: tenants are isolated: a loop fires only its own', async (t) => {
  const place = await SchedulePlace.open(t);
  const other = place.schedulesOf('acme');
  await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  await other.add('tick', { workflow: 'etl', every: '1m' });
  await place.loop(['acme']);
  await place.clock.advance('1m');
  assert.equal((await place.executions('acme')).length, 1);
  assert.equal((await place.executions('default')).length, 0);
  assert.deepEqual(
    (await other.list()).map(({ name }) => name),
    ['tick'],
  );
  assert.equal((await other.stats()).total, 1);
  assert.equal((await place.schedules.stats()).total, 0);
  const before = performance.now();
  await place.clock.advance('1h'); // due schedules of other tenants do not keep it awake
  assert.ok(performance.now() - before < 2000);
  assert.deepEqual(place.logged, []);
});

/** Runs a function once, after a loop has read the due schedules and before it fires them. */
function meanwhile(place: SchedulePlace, act: () => Promise<unknown>): void {
  place.onResolve = async () => {
    place.onResolve = () => Promise.resolve();
    await act();
  };
}

test('scheduling.md: changes between reading and firing count: nothing is started by old settings', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  for (const name of ['paused', 'removed', 'changed']) {
    await place.schedules.add(name, { workflow: 'etl', at: new Date(place.clock.now() + 1000), input: { a: 1 } });
    meanwhile(place, async () => {
      if (name === 'paused') await place.schedules.pause(name);
      if (name === 'removed') await place.schedules.remove(name);
      if (name === 'changed') await place.schedules.update(name, { input: { a: 2 } });
    });
    await place.clock.advance('2s');
  }
  assert.deepEqual(
    (await place.executions()).map(({ schedule, input }) => [schedule!.name, input]),
    [['changed', '{"a":2}']],
  );
  assert.deepEqual(await place.historyOf('paused'), ['01-01T00:00:01 paused']);
});

test('a loop wakes runners when it started an execution, and only then', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  await place.clock.advance('59s');
  assert.equal(place.notifications, 0);
  await place.clock.advance('1s');
  assert.equal(place.notifications, 1);
  await place.clock.advance('1m'); // skipped
  assert.equal(place.notifications, 1);
});

test('scheduling.md: 1,000 schedules due in the same second are all started within that second', async (t) => {
  const place = await SchedulePlace.open(t);
  for (let i = 0; i < 1000; i++) await place.schedules.add(`s${i}`, { workflow: 'etl', cron: '0 * * * *' });
  await place.loop();
  const before = performance.now();
  await place.clock.advance('1h');
  const tookMs = performance.now() - before;
  assert.equal((await place.executions()).length, 1000);
  assert.ok(tookMs < 1000, `${Math.round(tookMs)} ms`);
});

test('a schedule that cannot be evaluated here is postponed, and the others fire', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('odd', { workflow: 'etl', every: '1m' });
  await place.schedules.add('fine', { workflow: 'etl', every: '1m' });
  await place.store.write(() =>
    run(`update schedules set rule = json_set(rule, '$.every', null, '$.cron', '* * * * *', '$.timezone', 'Mars/Base')
         where name = 'odd'`),
  );
  await place.clock.advance('1m');
  assert.deepEqual(
    (await place.executions()).map(({ schedule }) => schedule!.name),
    ['fine'],
  );
  assert.deepEqual(
    place.logged.map(({ level, message }) => [level, message]),
    [['error', 'a schedule cannot be fired here']],
  );
});

test('a closed loop leaves no timer', async (t) => {
  const place = await SchedulePlace.open(t);
  const loop = await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  await place.clock.settle();
  assert.equal(place.clock.timers, 1);
  await loop.close();
  loop.notify();
  await place.clock.settle();
  assert.equal(place.clock.timers, 0);
});

test('scheduling.md: a schedule whose schema does not answer holds up no other one', async (t) => {
  const place = await SchedulePlace.open(t);
  let answers = true;
  const slow = workflow('slow', {
    input: z.object({}).refine(() => (answers ? true : new Promise<boolean>(() => undefined))),
  });
  place.workflows.set('slow', withTask(slow));
  await place.schedules.add('slow', { workflow: 'slow', every: '1s', input: {} });
  await place.schedules.add('tick', { workflow: 'etl', every: '1s', overlap: 'allow' });
  answers = false;
  await place.loop();
  await place.clock.advance('30s');
  const told = await place.historyOf('tick');
  assert.deepEqual(
    told.filter((line) => !line.endsWith('started')),
    [],
  );
  assert.equal(told.length >= 29, true, `${told.length} slots`);
  assert.equal(
    (await place.historyOf('slow')).some((line) => line.endsWith('failed')),
    true,
  );
});

/** Runs a loop until nothing is due; the transactions in one turn of the event loop, at most. */
async function mostInOneTurn(place: SchedulePlace): Promise<number> {
  let [most, seen, isOpen] = [0, 0, true];
  const sample = (): void => {
    most = Math.max(most, place.notifications - seen);
    seen = place.notifications;
    if (isOpen) setImmediate(sample);
  };
  sample();
  await place.loop();
  await place.clock.settle();
  isOpen = false;
  return most;
}

test('scheduling.md: with many schedules due the event loop has a turn after each transaction', async (t) => {
  const place = await SchedulePlace.open(t);
  for (let i = 0; i < 250; i++) await place.schedules.add(`s${i}`, { workflow: 'etl', every: '1m' });
  await place.clock.leap('10m');
  assert.equal(await mostInOneTurn(place), 1);
  assert.equal((await place.executions()).length, 250);
});

test('scheduling.md: one transaction starts a bounded number of missed slots', async (t) => {
  const place = await SchedulePlace.open(t);
  for (let i = 0; i < 30; i++)
    await place.schedules.add(`s${i}`, { workflow: 'etl', every: '1m', catchup: 'all', max: 50, overlap: 'allow' });
  await place.clock.leap('50m');
  assert.equal(await mostInOneTurn(place), 1);
  assert.equal((await place.executions()).length, 1500);
  assert.equal(place.notifications, 8, 'transactions');
});
