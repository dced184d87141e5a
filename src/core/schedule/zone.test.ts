import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearZones, zone } from './zone.ts';

const hourMs = 3_600_000;

/** The wall clock as ms "as if UTC", read from Intl in another way than `Zone` does. */
function wallClock(timezone: string): (instant: number) => number {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short', timeStyle: 'medium' });
  return (instant) => Date.parse(`${format.format(instant).replace(' ', 'T')}Z`);
}

test('scheduling.md: offsets of every zone are those of the wall clock, hour by hour around its changes', () => {
  for (const name of Intl.supportedValuesOf('timeZone')) {
    const place = zone(name);
    assert.ok(place !== null, name);
    const wall = wallClock(name);
    let instant = Date.parse('2025-12-20T00:00:00Z');
    const end = Date.parse('2026-12-20T00:00:00Z');
    while (instant < end) {
      const segment = place.segmentAt(instant);
      assert.ok(segment.start <= instant && instant < segment.end, `${name} ${instant}`);
      const first = Math.max(segment.start, instant);
      for (const at of [first, segment.end - 1000]) {
        if (Number.isFinite(at)) assert.equal(at + segment.offset, wall(at), `${name} ${new Date(at).toISOString()}`);
      }
      instant = Number.isFinite(segment.end) ? segment.end : end;
    }
  }
});

test('scheduling.md: a segment knows how far the clock had moved at its start: a gap, a repeat, or neither', () => {
  const berlin = zone('Europe/Berlin')!;
  const spring = berlin.segmentAt(Date.parse('2026-03-29T01:00:00Z'));
  assert.equal(spring.start, Date.parse('2026-03-29T01:00:00Z'));
  assert.equal(spring.start + spring.offset - spring.shown, hourMs);
  const autumn = berlin.segmentAt(Date.parse('2026-10-25T01:00:00Z'));
  assert.equal(autumn.start, Date.parse('2026-10-25T01:00:00Z'));
  assert.equal(autumn.start + autumn.offset - autumn.shown, -hourMs);
  const howe = zone('Australia/Lord_Howe')!.segmentAt(Date.parse('2026-10-03T15:30:00Z'));
  assert.equal(howe.start + howe.offset - howe.shown, hourMs / 2);
  const apia = zone('Pacific/Apia')!.segmentAt(Date.parse('2011-12-30T10:00:00Z'));
  assert.equal(apia.start + apia.offset - apia.shown, 24 * hourMs);
  const summer = berlin.segmentAt(Date.parse('2026-07-01T00:00:00Z'));
  assert.equal(summer.start + summer.offset, summer.shown);
});

test('offsets before railway time have seconds', () => {
  const old = zone('Europe/Amsterdam')!.segmentAt(Date.parse('1850-01-01T00:00:00Z'));
  assert.equal(old.offset % 60_000 !== 0, true);
  assert.equal(
    Date.parse('1850-01-01T00:00:00Z') + old.offset,
    wallClock('Europe/Amsterdam')(Date.parse('1850-01-01')),
  );
});

test('a local time that occurs twice is its first instant, and one that never occurs is the end of the gap', () => {
  const berlin = zone('Europe/Berlin')!;
  assert.equal(berlin.instantOf(Date.UTC(2026, 6, 1, 12)), Date.UTC(2026, 6, 1, 10));
  assert.equal(berlin.instantOf(Date.UTC(2026, 9, 25, 2, 30)), Date.UTC(2026, 9, 25, 0, 30));
  assert.equal(berlin.instantOf(Date.UTC(2026, 2, 29, 2, 30)), Date.UTC(2026, 2, 29, 1));
  assert.equal(zone('UTC')!.instantOf(5000), 5000);
  assert.equal(zone('Pacific/Apia')!.instantOf(Date.UTC(2011, 11, 30, 15)), Date.UTC(2011, 11, 30, 10));
});

test('a zone is found in any case and keeps the given spelling', () => {
  assert.equal(zone('europe/berlin')?.name, 'Europe/Berlin');
  assert.equal(zone('utc')?.name, 'UTC');
  assert.equal(zone('Asia/Katmandu')?.name, 'Asia/Katmandu');
  assert.equal(zone('Asia/Kathmandu')?.name, 'Asia/Kathmandu');
});

test('a text that is no IANA name is no zone: an unknown city, an offset, an empty text', () => {
  for (const name of ['Europe/Berlim', '+02:00', '', ' ', 'Mars/Base']) assert.equal(zone(name), null, name);
});

test('near names are found: a wrong letter, another continent, a city alone', () => {
  assert.equal(nearZones('Europe/Berlim')[0], 'Europe/Berlin');
  assert.equal(nearZones('America/Berlin')[0], 'Europe/Berlin');
  assert.equal(nearZones('Berlin')[0], 'Europe/Berlin');
  assert.equal(nearZones('america/new york')[0], 'America/New_York');
  assert.deepEqual(nearZones('Nowhere/Nothing-At-All'), []);
});
