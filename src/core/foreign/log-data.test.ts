import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { logParts, logText, maxLogBytes } from './log-data.ts';

function logged(value: unknown): unknown {
  const text = logText(value);
  assert.ok(Buffer.byteLength(text) <= maxLogBytes, `${text.length} characters`);
  return JSON.parse(text);
}

describe('engine.md, events and logs: data that is no JSON is shown where it stands', () => {
  it('JSON is kept as it is', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        assert.deepEqual(logged(value), JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('an error keeps name, code, message, stack, cause and parts, in place and at the top', () => {
    const thrown = new TypeError('boom', { cause: new Error('why') });
    for (const at of [logged(thrown), (logged({ order: 7, err: thrown }) as { err: unknown }).err]) {
      const { name, message, stack, cause, ...rest } = at as Record<string, unknown>;
      assert.deepEqual([name, message, rest], ['TypeError', 'boom', {}]);
      assert.match(String(stack), /TypeError: boom\n +at .*log-data\.test\.ts/);
      assert.equal(Reflect.get(cause as object, 'message'), 'why');
    }
    const coded = logged(Object.assign(new AggregateError([new Error('eu')], 'all'), { code: 11000 }));
    assert.equal(Reflect.get(coded as object, 'code'), '11000');
    assert.match(JSON.stringify(coded), /"errors":\[\{"name":"Error","message":"eu"/);
    assert.match(JSON.stringify(logged({ err: runInNewContext('new TypeError("foreign")') })), /"message":"foreign"/);
  });

  it('the other members of an object stay beside a value that is no JSON', () => {
    const cycle: Record<string, unknown> = { id: 7 };
    cycle['self'] = cycle;
    class Money {
      readonly #cents: number;
      constructor(cents: number) {
        this.#cents = cents;
      }
      toJSON(): string {
        return `${this.#cents / 100} EUR`;
      }
    }
    const data = {
      at: new Date(0),
      never: new Date(Number.NaN),
      id: 7n,
      ratio: Number.NaN,
      endless: -Infinity,
      cb() {},
      symbol: Symbol('s'),
      map: new Map([['a', 1]]),
      set: new Set([1]),
      bytes: Buffer.from('hi'),
      pattern: /x/,
      url: new URL('https://example.org/a'),
      price: new Money(1250),
      list: [1, undefined, 2n],
      absent: undefined,
      cycle,
      order: 7,
    };
    assert.deepEqual(logged(data), {
      at: '1970-01-01T00:00:00.000Z',
      never: 'Invalid Date',
      id: '7n',
      ratio: 'NaN',
      endless: '-Infinity',
      cb: '[Function: cb]',
      symbol: 'Symbol(s)',
      map: "Map(1) { 'a' => 1 }",
      set: 'Set(1) { 1 }',
      bytes: '<Buffer 68 69>',
      pattern: '/x/',
      url: 'https://example.org/a',
      price: '12.5 EUR',
      list: [1, 'undefined', '2n'],
      cycle: { id: 7, self: '[circular]' },
      order: 7,
    });
  });

  it('an object that is there twice is shown twice', () => {
    const one = { id: 7n };
    assert.deepEqual(logged({ a: one, b: one }), { a: { id: '7n' }, b: { id: '7n' } });
  });

  it('a member that throws is shown with its error', () => {
    const data = Object.defineProperty({ order: 7 }, 'total', {
      enumerable: true,
      get: () => {
        throw new Error('no price');
      },
    });
    assert.deepEqual(logged({ data, id: 1n }), { data: { order: 7, total: '[threw: no price]' }, id: '1n' });
    const json = {
      a: 1,
      toJSON: () => {
        throw new Error('no');
      },
    };
    assert.deepEqual(logged({ json, order: 7 }), { json: '[threw: no]', order: 7 });
  });

  it('too much is cut member by member', () => {
    const cut = logged({ text: 'x'.repeat(70_000), order: 7 }) as { text: string; order: number };
    assert.equal(cut.order, 7);
    assert.match(cut.text, /^x{16000,}\.\.\. \(70000 characters\)$/);
    const texts = logged(
      Object.assign(
        { order: 7 },
        Array.from({ length: 20 }, () => 'y'.repeat(20_000)),
      ),
    ) as Record<string, unknown>;
    assert.equal(texts['order'], 7);
    assert.equal(Object.keys(texts).length, 21);
    const many = logged({ list: Array.from({ length: 100_000 }, (_, i) => i), order: 7 }) as {
      list: unknown[];
      order: 7;
    };
    assert.equal(many.order, 7);
    assert.match(String(many.list.at(-1)), /^\.\.\. \d+ more$/);
    const wide = logged(Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key ${i}`, i]))) as object;
    assert.match(String(Reflect.get(wide, '...')), /^\d+ more$/);
  });

  it('deep and shared objects take neither much room nor much time', () => {
    let deep: object = {};
    for (let i = 0; i < 100_000; i++) deep = { deep };
    assert.match(JSON.stringify(logged({ deep, order: 7 })), /"order":7/);
    let shared: object = { leaf: 1n };
    for (let i = 0; i < 60; i++) shared = { a: shared, b: shared };
    assert.ok(logged(shared));
    const web: Record<string, unknown>[] = Array.from({ length: 300 }, () => ({}));
    for (const node of web) for (const [i, other] of web.entries()) node[`to ${i}`] = other;
    assert.ok(logged(web));
  });

  it('the conversion never throws, and its text is JSON within the limit, whatever the value', () => {
    const get = (): never => {
      throw new Error('trap');
    };
    const hostile = new Proxy(new Error('inside'), { get, getPrototypeOf: get, ownKeys: get });
    for (const value of [hostile, { hostile }, Object.create(null), new Proxy({}, { ownKeys: get })])
      assert.ok(logged(value));
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withNullPrototype: true,
          withMap: true,
          withSet: true,
          withDate: true,
          withTypedArray: true,
        }),
        (value) => void logged(value),
      ),
    );
  });
});

describe('engine.md, events and logs: a message that is no text', () => {
  it('it is shown as util.inspect shows it', () => {
    assert.deepEqual(logParts({ order: 7 }, undefined), { message: '{ order: 7 }', data: null });
    assert.deepEqual(logParts(undefined, 'swapped'), { message: 'undefined', data: '"swapped"' });
    assert.deepEqual(logParts('text', { n: 1 }), { message: 'text', data: '{"n":1}' });
  });

  it('an error is the message and the data', () => {
    const { message, data } = logParts(new TypeError('boom'), undefined);
    assert.equal(message, 'TypeError: boom');
    assert.match(String(data), /"stack":"TypeError: boom/);
    assert.deepEqual(logParts(new TypeError('boom'), { order: 7 }), {
      message: 'TypeError: boom',
      data: '{"order":7}',
    });
  });
});
