import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { boundTaskError, reasonBelow, reviveError } from './task-error.ts';
import { toTaskError } from './foreign/thrown.ts';
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
    assert.equal(toTaskError(Object.assign(new Error('x'), { code: '' })).code, 'TASK_FAILED');
  });

  for (const [what, thrown, shown] of [
    ['a string', 'plain text', /"plain text"/],
    ['undefined', undefined, /undefined/],
    ['null', null, /null/],
    ['a number', 42, /42/],
    ['an object', { reason: 'x' }, /\{ reason: 'x' \}/],
    ['a symbol', Symbol('odd'), /Symbol\(odd\)/],
    ['a BigInt', 10n, /10/],
  ] as const) {
    it(`${what} as a thrown value becomes an error that shows it`, () => {
      const stored = toTaskError(thrown);
      assert.equal(stored.code, 'TASK_FAILED');
      assert.match(stored.message, shown);
    });
  }

  it('a number as the code of an error is kept as text, except that of a DOMException', () => {
    assert.equal(toTaskError(Object.assign(new Error('duplicate key'), { code: 11000 })).code, '11000');
    assert.equal(toTaskError(Object.assign(new Error('x'), { code: 0.5 })).code, 'TASK_FAILED');
    const { name, code } = toTaskError(new DOMException('the operation was aborted', 'AbortError'));
    assert.deepEqual([name, code], ['AbortError', 'TASK_FAILED']);
  });

  it('an object with a cycle as a thrown value is shown, like a Map and a function', () => {
    const cycle: { a: number; self?: unknown } = { a: 1 };
    cycle.self = cycle;
    assert.match(toTaskError(cycle).message, /<ref \*1> \{ a: 1, self: \[Circular \*1\] \}/);
    assert.match(toTaskError(new Map([['a', 1]])).message, /Map\(1\) \{ 'a' => 1 \}/);
    assert.match(toTaskError({ id: 7n }).message, /\{ id: 7n \}/);
  });

  it('an error without a message has its code or its name as message', () => {
    assert.equal(toTaskError(new TypeError()).message, 'TypeError');
    assert.equal(toTaskError(Object.assign(new Error(), { code: 'ECONNRESET' })).message, 'ECONNRESET');
  });

  it('a missing permission of Node is kept with the thing that was accessed, of this code only', () => {
    const denied = { code: 'ERR_ACCESS_DENIED', permission: 'FileSystemWrite', resource: '/tmp/report.csv' };
    const { permission, resource } = toTaskError(Object.assign(new Error('restricted'), denied));
    assert.deepEqual([permission, resource], ['FileSystemWrite', '/tmp/report.csv']);
    assert.equal(toTaskError(Object.assign(new Error('x'), { ...denied, code: 'E' })).resource, undefined);
  });

  it('each error of a cycle of causes is kept once', () => {
    const own = new Error('own');
    own.cause = own;
    assert.equal(toTaskError(own).cause, undefined);
    const a = new Error('a');
    a.cause = new Error('b', { cause: a });
    const stored = toTaskError(a);
    assert.deepEqual([stored.message, stored.cause?.message, stored.cause?.cause], ['a', 'b', undefined]);
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
  });

  it('of a long chain of causes the first and the root are kept, and the number of the others', () => {
    let short = new Error('root');
    for (let i = 0; i < 50; i++) short = new Error(`because ${i}`, { cause: short });
    const chain: TaskError[] = [];
    for (let at: TaskError | undefined = toTaskError(short); at !== undefined; at = at.cause) chain.push(at);
    const messages = [49, 48, 47, 46, 45, 44, 43, 42].map((i) => `because ${i}`);
    assert.deepEqual(
      chain.map(({ message }) => message),
      [...messages, 'root'],
    );
    assert.deepEqual(
      chain.map(({ omittedCauses = 0 }) => omittedCauses),
      [0, 0, 0, 0, 0, 0, 0, 42, 0],
    );
    const wrapped = boundTaskError({ name: 'Error', code: 'X', message: 'item 3 failed', cause: chain[0]! });
    assert.equal(causesOf(wrapped), 8);
    assert.equal(JSON.stringify(wrapped).match(/"message":"root"/g)?.length, 1);
    assert.match(JSON.stringify(wrapped), /"omittedCauses":43/);
  });

  it('every error of a chain of large ones has its name, its code and the beginning of its message', () => {
    let error = new Error(`root ${'x'.repeat(100_000)}`);
    for (let i = 0; i < 8; i++) error = new Error(`because ${i} ${'x'.repeat(100_000)}`, { cause: error });
    const stored = toTaskError(error);
    assert.match(JSON.stringify(stored), /"message":"root x{400}/);
    assert.deepEqual(boundTaskError(stored), stored);
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

  it('the conversion is stable: a stored error is bounded already', () => {
    const errors = fc.letrec<{ error: Error; value: unknown }>((tie) => ({
      error: fc
        .tuple(fc.string({ maxLength: 40_000 }), fc.array(tie('value'), { maxLength: 30 }), tie('value'))
        .map(([message, parts, cause]) => new AggregateError(parts, message, { cause })),
      value: fc.oneof({ maxDepth: 4 }, fc.string(), fc.constant(undefined), tie('error')),
    }));
    fc.assert(
      fc.property(errors.error, (error) => {
        const stored = toTaskError(error);
        assert.deepEqual(boundTaskError(stored), stored);
        assert.ok(JSON.stringify(stored).length < 500_000);
        assert.deepEqual(toTaskError(reviveError(stored)).message, stored.message);
      }),
      { numRuns: 50 },
    );
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

describe('engine.md, states: the errors that an error holds are stored beside its cause', () => {
  it('the parts of an AggregateError keep name, code, message, stack and cause', async () => {
    const thrown = await Promise.any([
      Promise.reject(Object.assign(new TypeError('eu: 503', { cause: new Error('down') }), { code: 'E_EU' })),
      Promise.reject('us: 504'),
    ]).catch((error: unknown) => error);
    const { message, code, errors = [] } = toTaskError(thrown);
    assert.deepEqual([message, code, errors.length], ['All promises were rejected', 'TASK_FAILED', 2]);
    const [eu, us] = errors;
    assert.deepEqual([eu?.name, eu?.code, eu?.message, eu?.cause?.message], ['TypeError', 'E_EU', 'eu: 503', 'down']);
    assert.match(eu?.stack ?? '', /task-error\.test\.ts/);
    assert.equal(us?.message, 'a task threw "us: 504"');
  });

  it('an empty message is made of those of the parts', () => {
    const parts = ['connect ECONNREFUSED ::1:5432', 'connect ECONNREFUSED 127.0.0.1:5432'];
    const refused = new AggregateError(parts.map((part) => new Error(part)));
    const stored = toTaskError(Object.assign(refused, { code: 'ECONNREFUSED' }));
    assert.deepEqual([stored.code, stored.message], ['ECONNREFUSED', parts.join('; ')]);
    assert.equal(toTaskError(new AggregateError([refused])).message, parts.join('; '));
    assert.equal(toTaskError(new AggregateError([])).message, 'AggregateError');
  });

  it('an error that an error at disposal suppressed is kept with it', () => {
    const stored = toTaskError(new SuppressedError(new Error('close failed'), new Error('the reason'), 'both'));
    assert.deepEqual(
      stored.errors?.map(({ message }) => message),
      ['close failed', 'the reason'],
    );
  });

  it('issues and fields that a library keeps as errors are left out', () => {
    for (const errors of [[{ path: ['a'], message: 'wrong' }], { a: 'wrong' }, 'wrong']) {
      assert.equal(toTaskError(Object.assign(new Error('invalid'), { errors })).errors, undefined);
    }
    const some = Object.assign(new Error('build failed'), { errors: [{ text: 'x' }, new Error('a.ts:1')] });
    assert.deepEqual(
      toTaskError(some).errors?.map(({ message }) => message),
      ['a.ts:1'],
    );
  });

  it('the first 16 parts and 64 errors in all are kept, and the number of the others', () => {
    const wide = new AggregateError(
      Array.from({ length: 20 }, (_, i) => new Error(`part ${i}`)),
      'wide',
    );
    const stored = toTaskError(wide);
    assert.deepEqual([stored.errors?.length, stored.omittedErrors], [16, 4]);
    const deep = (levels: number): Error =>
      levels === 0
        ? new Error('leaf', { cause: new Error('root') })
        : new AggregateError(
            Array.from({ length: 16 }, () => deep(levels - 1)),
            `level ${levels}`,
          );
    const bounded = toTaskError(deep(3));
    assert.equal(JSON.stringify(bounded).match(/"message":/g)?.length, 64);
    assert.equal(bounded.errors?.length, 16);
    assert.deepEqual(boundTaskError(bounded), bounded);
  });

  it('an error that holds itself, or one that holds it, is kept once', () => {
    const outer = new AggregateError([], 'outer');
    const inner = new AggregateError([outer], 'inner', { cause: outer });
    outer.errors.push(outer, inner);
    const stored = toTaskError(outer);
    assert.deepEqual(
      stored.errors?.map(({ message }) => message),
      ['inner'],
    );
    assert.equal(stored.errors?.[0]?.cause, undefined);
    assert.equal(stored.errors?.[0]?.errors, undefined);
  });

  it('a revived error has its parts, as an AggregateError', () => {
    const thrown = new AggregateError([new TypeError('a')], 'all', { cause: new Error('why') });
    const revived = reviveError(toTaskError(thrown)) as AggregateError;
    assert.deepEqual(
      [revived.name, revived.message, revived instanceof AggregateError],
      ['AggregateError', 'all', true],
    );
    assert.equal((revived.errors[0] as Error).name, 'TypeError');
    assert.equal((revived.cause as Error).message, 'why');
  });

  it('the reason below an error is the root of its causes, or its parts', () => {
    const below = (thrown: unknown): string | null => reasonBelow(toTaskError(thrown));
    const signed = new Error('self-signed certificate');
    assert.equal(below(new Error('fetch failed', { cause: new Error('tls', { cause: signed }) })), signed.message);
    assert.equal(below(new AggregateError([new Error('eu'), new Error('us')], 'all rejected')), 'eu; us');
    assert.equal(
      below(new Error('failed', { cause: new AggregateError([new Error('eu')], 'all rejected') })),
      'all rejected; eu',
    );
    assert.equal(below(new Error(`failed: ${signed.message}`, { cause: signed })), null);
    assert.equal(below(new AggregateError([new Error('eu'), new Error('us')])), null);
    assert.equal(below(new Error('alone')), null);
  });
});
