import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { CloacinaError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import type { ScheduleOptions } from '../core/definition/definition.ts';
import { checkSchedules } from '../core/schedule/check-schedules.ts';
import type { WorkflowSpec } from '../core/definition/spec.ts';
import { workflow } from '../core/definition/workflow.ts';
import { SchedulePlace, withTask } from '../testing/schedule-place.ts';
import { upsertOwned, upsertPackageSchedules } from './declared.ts';
import { embeddedOwner } from './owner.ts';

const start = Date.UTC(2026, 0, 1);

function coded(code: ErrorCode, message = /./): (error: unknown) => boolean {
  return (error) => error instanceof CloacinaError && error.code === code && message.test(error.message);
}

function specOf(schedules: Readonly<Record<string, ScheduleOptions<unknown>>>, name = 'etl'): WorkflowSpec {
  const definition = withTask(workflow(name));
  for (const [schedule, options] of Object.entries(schedules)) definition.schedule(schedule, options);
  return definition.spec;
}

/** Acts as the registry does: checked at publish, written in the transaction that activates. */
async function activate({ store }: SchedulePlace, specs: readonly WorkflowSpec[], name = 'acme'): Promise<void> {
  checkSchedules(specs);
  await store.write((tx) => upsertPackageSchedules(tx, 'default', name, specs));
}

async function open({ store }: SchedulePlace, specs: readonly WorkflowSpec[]): Promise<void> {
  await store.write((tx) => upsertOwned(tx, 'default', embeddedOwner, specs));
}

test('scheduling.md: packaged schedules are written at activation, changed by the next version, disabled when gone', async (t) => {
  const place = await SchedulePlace.open(t);
  const { schedules, clock } = place;
  await activate(place, [specOf({ tick: { every: '1h' }, nightly: { cron: '0 2 * * *', input: { a: 1 } } })]);
  const before = await schedules.list();
  assert.deepEqual(
    before.map(({ name, owner, workflow: starts, next }) => [name, owner, starts, next]),
    [
      ['nightly', 'package:acme', 'etl', start + 2 * 3_600_000],
      ['tick', 'package:acme', 'etl', start + 3_600_000],
    ],
  );
  await clock.advance('30m');
  await activate(place, [specOf({ tick: { every: '1h' }, nightly: { cron: '0 2 * * *', input: { a: 1 } } })]);
  assert.deepEqual(await schedules.list(), before);
  await activate(place, [specOf({ tick: { every: '1h', overlap: 'allow' } })]);
  const [nightly, tick] = await schedules.list();
  assert.deepEqual([nightly!.enabled, nightly!.next], [false, null]);
  assert.deepEqual([tick!.overlap, tick!.next, tick!.id], ['allow', start + 3_600_000, before[1]!.id]);
  await activate(place, []); // no channel live
  assert.deepEqual(
    (await schedules.list()).map(({ enabled }) => enabled),
    [false, false],
  );
  await clock.advance('2h');
  // and restored: an override made meanwhile is not an operator's own
  await activate(place, [specOf({ tick: { every: '1h' } })]);
  assert.deepEqual((await schedules.list())[1]!.next, start + 3 * 3_600_000);
  assert.deepEqual(await schedules.history('tick'), []);
});

test("scheduling.md: an operator's pause and overrides survive the next version", async (t) => {
  const place = await SchedulePlace.open(t);
  const { schedules } = place;
  const first = { every: '1h', input: { a: 1 }, overlap: 'skip' } as const;
  await activate(place, [specOf({ tick: first })]);
  await schedules.pause('tick');
  await schedules.update('tick', { cron: '@daily', input: { a: 9 } });
  await activate(place, [specOf({ tick: { ...first, every: '2h', overlap: 'allow', input: { a: 2 } } })]);
  const { paused, cron, every, input, overlap } = await schedules.get('tick');
  assert.deepEqual([paused, cron, every, input, overlap], [true, '@daily', null, { a: 9 }, 'allow']);
  await schedules.resume('tick');
  await activate(place, [specOf({ tick: { ...first, paused: true } })]);
  assert.equal((await schedules.get('tick')).paused, false);
  await assert.rejects(
    schedules.update('tick', { workflow: 'other' }),
    coded('SCHEDULE_INVALID', /belongs to package/),
  );
});

test("a new version's own pause is followed if no operator has decided", async (t) => {
  const place = await SchedulePlace.open(t);
  await activate(place, [specOf({ tick: { every: '1h', paused: true } })]);
  assert.equal((await place.schedules.get('tick')).paused, true);
  await activate(place, [specOf({ tick: { every: '1h' } })]);
  assert.equal((await place.schedules.get('tick')).paused, false);
});

test('an override that is invalid for the new version leaves the schedule unchanged', async (t) => {
  const place = await SchedulePlace.open(t);
  await activate(place, [specOf({ tick: { every: '1h' } })]);
  await place.schedules.update('tick', { endAt: '2026-02-01' });
  await activate(place, [specOf({ tick: { every: '1h', startAt: '2026-03-01' } })]);
  const { startAt, endAt } = await place.schedules.get('tick');
  assert.deepEqual([startAt, endAt], [null, Date.UTC(2026, 1, 1)]);
});

test('scheduling.md: names are unique per owner; if several owners have one, it takes owner/name', async (t) => {
  const place = await SchedulePlace.open(t);
  const { schedules } = place;
  const spec = specOf({ tick: { every: '1h' } });
  await activate(place, [spec]);
  await activate(place, [spec], '@corp/jobs');
  await open(place, [spec]);
  await schedules.add('tick', { workflow: 'etl', every: '2h' });
  const owners = ["'acme/tick'", "'@corp/jobs/tick'", "'embedded/tick'", "'operator/tick'"];
  await assert.rejects(schedules.get('tick'), (error) => {
    assert.ok(coded('AMBIGUOUS_SCHEDULE')(error));
    for (const owner of owners) assert.ok((error as Error).message.includes(owner));
    return true;
  });
  assert.equal((await schedules.get('operator/tick')).every, 2 * 3_600_000);
  assert.equal((await schedules.get('embedded/tick')).owner, 'embedded');
  assert.equal((await schedules.get('@corp/jobs/tick')).owner, 'package:@corp/jobs');
  await schedules.remove('operator/tick');
  await activate(place, []);
  await activate(place, [], '@corp/jobs');
  assert.equal((await schedules.get('tick')).owner, 'embedded'); // the others are disabled
  await assert.rejects(schedules.get('nobody/tick'), coded('SCHEDULE_NOT_FOUND'));
});

test('scheduling.md: embedded schedules are written when opened; those of workflows of other runners are kept', async (t) => {
  const place = await SchedulePlace.open(t);
  await place.loop();
  await open(place, [specOf({ one: { every: '1m' }, two: { every: '1m' } })]);
  await open(place, [specOf({ mail: { every: '1m' } }, 'mailer')]);
  await open(place, [specOf({ one: { every: '1m' } })]);
  assert.deepEqual(
    (await place.schedules.list()).map(({ name, enabled }) => [name, enabled]),
    [
      ['mail', true],
      ['one', true],
      ['two', false],
    ],
  );
  const stolen = open(place, [specOf({ one: { every: '1m' } }, 'mailer')]);
  await assert.rejects(stolen, coded('CONFLICT', /remove schedule 'embedded\/one'/));
  await place.clock.advance('1m');
  assert.deepEqual(await place.historyOf('one'), ['01-01T00:01:00 started']);
  assert.deepEqual(await place.historyOf('mail'), ['01-01T00:01:00 failed']); // no workflow 'mailer' exists here
});

test('due slots that had not fired when a schedule is disabled or changed are recorded as missed', async (t) => {
  const place = await SchedulePlace.open(t);
  await activate(place, [specOf({ gone: { every: '1m' }, moved: { every: '1m' } })]);
  await place.clock.leap('2m 100ms'); // the second is still on time
  await activate(place, [specOf({ moved: { every: '5m' } })]);
  for (const name of ['gone', 'moved']) {
    assert.deepEqual(await place.historyOf(name), ['01-01T00:01:00..01-01T00:02:00 x2 missed']);
  }
  assert.equal((await place.schedules.get('moved')).next, place.clock.now() + 300_000);
});

test('scheduling.md, Adding and changing: a bad schedule of a manifest is refused before activation, named, and nothing is written', async (t) => {
  const place = await SchedulePlace.open(t);
  const fine = specOf({ a: { every: '1m' }, tick: { cron: '@daily' } });
  const [a, tick] = fine.schedules;
  const bad = { ...fine, schedules: [a!, { ...tick!, cron: '0 0 31 2 *' }] };
  await assert.rejects(activate(place, [bad]), coded('SCHEDULE_INVALID', /schedule 'tick' of workflow 'etl'/));
  const twice = [fine, specOf({ tick: { cron: '@daily' } }, 'other')];
  await assert.rejects(activate(place, twice), coded('SCHEDULE_INVALID', /'etl' and workflow 'other' both have/));
  const input = withTask(workflow('typed', { input: z.object({ url: z.string() }) }));
  input.schedule('tick', { cron: '@daily', input: { url: 'u' } });
  const wrong = {
    ...input.spec,
    schedules: input.spec.schedules.map((each) => Object.assign({}, each, { input: {} })),
  };
  await assert.rejects(activate(place, [wrong]), coded('INPUT_INVALID', /url.*in schedule 'tick'/));
  assert.deepEqual(await place.schedules.list(), []);
  await activate(place, [input.spec]);
});

test('scheduling.md, Adding and changing: a definition with a bad schedule is refused when it is checked', () => {
  const definition = withTask(workflow('etl'));
  definition.schedule('nightly', { cron: '61 * * * *' });
  assert.throws(() => definition.spec, coded('SCHEDULE_INVALID', /minute .*schedule 'nightly' of workflow 'etl'/));
});
