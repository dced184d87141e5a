import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex, PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import { batchBytes, maxHeaderBytes, maxMessages } from './bounds.ts';
import type { FrameBounds } from './bounds.ts';
import { Link } from './link.ts';

interface Received {
  readonly message: unknown;
  readonly texts: readonly string[];
}

/** A link that writes its frames to `sent` and reads data written to `incoming`. */
function linkOn(bounds?: FrameBounds): {
  link: Link;
  incoming: PassThrough;
  sent: Buffer[];
  received: Received[];
  faults: unknown[];
} {
  const incoming = new PassThrough();
  const outgoing = new PassThrough();
  const sent: Buffer[] = [];
  outgoing.on('data', (chunk: Buffer) => sent.push(chunk));
  const received: Received[] = [];
  const faults: unknown[] = [];
  const link = new Link(
    Duplex.from({ readable: incoming, writable: outgoing }),
    {
      message: (message, texts) => received.push({ message, texts }),
      fault: (error) => faults.push(error),
    },
    bounds,
  );
  return { link, incoming, sent, received, faults };
}

async function turn(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function framesOf(messages: readonly (readonly [object, readonly string[]])[]): Promise<Buffer> {
  const { link, sent } = linkOn();
  for (const [message, texts] of messages) link.send(message, texts);
  await turn();
  return Buffer.concat(sent);
}

function prefixed(headerBytes: number, bodyBytes: number, rest: string): Buffer {
  const prefix = Buffer.alloc(8);
  prefix.writeUInt32LE(headerBytes, 0);
  prefix.writeUInt32LE(bodyBytes, 4);
  return Buffer.concat([prefix, Buffer.from(rest)]);
}

describe('registry.md: small calls are gathered into one message per turn of the event loop', () => {
  test('messages of one turn are one frame, and arrive in order with their texts', async () => {
    const { link, sent } = linkOn();
    link.send({ n: 1 }, ['"ä"', '']);
    link.send({ n: 2 });
    link.send({ n: 3 }, ['☃']);
    await turn();
    assert.equal(sent.length, 1);
    link.send({ n: 4 });
    await turn();
    assert.equal(sent.length, 2);
    const other = linkOn();
    for (const frame of sent) other.incoming.write(frame);
    await turn();
    assert.deepEqual(other.received, [
      { message: { n: 1 }, texts: ['"ä"', ''] },
      { message: { n: 2 }, texts: [] },
      { message: { n: 3 }, texts: ['☃'] },
      { message: { n: 4 }, texts: [] },
    ]);
  });

  test('frames may arrive in pieces of any size', async () => {
    const bytes = Buffer.concat([await framesOf([[{ a: 'ä☃' }, ['"☃☃"']]]), await framesOf([[{ b: 1 }, []]])]);
    for (const size of [1, 3, 7, 8, 9, bytes.length]) {
      const { incoming, received } = linkOn();
      for (let at = 0; at < bytes.length; at += size) {
        incoming.write(bytes.subarray(at, at + size));
        await turn();
      }
      assert.deepEqual(
        received,
        [
          { message: { a: 'ä☃' }, texts: ['"☃☃"'] },
          { message: { b: 1 }, texts: [] },
        ],
        `pieces of ${size}`,
      );
    }
  });

  test('a turn that gathers more than 8 MiB goes out in several frames', async () => {
    const { link, sent, incoming, received } = linkOn();
    const text = 'x'.repeat(3_000_000);
    for (let n = 0; n < 5; n++) link.send({ n }, [text]);
    await turn();
    const whole = Buffer.concat(sent);
    assert.ok(whole.readUInt32LE(4) <= 8_388_608);
    incoming.write(whole);
    await turn();
    assert.deepEqual(
      received.map(({ message }) => message),
      [0, 1, 2, 3, 4].map((n) => ({ n })),
    );
  });

  test('a turn that gathers many messages, or long ones, goes out in frames that the reader of a guest takes', async () => {
    const { link, sent } = linkOn();
    for (let n = 0; n < 20_000; n++) link.send({ n });
    for (let n = 0; n < 10; n++) link.send({ n, text: 'x'.repeat(100_000) });
    await turn();
    assert.ok(sent.length > 5);
    const bounds = { headerBytes: maxHeaderBytes, messages: maxMessages, bodyBytes: () => batchBytes };
    const reader = linkOn(bounds);
    for (const frame of sent) reader.incoming.write(frame);
    await turn();
    assert.deepEqual([reader.received.length, reader.faults], [20_010, []]);
  });

  test('nothing is written to an ended stream', async () => {
    let written = 0;
    const stream = new PassThrough({ allowHalfOpen: false });
    stream.on('error', () => undefined);
    const link = new Link(stream, { message: () => written++, fault: () => written++ });
    stream.destroy();
    await once(stream, 'close');
    link.send({ n: 1 });
    await turn();
    assert.equal(written, 0);
  });
});

describe('registry.md, Limits: messages of a guest are checked before use', () => {
  const refused: readonly (readonly [string, Buffer, RegExp])[] = [
    ['a header beyond the limit', prefixed(1001, 0, ''), /a header of 1001 bytes; the limit is 1000/],
    ['a body beyond the limit', prefixed(10, 2001, ''), /a body of 2001 bytes; the limit is 2000/],
    ['more messages than a frame may have', prefixed(28, 0, '[{},{},{},{},{},{},{},{},{}]'), /more than 5 messages/],
    ['a header that is no JSON', prefixed(3, 0, '{{{'), /JSON/],
    ['a header that is no list', prefixed(2, 0, '{}'), /header is not a list/],
    ['a message that is no list', prefixed(3, 0, '[1]'), /holds no messages/],
    ['a text that ends beyond the body', prefixed(9, 2, '[[{},3]]  x'), /outside of its body/],
    ['a text of negative length', prefixed(9, 2, '[[{},-1]]xx'), /outside of its body/],
  ];
  for (const [name, bytes, pattern] of refused) {
    test(`${name} is a fault, after which nothing is read`, async () => {
      const bounds = { headerBytes: 1000, messages: 5, bodyBytes: () => 2000 };
      const { incoming, received, faults } = linkOn(bounds);
      incoming.write(bytes);
      await turn();
      assert.equal(faults.length, 1);
      assert.match(String(faults[0]), pattern);
      incoming.write(await framesOf([[{ n: 1 }, []]]));
      await turn();
      assert.deepEqual([received, faults.length], [[], 1]);
    });
  }
});
