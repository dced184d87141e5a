import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { arrayMembers, isTooDeep, maxJsonDepth } from './json-text.ts';

const nested = (levels: number, open = '[', close = ']'): string => open.repeat(levels) + close.repeat(levels);

describe('the depth of JSON is counted on its text', () => {
  it('200 levels are allowed and 201 are not, of arrays and of objects', () => {
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ] as const) {
      const text = (levels: number): string => `${open.repeat(levels)}1${close.repeat(levels)}`;
      assert.equal(isTooDeep(text(maxJsonDepth)), false);
      assert.equal(isTooDeep(text(maxJsonDepth + 1)), true);
    }
    assert.equal(isTooDeep(nested(1_000_000)), true);
  });

  it('brackets in strings and closed levels do not count', () => {
    for (const string of [
      '['.repeat(300),
      '\\"['.repeat(300),
      `${'\\\\'.repeat(300)}[[`,
      '"'.repeat(300) + '{'.repeat(300),
    ])
      assert.equal(isTooDeep(JSON.stringify([string, 'x'.repeat(1000)])), false);
    assert.equal(isTooDeep(`[${nested(199)},${nested(199)},${nested(199)}]`), false);
    assert.equal(isTooDeep(`["\\\\",${nested(199)},${nested(200)}]`), true);
  });

  it('a text that is not JSON ends the count too', () => {
    for (const text of [
      '"'.padEnd(1000, '['),
      ']'.repeat(1000),
      '\\'.repeat(1000),
      `"${'\\"'.repeat(1000)}`,
      '['.repeat(201),
    ])
      assert.equal(typeof isTooDeep(text), 'boolean');
  });
});

describe('the members of an array are counted before they are made', () => {
  it('any array splits into the texts of its members', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.boolean(), (values, spaced) => {
        const text = JSON.stringify(values, null, spaced ? 2 : 0);
        const members = arrayMembers(text, 1000);
        assert.ok(Array.isArray(members));
        assert.deepEqual(
          members.map((member) => JSON.parse(member) as unknown),
          JSON.parse(text),
        );
      }),
    );
  });

  it('one more than the limit is too many', () => {
    assert.deepEqual(arrayMembers('[1,2,3]', 3), ['1', '2', '3']);
    assert.equal(arrayMembers('[1,2,3,4]', 3), 'too_many');
    assert.deepEqual(arrayMembers(' [ ] ', 3), []);
  });

  it('a text that is no array is refused, and a fault in it is found in a member', () => {
    for (const text of ['', '1', '"[1]"', '{"a":[1]}', '[1', '1]', '[1],[2]', '[1]]', '[]]'])
      assert.equal(arrayMembers(text, 10), 'not_array', text);
    for (const text of ['[1,]', '[,1]', '[1 2]', '["a]', '[{]', '[{]]', '[,]']) {
      const members = arrayMembers(text, 10);
      assert.ok(members === 'not_array' || (Array.isArray(members) && members.some((member) => !isJson(member))), text);
    }
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
