import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { ScheduleOptions } from '../definition/definition.ts';
import { alwaysOnTimeMs, dueSlots, jitterMs, onTimeMs, type Due, type DueQuestion } from './due-slots.ts';
import { countSlots, nextSlot, slotsBetween } from './fire-times.ts';
import { scheduleRule } from './rule.ts';

const hourMs = 3_600_000;
const dayMs = 86_400_000;
const now = Date.parse('2026-03-10T12:00:00Z');

function utc(text: string): number {
  return Date.parse(text);
}

function iso(instant: number): string {
  return new Date(instant).toISOString().replace('.000', '').replace('2026-', '');
}

test('scheduling.md: jitter is a delay derived from schedule and slot, the same for everyone, spread over its length', () => {
  const rule = scheduleRule({ cron: '* * * * *', jitter: '10s' }, now);
  assert.equal(jitterMs(rule, 'a', now), jitterMs({ ...rule }, 'a', now));
  assert.notEqual(jitterMs(rule, 'a', now), jitterMs(rule, 'b', now));
  assert.equal(jitterMs({ ...rule, jitter: 0 }, 'a', now), 0);
  const delays = Array.from({ length: 5000 }, (_, index) => jitterMs(rule, 'a', now + index * 60_000));
  assert.ok(delays.every((delay) => Number.isInteger(delay) && delay >= 0 && delay <= 10_000));
  for (let tenth = 0; tenth < 10; tenth += 1) {
    const share = delays.filter((delay) => delay >= tenth * 1000 && delay < (tenth + 1) * 1000).length;
    assert.ok(share > 400 && share < 600, `${share} of 5000 delays in tenth ${tenth}`);
  }
  // pinned: another value would move the slots of existing schedules
  assert.equal(jitterMs(rule, '0190b5a0-0000-7000-8000-000000000001', now), 197); // computed independently of this code
});

function ask(options: ScheduleOptions<unknown>, cursor: number, at: number, more: Partial<DueQuestion> = {}): Due {
  return dueSlots({ rule: scheduleRule(options, 0), scheduleId: 's', cursor, now: at, pausedAt: null, ...more });
}

function decisions(due: Due): string[] {
  return due.decisions.map((each) =>
    each.kind === 'start'
      ? `${each.isCatchUp ? 'catch up' : 'start'} ${iso(each.slot)}`
      : `${each.reason} ${iso(each.first)} ${iso(each.last)} ${each.count}`,
  );
}

test('scheduling.md: a slot is started at its time, not before, and once', () => {
  const before = ask({ cron: '@hourly' }, now, now + hourMs - 1);
  const nothing = { decisions: [], more: false, catchUpLeft: null };
  assert.deepEqual(before, { ...nothing, cursor: now, next: now + hourMs, wakeAt: now + hourMs });
  const due = ask({ cron: '@hourly' }, now, now + hourMs);
  assert.deepEqual(decisions(due), ['start 03-10T13:00:00Z']);
  assert.equal(due.cursor, now + hourMs);
  assert.equal(due.next, now + 2 * hourMs);
  assert.deepEqual(decisions(ask({ cron: '@hourly' }, due.cursor, now + hourMs)), []);
  assert.deepEqual(decisions(ask({ cron: '@hourly' }, due.cursor, now)), [], 'a clock that went back');
});

test('scheduling.md: a slot noticed a little late is on time: 5 s where no later slot came, else 1 s', () => {
  const hourly = { cron: '@hourly', catchup: 'skip' } as const;
  assert.deepEqual(decisions(ask(hourly, now, now + hourMs + onTimeMs)), ['start 03-10T13:00:00Z']);
  assert.deepEqual(decisions(ask(hourly, now, now + hourMs + onTimeMs + 1)), [
    'missed 03-10T13:00:00Z 03-10T13:00:00Z 1',
  ]);
  const secondly = { cron: '* * * * * *', catchup: 'skip' } as const;
  assert.deepEqual(decisions(ask(secondly, now, now + 2000 + alwaysOnTimeMs - 1000)), [
    'start 03-10T12:00:01Z',
    'start 03-10T12:00:02Z',
  ]);
  assert.deepEqual(decisions(ask(secondly, now, now + 3500)), [
    'missed 03-10T12:00:01Z 03-10T12:00:02Z 2',
    'start 03-10T12:00:03Z',
  ]);
});

