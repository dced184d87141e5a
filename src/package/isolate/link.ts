import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers';
import { batchBytes, batchHeaderLength, batchMessages, checkMessages, trusted } from './bounds.ts';
import type { FrameBounds } from './bounds.ts';

// saved before the code of a package is loaded, which may replace the globals
const { parse, stringify } = JSON;

const prefixBytes = 8;

export interface LinkEvents {
  message(message: unknown, texts: readonly string[]): void;
  /** The input was no frame, or the message handler threw: nothing more is read. */
  fault(error: unknown): void;
}

/**
 * Messages over a byte stream. A frame is two lengths (uint32, little endian: header, body), then the header, JSON
 * `[[message, ...lengths of its texts], ...]`, then the concatenated texts as UTF-8: a payload, JSON text itself, is
 * never escaped and parsed a second time (3 MB, half of it quotes: 140 ms round trip that way, 13 this way). All
 * messages of one turn of the event loop are sent as one frame: with 32 concurrent calls a round trip costs 14 us
 * instead of 150 us. A raw pipe is as fast as Node's own IPC with small messages, does not expose `process.send` to the
 * package, and deserializes only JSON.
 */
export class Link {
  readonly #stream: Duplex;
  readonly #events: LinkEvents;
  readonly #bounds: FrameBounds;
  #heads: string[] = [];
  #headLength = 0;
  #texts: string[] = [];
  #size = 0;
  #scheduled = false;
  #parts: Buffer[] = [];
  #have = 0;
  #broken = false;

  /** `bounds`: of incoming frames; default those of a host. */
  constructor(stream: Duplex, events: LinkEvents, bounds: FrameBounds = trusted) {
    this.#bounds = bounds;
    this.#stream = stream;
    this.#events = events;
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  send(message: object, texts: readonly string[] = []): void {
    const lengths = texts.map((text) => Buffer.byteLength(text));
    const size = lengths.reduce((sum, length) => sum + length, 0);
    const head = stringify([message, ...lengths]);
    if (!this.#hasRoom(size, head.length)) this.#flush();
    this.#heads.push(head);
    this.#headLength += head.length + 1;
    for (const text of texts) this.#texts.push(text);
    this.#size += size;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  /** Sends the gathered messages now: the process may end before the turn does. */
  flush(): void {
    this.#flush();
  }

  /** Returns true if one more message fits into the frame that is being gathered. */
  #hasRoom(size: number, headLength: number): boolean {
    if (this.#heads.length >= batchMessages || this.#headLength + headLength > batchHeaderLength) return false;
    return this.#size === 0 || this.#size + size <= batchBytes;
  }

  #flush(): void {
    if (this.#heads.length === 0) return;
    const header = `[${this.#heads.join(',')}]`;
    const headerBytes = Buffer.byteLength(header);
    const frame = Buffer.allocUnsafe(prefixBytes + headerBytes + this.#size);
    frame.writeUInt32LE(headerBytes, 0);
    frame.writeUInt32LE(this.#size, 4);
    let at = prefixBytes + frame.write(header, prefixBytes);
    for (const text of this.#texts) at += frame.write(text, at);
    this.#heads = [];
    this.#headLength = 0;
    this.#texts = [];
    this.#size = 0;
    if (this.#stream.writable) this.#stream.write(frame);
  }

  #take(chunk: Buffer): void {
    if (this.#broken) return;
    this.#parts.push(chunk);
    this.#have += chunk.length;
    try {
      while (this.#next());
    } catch (error) {
      this.#broken = true;
      this.#parts = [];
      this.#events.fault(error);
    }
  }

  /** Reads one frame; returns false if it is incomplete. */
  #next(): boolean {
    if (this.#have < prefixBytes) return false;
    if (this.#parts[0]!.length < prefixBytes) this.#gather();
    const headerBytes = this.#parts[0]!.readUInt32LE(0);
    const bodyBytes = this.#parts[0]!.readUInt32LE(4);
    checkLength('header', headerBytes, this.#bounds.headerBytes);
    checkLength('body', bodyBytes, this.#bounds.bodyBytes());
    const end = prefixBytes + headerBytes + bodyBytes;
    if (this.#have < end) return false;
    if (this.#parts.length > 1) this.#gather();
    const frame = this.#parts[0]!;
    this.#parts = frame.length > end ? [frame.subarray(end)] : [];
    this.#have = frame.length - end;
    this.#deliver(
      frame.subarray(prefixBytes, prefixBytes + headerBytes),
      frame.subarray(prefixBytes + headerBytes, end),
    );
    return true;
  }

  #gather(): void {
    this.#parts = [Buffer.concat(this.#parts, this.#have)];
  }

  #deliver(header: Buffer, body: Buffer): void {
    const text = header.toString('utf8');
    checkMessages(text, this.#bounds);
    const heads: unknown = parse(text);
    if (!Array.isArray(heads)) throw new Error('a frame whose header is not a list');
    let at = 0;
    for (const head of heads as readonly unknown[]) {
      if (!Array.isArray(head)) throw new Error('a frame whose header holds no messages');
      const [message, ...lengths] = head as readonly unknown[];
      const texts: string[] = [];
      for (const length of lengths) {
        const end = at + Number(length);
        if (!(end >= at && end <= body.length)) throw new Error('a frame with a text outside of its body');
        texts.push(body.toString('utf8', at, end));
        at = end;
      }
      this.#events.message(message, texts);
    }
  }
}

/** Refuses a frame by its lengths, before the rest of it is read. */
function checkLength(part: string, bytes: number, limit: number): void {
  if (bytes > limit) throw new Error(`a frame with a ${part} of ${bytes} bytes; the limit is ${limit}`);
}
