import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { NotSerializableError, PayloadTooLargeError } from './error.ts';
import { parseJson, stringifyJson } from './json.ts';

class Money {
  readonly cents = 5;
}

/** Its data is behind an accessor, which JSON does not see. */
class Sealed {
  readonly #cents = 5;
  get cents(): number {
    return this.#cents;
  }
}

class Rows extends Array<number> {
  readonly total = 2;
}

describe('engine.md, Attempts: a value that is not JSON is NOT_SERIALIZABLE with the path', () => {
  const cycle: Record<string, unknown> = { list: [] };
  (cycle['list'] as unknown[]).push({ back: cycle });
  const sparse: unknown[] = [1];
  sparse[3] = 2;
  const bare = Object.assign(Object.create(null) as object, { a: 1 });

  for (const [kind, value, path] of [
    ['a function', { f: () => 1 }, 'output.f'],
    ['a method of an array item', [{ a: [() => 1] }], 'output[0].a[0]'],
    ['a BigInt', { n: 5n }, 'output.n'],
    ['a symbol', { s: Symbol('x') }, 'output.s'],
    ['a property named by a symbol', { deep: { [Symbol('x')]: 1 } }, 'output.deep'],
    ['a cycle', cycle, 'output.list[0].back'],
    ['NaN', { x: Number.NaN }, 'output.x'],
    ['Infinity', [1, Infinity], 'output[1]'],
    ['a Date', { at: new Date() }, 'output.at'],
    ['an invalid Date', { at: new Date(Number.NaN) }, 'output.at'],
    ['undefined in an array', { list: [1, undefined] }, 'output.list[1]'],
    ['a hole in an array', { list: sparse }, 'output.list[1]'],
    ['a Map', { m: new Map() }, 'output.m'],
    ['a Set', { m: new Set() }, 'output.m'],
    ['an Error', { e: new Error('x') }, 'output.e'],
    ['a Promise', { p: Promise.resolve(1) }, 'output.p'],
    ['a RegExp', { r: /x/ }, 'output.r'],
    ['bytes', { b: new Uint8Array(2) }, 'output.b'],
    ['a Buffer', { b: Buffer.from('x') }, 'output.b'],
    ['a URL', { u: new URL('http://localhost') }, 'output.u'],
    ['something with toJSON', { u: { toJSON: () => 1 } }, 'output.u'],
    ['a boxed number', { n: Object(1) as unknown }, 'output.n'],
    ['a match of a regular expression', { m: /(?<year>\d+)/.exec('in 2026') }, 'output.m'],
    ['an array with a property', { rows: Object.assign([1, 2], { columns: ['a'] }) }, 'output.rows'],
    ['an array with a property named by a symbol', [Object.assign([1], { [Symbol('x')]: 1 })], 'output[0]'],
    ['an array of a class with a field', Rows.from([1]), 'output'],
    ['an instance with accessors only', { price: new Sealed() }, 'output.price'],
    ['an object that inherits its values', [Object.create({ a: 1 })], 'output[0]'],
    ['an object that inherits from one without a prototype', [Object.create(bare)], 'output[0]'],
    ['a key that is no name', { 'a b': { c: 1n } }, 'output["a b"].c'],
  ] as const) {
    it(kind, () => {
      assert.throws(
        () => stringifyJson(value, 'output'),
        (error) => {
          assert.ok(error instanceof NotSerializableError, String(error));
          assert.equal(error.path, path);
          assert.ok(error.message.startsWith(`${path}: `));
          return true;
        },
      );
    });
  }

  it('a value of more than 200 levels is refused with the beginning of its path, whatever its depth', () => {
    const nested = (levels: number): unknown => {
      let deep: unknown = 1;
      for (let i = 0; i < levels; i++) deep = i % 2 === 0 ? { deep } : [deep];
      return deep;
    };
    assert.equal(typeof stringifyJson(nested(200), 'output'), 'string');
    for (const levels of [201, 4000, 100_000]) {
      assert.throws(
        () => stringifyJson(nested(levels), 'output'),
        (error) => {
          assert.ok(error instanceof NotSerializableError, String(error));
          assert.match(error.path, /^output(\[0\])?\.deep\[0\]\.deep.*\.\.\.$/);
          assert.match(error.message, /more than 200 levels/);
          return error.message.length < 300;
        },
      );
    }
  });

  it('a getter that returns a deep value on second reading is detected', () => {
    let looks = 0;
    const deep = JSON.parse('['.repeat(5000) + ']'.repeat(5000)) as unknown;
    const value = Object.defineProperty({}, 'x', { enumerable: true, get: () => (looks++ === 0 ? 1 : deep) });
    assert.throws(() => stringifyJson(value, 'output'), /more than 200 levels|too large/);
  });
});

describe('a JSON value passes unchanged', () => {
  it('the same object twice is no cycle', () => {
    const shared = { a: 1 };
    assert.equal(stringifyJson({ x: shared, y: [shared, shared] }, 'v'), '{"x":{"a":1},"y":[{"a":1},{"a":1}]}');
  });

  it('undefined is null at the top and left out as a property; objects without a prototype and of classes pass', () => {
    assert.equal(stringifyJson(undefined, 'v'), 'null');
    assert.equal(stringifyJson({ a: undefined, b: null }, 'v'), '{"b":null}');
    assert.equal(stringifyJson(Object.assign(Object.create(null), { a: 1 }), 'v'), '{"a":1}');
    assert.equal(stringifyJson(new Money(), 'v'), '{"cents":5}');
  });

  it('empty objects and arrays pass, also those of another realm', () => {
    const others = runInNewContext('({ a: {}, b: [], c: [1], d: Object.create(null), e: { f: 1 } })') as unknown;
    assert.equal(
      stringifyJson([{}, [], Object.create(null), others], 'v'),
      '[{},[],{},{"a":{},"b":[],"c":[1],"d":{},"e":{"f":1}}]',
    );
  });

  it('negative zero becomes zero, which is equal to it', () => {
    assert.equal(stringifyJson({ n: -0 }, 'v'), '{"n":0}');
  });

  it('any JSON value comes back equal', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        // -0 is the only number that JSON text cannot distinguish
        assert.deepEqual(parseJson(stringifyJson(value, 'v')), JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('the text contains no NUL and no lone surrogate, which databases refuse or change', () => {
    const text = stringifyJson({ a: 'x\0y\uD800z', '\uDC00': 1 }, 'v');
    assert.ok(text.isWellFormed() && !text.includes('\0'));
    assert.deepEqual(parseJson(text), { a: 'x\0y\uD800z', '\uDC00': 1 });
  });
});

describe('engine.md, attempts: a payload over maxPayload is PAYLOAD_TOO_LARGE', () => {
  it('the size is measured in bytes of UTF-8, exactly', () => {
    assert.equal(stringifyJson('ééé', 'v', 8), '"ééé"');
    assert.throws(
      () => stringifyJson('ééé', 'output of t', 7),
      (error) =>
        error instanceof PayloadTooLargeError &&
        error.bytes === 8 &&
        error.limit === 7 &&
        /output of t/.test(error.message),
    );
  });

  it('the default limit is 1 MiB', () => {
    assert.doesNotThrow(() => stringifyJson('x'.repeat(1_048_574), 'v'));
    assert.throws(() => stringifyJson('x'.repeat(1_048_575), 'v'), PayloadTooLargeError);
  });
});