test('scheduling.md: catchup latest starts one execution for all missed slots, the last one', () => {
  const due = ask({ cron: '*/10 * * * *' }, now, now + hourMs + 60_000);
  assert.deepEqual(decisions(due), ['missed 03-10T12:10:00Z 03-10T12:50:00Z 5', 'catch up 03-10T13:00:00Z']);
  assert.equal(due.next, now + hourMs + 600_000);
  assert.deepEqual(decisions(ask({ cron: '@daily' }, now, now + 13 * hourMs)), ['catch up 03-11T00:00:00Z']);
});

test('scheduling.md: catchup latest after an outage that ends on a slot starts the missed one and the one on time', () => {
  assert.deepEqual(decisions(ask({ cron: '@hourly' }, now, now + 3 * hourMs)), [
    'missed 03-10T13:00:00Z 03-10T13:00:00Z 1',
    'catch up 03-10T14:00:00Z',
    'start 03-10T15:00:00Z',
  ]);
});

test('scheduling.md: catchup skip records missed slots as one row', () => {
  const due = ask({ cron: '@hourly', catchup: 'skip' }, now, now + 50 * hourMs + 60_000);
  assert.deepEqual(decisions(due), ['missed 03-10T13:00:00Z 03-12T14:00:00Z 50']);
  assert.equal(due.cursor, now + 50 * hourMs);
});

test('scheduling.md: catchup all starts the oldest first, up to max; the rest is missed', () => {
  assert.deepEqual(decisions(ask({ cron: '@hourly', catchup: 'all', max: 3 }, now, now + 6 * hourMs)), [
    'catch up 03-10T13:00:00Z',
    'catch up 03-10T14:00:00Z',
    'catch up 03-10T15:00:00Z',
    'missed 03-10T16:00:00Z 03-10T17:00:00Z 2',
    'start 03-10T18:00:00Z',
  ]);
  const due = ask({ cron: '* * * * *', catchup: 'all' }, now, now + 3 * hourMs);
  assert.equal(due.decisions.filter((each) => each.kind === 'start' && each.isCatchUp).length, 100, 'the default');
});

test('scheduling.md: a catch-up in parts starts as many slots as one in whole, and those that become late meanwhile', () => {
  const minutely = { cron: '* * * * *', catchup: 'all', max: 7, overlap: 'allow' } as const;
  const first = ask(minutely, now, now + 10.5 * 60_000, { limit: 3 });
  assert.deepEqual(
    decisions(first),
    ['12:01', '12:02', '12:03'].map((time) => `catch up 03-10T${time}:00Z`),
  );
  assert.deepEqual([first.more, first.catchUpLeft, first.wakeAt], [true, 4, now + 4 * 60_000]);
  const later = { limit: 3, catchUpLeft: first.catchUpLeft };
  const second = ask(minutely, first.cursor, now + 11.5 * 60_000, later);
  assert.deepEqual([decisions(second).length, second.catchUpLeft], [3, 1]);
  const third = ask(minutely, second.cursor, now + 11.5 * 60_000, { limit: 3, catchUpLeft: second.catchUpLeft });
  assert.deepEqual(decisions(third), ['catch up 03-10T12:07:00Z', 'missed 03-10T12:08:00Z 03-10T12:11:00Z 4']);
  assert.deepEqual([third.more, third.catchUpLeft], [false, null]);
});

test('scheduling.md: slots older than the window are not caught up', () => {
  assert.deepEqual(decisions(ask({ cron: '0 */6 * * *' }, now, now + 49 * hourMs)), [
    'outside_window 03-10T18:00:00Z 03-11T12:00:00Z 4',
    'missed 03-11T18:00:00Z 03-12T06:00:00Z 3',
    'catch up 03-12T12:00:00Z',
  ]);
  assert.deepEqual(decisions(ask({ cron: '@hourly', catchup: 'all', window: '2h' }, now, now + 5 * hourMs + 60_000)), [
    'outside_window 03-10T13:00:00Z 03-10T15:00:00Z 3',
    'catch up 03-10T16:00:00Z',
    'catch up 03-10T17:00:00Z',
  ]);
  assert.deepEqual(decisions(ask({ cron: '@daily', window: '1h' }, now, now + 14 * hourMs)), [
    'outside_window 03-11T00:00:00Z 03-11T00:00:00Z 1',
  ]);
  assert.deepEqual(decisions(ask({ cron: '@daily', window: 0 }, now, now + 12 * hourMs)), ['start 03-11T00:00:00Z']);
});

