import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newId, timeOf } from './id.ts';

describe('engine.md, Words: an execution id is a UUIDv7', () => {
  it('an id has the form and version of RFC 9562, with the time in front', () => {
    const now = Date.UTC(2040, 0, 1);
    const id = newId(now);
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), now);
  });

  it('ids sort by creation, also within a millisecond and when the clock goes back', () => {
    const now = Date.UTC(2041, 0, 1);
    const ids = Array.from({ length: 20_000 }, (_, i) => newId(now - (i % 3) * 1000));
    assert.deepEqual(ids.toSorted(), ids);
    assert.equal(new Set(ids).size, ids.length);
  });

  it('an id has the time of the clock again once a clock that was far ahead is set back', () => {
    const now = Date.UTC(2042, 0, 1);
    newId(now + 365 * 86_400_000);
    const ids = [newId(now), newId(now + 1), newId(now)];
    assert.deepEqual(ids.map(timeOf), [now, now + 1, now + 1]);
    assert.deepEqual(ids.toSorted(), ids);
  });
});
