import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { CloacinaError, ScheduleInvalidError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import { workflow } from '../core/definition/workflow.ts';
import { insertSlot } from '../store/schedules/slots.ts';
import { SchedulePlace, iso, withTask } from '../testing/schedule-place.ts';
import type { ScheduleRequest } from './schedules.ts';

const start = Date.UTC(2026, 0, 1);
const minuteMs = 60_000;
const dayMs = 86_400_000;

function coded(code: ErrorCode, message = /./): (error: unknown) => boolean {
  return (error) => error instanceof CloacinaError && error.code === code && message.test(error.message);
}

test('interfaces.md: add returns id and next; omitted fields have the defaults of scheduling.md', async (t) => {
  const { schedules } = await SchedulePlace.open(t);
  const added = await schedules.add('nightly', { workflow: 'etl', cron: '0 2 * * *', timezone: 'Europe/Berlin' });
  assert.deepEqual(added, {
    id: added.id,
    name: 'nightly',
    workflow: 'embedded/etl',
    next: start + 3_600_000,
    created: true,
  });
  const { createdAt, updatedAt, ...detail } = await schedules.get('nightly');
  assert.deepEqual([createdAt, updatedAt], [start, start]);
  const expected = {
    id: added.id,
    name: 'nightly',
    owner: 'operator',
    workflow: 'embedded/etl',
    cron: '0 2 * * *',
    every: null,
    at: null,
    timezone: 'Europe/Berlin',
    startAt: null,
    endAt: null,
    jitter: 0,
    overlap: 'skip',
    catchup: 'latest',
    max: 100,
    window: dayMs,
    paused: false,
    enabled: true,
    next: start + 3_600_000,
    last: null,
  };
  assert.deepEqual(detail, { ...expected, input: {} });
  assert.deepEqual(await schedules.list(), [expected]);
});

test('scheduling.md: adding the same in every field changes nothing; any difference is SCHEDULE_EXISTS', async (t) => {
  const place = await SchedulePlace.open(t);
  const { schedules } = place;
  const request: ScheduleRequest = { workflow: 'etl', every: '10m', input: { a: 1, b: [2] } };
  const first = await schedules.add('tick', request);
  await place.clock.advance('15m');
  const again = await schedules.add('tick', { ...request, every: 600_000, input: { b: [2], a: 1 } });
  assert.deepEqual(again, { ...first, next: start + 20 * minuteMs, created: false });
  const others: ScheduleRequest[] = [
    { ...request, input: { a: 2, b: [2] } },
    { ...request, every: '11m' },
    { ...request, overlap: 'allow' },
    { ...request, paused: true },
  ];
  for (const other of others) {
    await assert.rejects(schedules.add('tick', other), coded('SCHEDULE_EXISTS', /change it with update/));
  }
  await schedules.pause('tick'); // a pause is no setting: an application that adds its schedule still starts
  assert.equal((await schedules.add('tick', request)).created, false);
  await assert.rejects(schedules.add('tick', { ...request, paused: false }), coded('SCHEDULE_EXISTS'));
});

test('scheduling.md, Adding and changing: a schedule that can never work is refused with the field at fault, and nothing is written', async (t) => {
  const { schedules } = await SchedulePlace.open(t);
  const cases: readonly (readonly [object, field: string, RegExp])[] = [
    [{ cron: '0 0 30 2 *' }, 'cron', /no 30 February/],
    [{ cron: '@daily', timezone: 'Europe/Berlim' }, 'timezone', /did you mean 'Europe\/Berlin'/],
    [{ cron: '@daily', overlap: 'queue' }, 'overlap', /'queue' is not one of/],
    [{ at: '2025-01-01' }, 'at', /in the past/],
    [{ cron: '@daily', endAt: '2025-12-31' }, 'endAt', /in the past/],
    [
      { cron: '@daily', timeZone: 'Europe/Berlin' },
      'timeZone',
      /unknown option of a schedule; the options are cron, every/,
    ],
    [{ cron: '@daily', workflow: '' }, 'workflow', /needs the name of a workflow/],
  ];
  for (const [options, field, message] of cases) {
    await assert.rejects(schedules.add('x', { workflow: 'etl', ...options }), (error) => {
      assert.ok(error instanceof ScheduleInvalidError, String(error));
      assert.equal(error.field, field);
      assert.match(error.message, message);
      return true;
    });
  }
  for (const name of ['', 'a/b', 'a\nb', 'x'.repeat(201)]) {
    await assert.rejects(schedules.add(name, { workflow: 'etl', cron: '@daily' }), coded('SCHEDULE_INVALID', /^name/));
  }
  assert.deepEqual(await schedules.list(), []);
});

test('interfaces.md: the workflow and its input are checked at add', async (t) => {
  const place = await SchedulePlace.open(t);
  place.workflows.set('typed', withTask(workflow('typed', { input: z.object({ url: z.string() }) })));
  const add = (name: string, input?: unknown): Promise<unknown> =>
    place.schedules.add('x', { workflow: name, cron: '@daily', input });
  await assert.rejects(add('elt'), coded('WORKFLOW_NOT_FOUND', /did you mean 'etl'/));
  await assert.rejects(add('typed', { url: 1 }), coded('INPUT_INVALID', /input.url/));
  await assert.rejects(add('typed'), coded('INPUT_INVALID'));
  await assert.rejects(add('etl', { at: new Date() }), coded('NOT_SERIALIZABLE', /input.at/));
  await assert.rejects(add('etl', 'x'.repeat(20_000)), coded('PAYLOAD_TOO_LARGE'));
  await add('typed', { url: 'u' });
  await assert.rejects(place.schedules.update('x', { input: {} }), coded('INPUT_INVALID'));
  assert.deepEqual((await place.schedules.get('x')).input, { url: 'u' });
});

test('scheduling.md: unpausing never fires at once and never loses a future slot; the pause is one row', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '10s', overlap: 'allow' });
  await place.clock.advance('15s');
  assert.equal((await place.schedules.pause('tick')).next, null);
  await place.clock.advance('5s');
  await place.schedules.pause('tick');
  await place.clock.leap('365d');
  const year = '01-01T00:00:20..2027-01-01T00:00:20 x3153601 paused';
  assert.deepEqual(await place.historyOf('tick'), ['01-01T00:00:10 started', year]); // it is visible before it is resumed
  assert.equal((await place.schedules.stats({ since: '1h' })).paused, 361);
  const resumed = await place.schedules.resume('tick');
  assert.deepEqual([resumed.paused, resumed.next], [false, place.clock.now() + 10_000]);
  assert.equal((await place.executions()).length, 1);
  await place.clock.advance('10s');
  assert.deepEqual(await place.historyOf('tick'), ['01-01T00:00:10 started', year, '2027-01-01T00:00:30 started']);
  assert.equal((await place.schedules.stats({ since: '1h' })).paused, 360);
  assert.equal((await place.schedules.resume('tick')).paused, false);
});