test('scheduling.md: a slot exactly as old as the window is caught up', () => {
  assert.deepEqual(decisions(ask({ cron: '@hourly', window: '1h' }, now, now + 2 * hourMs)), [
    'catch up 03-10T13:00:00Z',
    'start 03-10T14:00:00Z',
  ]);
});

test('scheduling.md: unpausing never fires at once and never loses a future slot', () => {
  const due = ask({ cron: '@hourly' }, now, now + 5 * hourMs, { pausedAt: now + 10 });
  assert.deepEqual(decisions(due), ['paused 03-10T13:00:00Z 03-10T17:00:00Z 5']);
  assert.equal(due.wakeAt, null);
  assert.equal(due.next, now + 6 * hourMs);
  const resumed = ask({ cron: '@hourly' }, due.cursor, now + 5 * hourMs);
  assert.deepEqual(resumed.decisions, []);
  assert.equal(resumed.wakeAt, now + 6 * hourMs);
  assert.deepEqual(decisions(ask({ cron: '@hourly' }, due.cursor, now + 6 * hourMs)), ['start 03-10T18:00:00Z']);
});

test('scheduling.md: slots that an outage missed before the pause are missed, not paused', () => {
  const pausedAt = now + 3 * hourMs + 60_000;
  assert.deepEqual(decisions(ask({ cron: '@hourly' }, now, now + 5 * hourMs, { pausedAt })), [
    'missed 03-10T13:00:00Z 03-10T15:00:00Z 3',
    'paused 03-10T16:00:00Z 03-10T17:00:00Z 2',
  ]);
  assert.deepEqual(decisions(ask({ cron: '@hourly' }, now, now, { pausedAt: now - 5 })), []);
});

test('scheduling.md: a year of a schedule that fires every second, paused or down, is one row and costs a few counts', () => {
  const later = now + 365 * dayMs;
  for (const timezone of ['UTC', 'Europe/Berlin']) {
    const options = { cron: '* * * * * *', timezone } as const;
    const started = performance.now();
    const paused = ask(options, now, later, { pausedAt: now });
    assert.deepEqual(
      paused.decisions.map((each) => (each.kind === 'pass' ? each.count : 0)),
      [31_536_000],
    );
    const down = ask(options, now, later);
    assert.deepEqual(
      down.decisions.map((each) => (each.kind === 'pass' ? `${each.reason} ${each.count}` : each.isCatchUp)),
      ['outside_window 31449599', 'missed 86398', true, false, false],
    );
    assert.ok(performance.now() - started < 1000);
  }
});

test('a stalled loop starts the slots of its last second, not all slots of the stall', () => {
  const due = ask({ every: 100, startAt: new Date(now) }, now, now + 60_000);
  assert.deepEqual(decisions(due).slice(0, 3), [
    'missed 03-10T12:00:00.100Z 03-10T12:00:58.800Z 588',
    'catch up 03-10T12:00:58.900Z',
    'start 03-10T12:00:59Z',
  ]);
  assert.equal(due.decisions.length, 2 + 11);
});

test('scheduling.md: with jitter a slot starts within its jitter of its time, in order, and is no catch-up for it', () => {
  const options = { cron: '* * * * *', jitter: '3m' } as const;
  const rule = scheduleRule(options, 0);
  let cursor = now;
  let at = now;
  const delays = new Map<number, number>();
  while (at < now + 2 * hourMs) {
    const due = ask(options, cursor, at);
    for (const each of due.decisions) {
      assert.ok(each.kind === 'start' && !each.isCatchUp);
      assert.ok(each.slot > cursor);
      delays.set(each.slot, at - each.slot);
    }
    assert.ok(due.wakeAt !== null && due.wakeAt > at);
    ({ cursor } = due);
    at = due.wakeAt;
  }
  assert.ok(delays.size > 110);
  for (const [slot, delay] of delays) {
    assert.ok(delay >= jitterMs(rule, 's', slot) && delay <= rule.jitter, `${iso(slot)} after ${delay} ms`);
  }
});

