import { StringDecoder } from 'node:string_decoder';
import type { Readable } from 'node:stream';
import { plain } from '../../core/plain.ts';
import type { Clock } from '../../engine/clock.ts';

const maxLineLength = 8192;
const maxLinesPerSecond = 1000;
const tailLength = 4096;

/**
 * Passes on the output of a process on one of its streams, line by line. Bounded: a line is truncated after 8192
 * characters, and beyond 1,000 lines within a second the rest is only counted. Control characters are escaped.
 */
export class OutputLines {
  readonly #clock: Clock;
  readonly #line: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  #open = '';
  #cut = false;
  #tail = '';
  #second = 0;
  #count = 0;
  #dropped = 0;

  constructor(stream: Readable, clock: Clock, line: (line: string) => void) {
    this.#clock = clock;
    this.#line = line;
    stream.on('data', (chunk: Buffer) => this.#take(this.#decoder.write(chunk)));
    stream.on('end', () => this.#end());
    stream.on('error', () => undefined); // the pipe of an ended process; its exit is reported elsewhere
  }

  /** The last output, at most 4096 characters. */
  get tail(): string {
    return plain(this.#tail.trim());
  }

  #take(text: string): void {
    this.#tail = (this.#tail + text).slice(-tailLength);
    const [first = '', ...rest] = text.split('\n');
    this.#extend(first);
    for (const part of rest) {
      this.#close();
      this.#extend(part);
    }
  }

  #extend(part: string): void {
    const space = maxLineLength - this.#open.length;
    if (part.length > space) this.#cut = true;
    this.#open += part.slice(0, Math.max(0, space));
  }

  #close(): void {
    const line = this.#open.replace(/\r$/, '') + (this.#cut ? '... (cut)' : '');
    this.#open = '';
    this.#cut = false;
    const second = Math.floor(this.#clock.monotonic() / 1000);
    if (second !== this.#second) {
      this.#tellDropped();
      this.#second = second;
      this.#count = 0;
    }
    if (++this.#count > maxLinesPerSecond) this.#dropped++;
    else if (line !== '') this.#line(plain(line));
  }

  #end(): void {
    this.#take(this.#decoder.end());
    if (this.#open !== '') this.#close();
    this.#tellDropped();
  }

  #tellDropped(): void {
    if (this.#dropped > 0) this.#line(`(${this.#dropped} lines were dropped: more than ${maxLinesPerSecond} a second)`);
    this.#dropped = 0;
  }
}