test('scheduling.md: slots that were missed before a pause began are distinguished from those of the pause', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  await place.clock.leap('5m 30s');
  await place.schedules.pause('tick');
  await place.clock.leap('5m');
  await place.schedules.resume('tick');
  assert.deepEqual(await place.historyOf('tick'), [
    '01-01T00:01:00..01-01T00:05:00 x5 missed',
    '01-01T00:06:00..01-01T00:10:00 x5 paused',
  ]);
});

test('interfaces.md: update changes the named fields from now on; null restores a default', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  const { schedules } = place;
  await schedules.add('tick', { workflow: 'etl', cron: '@hourly', timezone: 'Europe/Berlin', input: { a: 1 } });
  await place.clock.advance('90m');
  await place.end('completed');
  const changed = await schedules.update('tick', { every: '20m', overlap: 'allow' });
  assert.deepEqual(
    [changed.cron, changed.every, changed.timezone, changed.overlap, changed.input, changed.next],
    [null, 20 * minuteMs, 'Europe/Berlin', 'allow', { a: 1 }, start + 110 * minuteMs],
  );
  await schedules.update('tick', { timezone: null, input: { a: 2 } });
  await place.clock.advance('45m');
  const { timezone, input } = await schedules.get('tick');
  assert.deepEqual([timezone, input], ['UTC', { a: 2 }]);
  assert.deepEqual(await place.started(), ['01-01T01:00:00', '01-01T01:50:00', '01-01T02:10:00']);
  assert.deepEqual(
    (await place.executions()).map((execution) => execution.input),
    ['{"a":1}', '{"a":2}', '{"a":2}'],
  );
  assert.equal((await schedules.update('tick', { input: null })).input, null);
  assert.equal((await schedules.add('null', { workflow: 'etl', every: '1h', input: null })).created, true);
  assert.equal((await schedules.get('null')).input, null);
  await assert.rejects(schedules.update('tick', { at: '2025-01-01' }), coded('SCHEDULE_INVALID', /past/));
  await assert.rejects(schedules.update('nope', {}), coded('SCHEDULE_NOT_FOUND'));
  await assert.rejects(schedules.update('tick', { workflow: 'elt' }), coded('WORKFLOW_NOT_FOUND'));
});