test('late slots that were handled before the clock was set back are not handled again; those on time are', () => {
  const hourly = { cron: '@hourly', catchup: 'all' } as const;
  const movedFrom = now + 5 * hourMs;
  const behind = ask(hourly, now, now + 4 * hourMs, { movedFrom });
  assert.deepEqual(decisions(behind), ['start 03-10T16:00:00Z']);
  assert.equal(behind.cursor, now + 4 * hourMs);
  const idle = ask(hourly, now, now + 4.5 * hourMs, { movedFrom });
  assert.deepEqual([decisions(idle), idle.wakeAt], [[], now + 5 * hourMs]);
  const beyond = ask(hourly, now, now + 7.5 * hourMs, { movedFrom });
  assert.deepEqual(decisions(beyond), ['catch up 03-10T18:00:00Z', 'catch up 03-10T19:00:00Z']);
});

test('a schedule that ends has no next slot', () => {
  const options = { cron: '@hourly', endAt: new Date(now + 2 * hourMs) } as const;
  assert.deepEqual(ask(options, now, now + hourMs).next, null);
  assert.deepEqual(ask(options, now + hourMs, now + dayMs), {
    decisions: [],
    more: false,
    catchUpLeft: null,
    cursor: now + hourMs,
    next: null,
    wakeAt: null,
  });
  assert.deepEqual(decisions(ask({ at: new Date(now + 5) }, now, now + 5)), ['start 03-10T12:00:00.005Z']);
  assert.deepEqual(decisions(ask({ at: new Date(now + 5) }, now, now + hourMs)), ['catch up 03-10T12:00:00.005Z']);
  assert.deepEqual(decisions(ask({ at: new Date(now + 5), catchup: 'skip' }, now, now + hourMs)), [
    'missed 03-10T12:00:00.005Z 03-10T12:00:00.005Z 1',
  ]);
});

/** Asks until no slot is left; the decisions together. */
function inParts(question: DueQuestion): Due {
  const all: Due['decisions'][number][] = [];
  for (let due = dueSlots(question); ; due = dueSlots({ ...question, ...due, movedFrom: null })) {
    all.push(...due.decisions);
    assert.ok(due.decisions.filter(({ kind }) => kind === 'start').length <= question.limit!);
    if (!due.more) return { ...due, decisions: all };
  }
}

test('scheduling.md: every slot since the cursor is decided exactly once, whenever and however often the decision is made', () => {
  const anyRule = fc.record({
    cron: fc.constantFrom('* * * * * *', '*/7 * * * * *', '*/5 * * * *', '0 */3 * * *', '30 2 * * *', null),
    catchup: fc.constantFrom('latest' as const, 'skip' as const, 'all' as const),
    timezone: fc.constantFrom('UTC', 'Europe/Berlin', 'Australia/Lord_Howe'),
    max: fc.integer({ min: 1, max: 5 }),
    window: fc.constantFrom(0, 60_000, hourMs, dayMs),
    jitter: fc.constantFrom(0, 0, 2000, 600_000),
  });
  const waits = fc.array(
    fc.tuple(
      fc.constantFrom(1, 900, 5000, 60_000, hourMs, 20 * hourMs),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.boolean(),
      fc.integer({ min: 1, max: 4 }),
    ),
    { minLength: 1, maxLength: 12 },
  );
  fc.assert(
    fc.property(anyRule, waits, ({ cron, ...rest }, steps) => {
      const begin = utc('2026-03-28T22:00:00Z');
      const rule = scheduleRule(cron === null ? { every: 2500, ...rest } : { cron, ...rest }, begin);
      let cursor = begin;
      let at = begin;
      let covered = begin; // the last decided slot; the next decision must begin with the slot after it
      for (const [wait, share, paused, limit] of steps) {
        const pausedAt = paused ? at : null;
        at += Math.ceil(wait * share);
        const due = dueSlots({ rule, scheduleId: 's', cursor, now: at, pausedAt });
        assert.deepEqual(inParts({ rule, scheduleId: 's', cursor, now: at, pausedAt, limit }), due);
        for (const each of due.decisions) {
          const first = each.kind === 'start' ? each.slot : each.first;
          const last = each.kind === 'start' ? each.slot : each.last;
          assert.equal(first, nextSlot(rule, covered), 'no slot is missing or repeated');
          assert.ok(last <= at);
          if (each.kind === 'pass') assert.equal(each.count, countSlots(rule, first, last + 1));
          if (paused) assert.equal(each.kind, 'pass');
          covered = last;
        }
        assert.equal(due.cursor, covered);
        if (rule.jitter === 0) assert.deepEqual([...slotsBetween(rule, covered + 1, at + 1)], []);
        ({ cursor } = due);
      }
    }),
    { numRuns: 300 },
  );
});
