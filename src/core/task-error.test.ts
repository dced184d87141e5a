import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { boundTaskError, toTaskError } from './task-error.ts';
import type { TaskError } from './task-error.ts';

function causesOf(error: TaskError): number {
  let count = 0;
  for (let at = error.cause; at !== undefined; at = at.cause) count++;
  return count;
}

describe('engine.md, states: an error is stored as { name, code, message, stack?, cause? }', () => {
  it('the error keeps name, message, stack and cause; without a code it gets TASK_FAILED', () => {
    const stored = toTaskError(new TypeError('bad', { cause: new Error('deeper') }));
    assert.equal(stored.name, 'TypeError');
    assert.equal(stored.code, 'TASK_FAILED');
    assert.equal(stored.message, 'bad');
    assert.match(stored.stack!, /task-error\.test\.ts/);
    assert.equal(stored.cause?.message, 'deeper');
  });

  it('the error keeps its own code, as Node and libraries set it', () => {
    assert.equal(toTaskError(Object.assign(new Error('x'), { code: 'ENOENT' })).code, 'ENOENT');
    assert.equal(toTaskError(Object.assign(new Error('x'), { code: 42 })).code, 'TASK_FAILED');
    assert.equal(toTaskError(Object.assign(new Error('x'), { code: '' })).code, 'TASK_FAILED');
  });

  for (const [what, thrown, shown] of [
    ['a string', 'plain text', /"plain text"/],
    ['undefined', undefined, /undefined/],
    ['null', null, /null/],
    ['a number', 42, /42/],
    ['an object', { reason: 'x' }, /"reason":"x"/],
    ['a symbol', Symbol('odd'), /Symbol\(odd\)/],
    ['a BigInt', 10n, /10/],
  ] as const) {
    it(`${what} as a thrown value becomes an error that shows it`, () => {
      const stored = toTaskError(thrown);
      assert.equal(stored.code, 'TASK_FAILED');
      assert.match(stored.message, shown);
    });
  }

  it('a cycle of causes ends', () => {
    const error = new Error('loop');
    error.cause = error;
    assert.ok(JSON.stringify(toTaskError(error)).length < 1_000_000);
  });

  it('the error is bounded', () => {
    const error = new Error('x'.repeat(10_000_000));
    assert.ok(JSON.stringify(toTaskError(error)).length < 100_000);
    assert.ok(JSON.stringify(toTaskError({ text: 'x'.repeat(10_000_000) })).length < 100_000);
  });

  it('the error is bounded with all of its causes: 8 of them, and 65,536 characters', () => {
    let error = new Error('x'.repeat(100_000));
    for (let i = 0; i < 50; i++) {
      error = new Error('\u0001'.repeat(100_000), { cause: error });
      error.name = 'N'.repeat(100_000);
    }
    const stored = toTaskError(error);
    assert.ok(JSON.stringify(stored).length < 500_000);
    let short = new Error('first');
    for (let i = 0; i < 50; i++) short = new Error(`because ${i}`, { cause: short });
    assert.equal(causesOf(toTaskError(short)), 8);
  });

  it('an error that is wrapped again and again stays bounded, whatever its depth was', () => {
    let wrapped: TaskError = { name: 'Error', code: 'X', message: 'first' };
    for (let i = 0; i < 50_000; i++) wrapped = { name: 'Error', code: 'X', message: `because ${i}`, cause: wrapped };
    const bounded = boundTaskError(wrapped);
    assert.equal(causesOf(bounded), 8);
    assert.equal(bounded.message, 'because 49999');
    assert.deepEqual(boundTaskError(bounded), bounded);
  });

  it('the error contains no NUL and no lone surrogate, not even at a cut', () => {
    const astral = `x${'\u{1F600}'.repeat(20_000)}`;
    for (const message of ['a\0b', 'a\uD800b', astral]) {
      const stored = toTaskError(new Error(message));
      assert.ok(stored.message.isWellFormed());
      assert.ok(!stored.message.includes('\0'));
    }
  });

  it('the conversion never throws, whatever was thrown', () => {
    const hostile = [
      Object.defineProperty(new Error('x'), 'message', {
        get: () => {
          throw new Error('no');
        },
      }),
      Object.assign(new Error('x'), { name: Symbol('s') }),
      Object.assign(new Error('x'), { message: { toString: () => assert.fail() } }),
      {
        toJSON: () => {
          throw new Error('no');
        },
      },
      new Proxy(
        {},
        {
          getPrototypeOf: () => {
            throw new Error('no');
          },
        },
      ),
      Object.create(null),
    ];
    for (const thrown of hostile) assert.equal(typeof toTaskError(thrown).message, 'string');
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withNullPrototype: true, withMap: true }), (thrown) => {
        assert.equal(typeof toTaskError(thrown).message, 'string');
      }),
    );
  });
});