test('scheduling.md: a change never fires an earlier slot by the new rule, and records due slots of the old rule', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('nightly', { workflow: 'etl', cron: '0 0 * * *' });
  await place.clock.leap('39h'); // 2 January, 15:00; the slot of midnight has not fired
  await place.schedules.update('nightly', { cron: '0 14 * * *' });
  assert.deepEqual(await place.historyOf('nightly'), ['01-02T00:00:00 started']);
  await place.loop();
  await place.clock.advance('1h');
  assert.equal((await place.executions()).length, 1);
  assert.equal((await place.schedules.get('nightly')).next, Date.UTC(2026, 0, 3, 14));
});

test('a change that keeps the slots loses and repeats none of them', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.schedules.add('tick', { workflow: 'etl', every: '1m', overlap: 'allow' });
  await place.clock.leap('61s');
  await place.schedules.update('tick', { input: { now: true }, jitter: '100ms' });
  await place.loop();
  await place.clock.advance('59s 100ms');
  assert.deepEqual(await place.started(), ['01-01T00:01:00', '01-01T00:02:00']);
});

test('interfaces.md: remove deletes a schedule with its history; its executions are kept', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  const { id } = await place.schedules.add('tick', { workflow: 'etl', every: '1m', overlap: 'allow' });
  await place.clock.advance('2m');
  const many = Array.from({ length: 6000 }, (_, i) => i + 1);
  await place.store.write(function* () {
    const row = { outcome: 'missed', reason: 'missed', isCatchUp: false, executionId: null, error: null } as const;
    for (const slot of many) yield* insertSlot(id, { ...row, slot, through: slot, count: 1, at: slot });
  });
  const removed = await place.schedules.remove('tick');
  assert.deepEqual([removed.id, removed.next], [id, null]);
  await assert.rejects(place.schedules.get('tick'), coded('SCHEDULE_NOT_FOUND', /'tick'/));
  await place.clock.advance('2m');
  assert.equal((await place.executions()).length, 2);
  const again = await place.schedules.add('tick', { workflow: 'etl', every: '1m' });
  assert.notEqual(again.id, id);
  assert.deepEqual(await place.schedules.history('tick'), []);
});

