import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import type { Clock } from '../../engine/clock.ts';
import { Heartbeat } from './heartbeat.ts';
import { MemoryWatch } from './memory.ts';
import { OutputLines } from './output.ts';
import { joinCall, readToHost, splitCall } from './protocol.ts';
import { ProcessLimit } from './process-limit.ts';

/** A clock with one timer at a time, which the test fires. */
class OneTimerClock implements Clock {
  time = 0;
  #fire: (() => void) | undefined;
  #at = 0;

  now(): number {
    return this.time;
  }

  monotonic(): number {
    return this.time;
  }

  timer(delayMs: number, fire: () => void): { cancel(): void } {
    this.#fire = fire;
    this.#at = this.time + delayMs;
    return { cancel: () => (this.#fire = undefined) };
  }

  get isSet(): boolean {
    return this.#fire !== undefined;
  }

  /** Fires the timer, `lateMs` after it is due. */
  fire(lateMs = 0): void {
    this.time = this.#at + lateMs;
    const fire = this.#fire;
    this.#fire = undefined;
    fire?.();
  }
}

function heartbeat(): {
  clock: OneTimerClock;
  beat: Heartbeat;
  counts: Record<'pings' | 'stalls', number>;
} {
  const clock = new OneTimerClock();
  const counts = { pings: 0, stalls: 0 };
  const beat = new Heartbeat({
    clock,
    stallMs: 30_000,
    ping: () => counts.pings++,
    stalled: () => counts.stalls++,
  });
  return { clock, beat, counts };
}

describe('durability.md, Poison suspects: an isolate that does not answer for isolateStall is ended', () => {
  test('an isolate is stalled after a whole isolateStall of silence, and pinged meanwhile', () => {
    const { clock, beat, counts } = heartbeat();
    beat.start();
    while (counts.stalls === 0) clock.fire();
    assert.ok(clock.time >= 30_000 && clock.time <= 32_000, String(clock.time));
    assert.ok(counts.pings >= 4);
    assert.equal(clock.isSet, false);
  });

  test('any message restarts the time', () => {
    const { clock, beat, counts } = heartbeat();
    beat.start();
    for (let i = 0; i < 100; i++) {
      beat.heard();
      for (let k = 0; k < 20; k++) clock.fire();
    }
    assert.equal(counts.stalls, 0);
  });

  test('a host that was blocked itself does not blame the isolate for the silence', () => {
    const { clock, beat, counts } = heartbeat();
    beat.start();
    clock.fire();
    for (let i = 0; i < 10; i++) clock.fire(60_000);
    assert.equal(counts.stalls, 0);
  });

  test('it pings once at each start, and never after its stop', () => {
    const { clock, beat, counts } = heartbeat();
    beat.start();
    beat.start();
    assert.equal(counts.pings, 1);
    beat.stop();
    assert.equal(clock.isSet, false);
  });
});

describe('registry.md, Isolation: the memory of a process is bounded', () => {
  test('a process that reports too much memory itself is reported', () => {
    const reported: number[] = [];
    const watch = new MemoryWatch({
      clock: new OneTimerClock(),
      limitMb: 100,
      over: (heldMb) => reported.push(heldMb),
    });
    assert.equal(watch.reported(100 * 1_048_576), false);
    assert.equal(watch.reported(150 * 1_048_576), true);
    assert.deepEqual(reported, [150]);
  });

  test('an ended process is not measured', () => {
    const clock = new OneTimerClock();
    const watch = new MemoryWatch({ clock, limitMb: 1, over: () => assert.fail('nothing is known of it') });
    watch.start(2 ** 30);
    clock.fire();
    assert.equal(clock.isSet, false);
  });
});

describe('registry.md: isolates are bounded in number', () => {
  test('places are given in order; a cancelled wait is skipped', () => {
    const room = new ProcessLimit(1);
    const begun: string[] = [];
    room.enter(() => begun.push('a'));
    const cancel = room.enter(() => begun.push('b'));
    room.enter(() => begun.push('c'));
    cancel();
    assert.deepEqual(begun, ['a']);
    room.leave();
    assert.deepEqual(begun, ['a', 'c']);
    room.leave();
    room.enter(() => begun.push('d'));
    assert.deepEqual(begun, ['a', 'c', 'd']);
  });

  test('a waiting call gets the place of the process that was idle the longest', () => {
    const room = new ProcessLimit(3);
    const [a, b, c] = [{}, {}, {}];
    const evicted: string[] = [];
    for (let i = 0; i < 3; i++) room.enter(() => undefined);
    room.idle(a, () => evicted.push('a'));
    room.idle(b, () => evicted.push('b'));
    room.busy(a);
    room.enter(() => undefined);
    assert.deepEqual(evicted, ['b']);
    room.enter(() => undefined);
    assert.deepEqual(evicted, ['b'], 'a busy process is left alone');
    room.idle(c, () => evicted.push('c'));
    assert.deepEqual(evicted, ['b', 'c'], 'a process that becomes idle while a call waits is ended at once');
  });
});

function tap(): { clock: OneTimerClock; stream: PassThrough; output: OutputLines; lines: string[] } {
  const clock = new OneTimerClock();
  const stream = new PassThrough();
  const lines: string[] = [];
  return { clock, stream, output: new OutputLines(stream, clock, (line) => lines.push(line)), lines };
}

describe('registry.md, Isolation: output of a package goes to the logger line by line', () => {
  test('lines are joined from pieces, also within a character; the last needs no line end', async () => {
    const { stream, output, lines } = tap();
    const bytes = Buffer.from('one ☃\r\n\ntwo\nlast');
    for (const byte of bytes) stream.write(Buffer.from([byte]));
    stream.end();
    await new Promise((resolve) => stream.once('end', resolve));
    assert.deepEqual(lines, ['one ☃', 'two', 'last']);
    assert.equal(output.tail, 'one ☃\n\ntwo\nlast');
  });

  test('control characters are escaped, in lines and in the tail that an error quotes', async () => {
    const { stream, output, lines } = tap();
    stream.end('\u001b[2Jgone\u009b1A\u202e\n');
    await new Promise((resolve) => stream.once('end', resolve));
    assert.deepEqual([...lines, output.tail], Array(2).fill('\\u001b[2Jgone\\u009b1A\\u202e'));
  });

  test('lines beyond 1,000 a second are counted', async () => {
    const { clock, stream, lines } = tap();
    stream.write('x\n'.repeat(2500));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(lines.length, 1000);
    clock.time = 1000;
    stream.write('again\n');
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(lines.slice(1000), ['(1500 lines were dropped: more than 1000 a second)', 'again']);
  });

  test('a line without an end takes no memory', async () => {
    const { stream, output, lines } = tap();
    for (let i = 0; i < 100; i++) stream.write('y'.repeat(10_000));
    stream.end('\n');
    await new Promise((resolve) => stream.once('end', resolve));
    assert.equal(lines[0]?.length, 8192 + '... (cut)'.length);
    assert.equal(output.tail.length, 4096 - 1);
  });
});

describe('registry.md, Limits: messages of a guest are checked before use', () => {
  const error = { name: 'Error', code: 'X', message: 'm' };
  const refused: readonly (readonly [unknown, readonly string[]])[] = [
    [null, []],
    [7, []],
    [{ kind: 'else' }, []],
    [{ kind: 'completed', id: 1 }, []],
    [{ kind: 'completed', id: '1' }, ['1']],
    [{ kind: 'completed', id: -1 }, ['1']],
    [{ kind: 'failed', id: 1, error: { ...error, message: 1 }, retryable: true, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error: { ...error, cause: 'x' }, retryable: true, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error: { ...error, stack: 1 }, retryable: true, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error: [], retryable: true, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error: { ...error, errors: 'x' }, retryable: true, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error: { ...error, errors: [error, 'x'] }, retryable: true, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error: { ...error, omittedCauses: '1' }, retryable: true, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error: { ...error, resource: 1 }, retryable: true, retryAfter: null }, []],
    [{ kind: 'step', id: 1, ref: 1, name: 'x'.repeat(1001) }, []],
    [{ kind: 'save', id: 1, ref: 1, name: 'x'.repeat(1001) }, ['1']],
    [{ kind: 'failed', id: 1, error, retryable: 1, retryAfter: null }, []],
    [{ kind: 'failed', id: 1, error, retryable: true, retryAfter: -5 }, []],
    [{ kind: 'invalid', id: 1, issues: [{ path: 1, message: '' }] }, []],
    [{ kind: 'save', id: 1, ref: 1, name: 'x' }, []],
    [{ kind: 'step', id: 1, ref: 1, name: 7 }, []],
    [{ kind: 'log', id: 1, level: 'fatal', message: '' }, []],
    [{ kind: 'output', id: 1, stream: 'stdin', line: '' }, []],
    [{ kind: 'output', id: 1, stream: 'stdout', line: 1 }, []],
    [{ kind: 'progress', id: 1, done: null, text: null }, []],
    [{ kind: 'refused', error: {} }, []],
    [{ kind: 'loaded' }, []],
  ];
  test('messages of another shape are refused', () => {
    for (const [message, texts] of refused) assert.throws(() => readToHost(message, texts), JSON.stringify(message));
    const deep = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) as unknown;
    assert.throws(() => readToHost({ kind: deep }, []), /malformed message of kind object/);
    const denied = { ...error, permission: 'FileSystemWrite', resource: '/tmp/x' };
    const whole = { ...error, omittedCauses: 2, cause: denied, errors: [error, denied], omittedErrors: 3 };
    const failed = { kind: 'failed', id: 1, error: whole, retryable: true, retryAfter: 5 };
    assert.deepEqual(readToHost(failed, []), failed);
  });

  test('errors and issues are rebuilt, with their fields and within bounds', () => {
    const head = { kind: 'failed', id: 1, retryable: true, retryAfter: null };
    let deep: object = { ...error, message: 'first', extra: 'x' };
    for (let i = 0; i < 20_000; i++) deep = { ...error, cause: deep };
    const failed = readToHost({ ...head, error: deep }, []);
    assert.ok(failed.kind === 'failed');
    const { cause, ...rest } = failed.error;
    assert.deepEqual(rest, error);
    assert.ok(JSON.stringify(cause).length < 1000);
    const long = readToHost({ ...head, error: { ...error, name: 'n'.repeat(900), stack: 's\0'.repeat(90_000) } }, []);
    assert.ok(long.kind === 'failed' && long.error.name.length === 200 && long.error.stack!.length === 16_384);
    assert.ok(!long.error.stack!.includes('\0'));
    let wide: object = error;
    for (let i = 0; i < 4; i++) wide = { ...error, errors: Array.from({ length: 20 }, () => wide), extra: 'x' };
    const parted = readToHost({ ...head, error: wide }, []);
    assert.ok(parted.kind === 'failed' && parted.error.errors?.length === 16 && parted.error.omittedErrors === 4);
    assert.equal(JSON.stringify(parted.error).match(/"message"/g)?.length, 64);
    assert.doesNotMatch(JSON.stringify(parted), /extra/);
    const issue = { path: 'p'.repeat(9000), message: 'm'.repeat(9000), extra: 1 };
    const invalid = readToHost({ kind: 'invalid', id: 1, issues: Array.from({ length: 5000 }, () => issue) }, []);
    assert.ok(invalid.kind === 'invalid' && invalid.issues.length === 100);
    assert.deepEqual([invalid.issues[0]!.path.length, invalid.issues[0]!.message.length], [256, 1024]);
    assert.deepEqual(invalid.issues[99], { path: '', message: 'and 4901 more' });
  });

  test('a call is the same after the transfer', () => {
    const call = {
      executionId: 'e',
      workflow: 'w',
      task: 't',
      item: 2,
      itemValue: '"item"',
      epoch: 1,
      attempt: 2,
      idempotencyKey: 'k',
      input: '{}',
      needs: [
        ['a', '1'],
        ['b', '2'],
      ] as const,
      schedule: null,
      maxPayload: 5,
      alone: false,
    };
    for (const one of [call, { ...call, item: null, itemValue: null }, { ...call, needs: [] }]) {
      const { head, texts } = splitCall(one);
      assert.deepEqual(joinCall(JSON.parse(JSON.stringify(head)) as typeof head, texts), one);
    }
  });
});