test('interfaces.md: preview returns the next slots of a schedule or of a rule, and the rule in words', async (t) => {
  const { schedules } = await SchedulePlace.open(t);
  const rule = { cron: '30 2 * * *', timezone: 'Europe/Berlin' };
  const { slots, sentence } = await schedules.preview(rule, 3, new Date('2026-03-28T00:00:00Z'));
  assert.deepEqual(slots.map(iso), ['03-28T01:30:00', '03-29T01:00:00', '03-30T00:30:00']);
  assert.equal(sentence, 'at 02:30 every day, Europe/Berlin');
  await schedules.add('tick', { workflow: 'etl', every: '10m' });
  assert.equal((await schedules.preview('tick')).slots.length, 10);
  assert.deepEqual((await schedules.preview('tick', 2)).slots, [start + 10 * minuteMs, start + 20 * minuteMs]);
  assert.deepEqual((await schedules.preview({ at: '2026-02-01' }, 5)).slots, [Date.UTC(2026, 1, 1)]);
  await assert.rejects(schedules.preview('tick', 0), coded('OPTION_INVALID', /'n'/));
  await assert.rejects(schedules.preview('tick', 1, new Date(NaN)), coded('OPTION_INVALID', /'from'/));
  await assert.rejects(schedules.preview('nope'), coded('SCHEDULE_NOT_FOUND'));
});

test('scheduling.md: statistics count executions and slots; the success rate is of completed and failed', async (t) => {
  const place = await SchedulePlace.open(t);
  const { schedules } = place;
  assert.deepEqual(await schedules.stats(), {
    since: start - 3_600_000,
    total: 0,
    completed: 0,
    failed: 0,
    cancelled: 0,
    open: 0,
    skipped: 0,
    missed: 0,
    paused: 0,
    successRate: null,
    lag: null,
  });
  await schedules.add('tick', { workflow: 'etl', every: '1m' });
  await schedules.add('other', { workflow: 'etl', at: '2026-01-01T00:30:00Z' });
  await place.clock.leap('5m 30s');
  await place.loop(); // 4 missed, 1 late
  await place.end('completed');
  await place.clock.advance('1m'); // 6: started
  await place.end('failed');
  await place.clock.advance('3m'); // 7: started; 8 and 9 skipped
  await place.end('completed');
  await place.clock.advance('1m'); // 10: started
  await place.end('cancelled');
  await place.clock.advance('1m'); // 11: open
  place.workflows.delete('etl');
  await place.end('completed');
  await place.clock.advance('1m'); // 12: the start fails
  const { lag, ...stats } = await schedules.stats({ since: new Date(start), schedule: 'tick' });
  assert.deepEqual(stats, {
    since: start,
    total: 6,
    completed: 3,
    failed: 2,
    cancelled: 1,
    open: 0,
    skipped: 2,
    missed: 4,
    paused: 0,
    successRate: 3 / 5,
  });
  assert.deepEqual(lag, { meanMs: 0, maxMs: 0 });
  assert.equal((await schedules.stats({ since: '2h', schedule: 'other' })).total, 0);
  assert.equal((await schedules.stats({ since: '2h' })).total, 6);
  assert.equal((await schedules.stats({ since: '9m 30s' })).missed, 2); // half of a row: slots 3 and 4 of 1 to 4
  await assert.rejects(schedules.stats({ since: 'soon' }), coded('OPTION_INVALID'));
  await assert.rejects(schedules.stats({ schedule: 'nope' }), coded('SCHEDULE_NOT_FOUND'));
});

test('interfaces.md: history returns the latest slots first, with the results of their executions, page by page', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await place.schedules.add('tick', { workflow: 'etl', every: '1m', overlap: 'allow' });
  await place.clock.advance('5m');
  const [first] = await place.executions();
  await place.end('failed', first!.id);
  const page = await place.schedules.history('tick', { limit: 3 });
  assert.deepEqual(
    page.map(({ slot }) => slot),
    [5, 4, 3].map((n) => start + n * minuteMs),
  );
  const rest = await place.schedules.history('tick', { before: page.at(-1)!.slot });
  assert.equal(rest.length, 2);
  assert.deepEqual(rest[1], {
    slot: start + minuteMs,
    through: start + minuteMs,
    count: 1,
    outcome: 'started',
    reason: null,
    isCatchUp: false,
    executionId: first!.id,
    startedAt: null,
    status: 'failed',
    error: null,
  });
  await assert.rejects(place.schedules.history('tick', { limit: 0 }), coded('OPTION_INVALID', /'limit'/));
});
