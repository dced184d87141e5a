import { StringDecoder } from 'node:string_decoder';
import type { Readable } from 'node:stream';
import { plain } from '../../core/plain.ts';
import type { Clock } from '../../engine/clock.ts';
import type { TaskCall } from '../../engine/workflow-code.ts';
import { Lines } from './lines.ts';

const maxLinesPerSecond = 1000;
const tailLength = 4096;

/**
 * Passes on the output of a process on one of its streams, line by line, with the task that wrote a line if it is known.
 * Bounded: beyond 1,000 lines within a second the rest is only counted. Control characters are escaped.
 */
export class OutputLines {
  readonly #clock: Clock;
  readonly #pass: (line: string, call: TaskCall | undefined) => void;
  readonly #decoder = new StringDecoder('utf8');
  readonly #lines = new Lines((line) => this.#passOn(line, undefined));
  #tail = '';
  #second = 0;
  #count = 0;
  #dropped = 0;

  /** `stream` has the output of no task: of code that loads, of timers, and what is written past `process.stdout`. */
  constructor(stream: Readable, clock: Clock, pass: (line: string, call: TaskCall | undefined) => void) {
    this.#clock = clock;
    this.#pass = pass;
    stream.on('data', (chunk: Buffer) => this.#take(this.#decoder.write(chunk)));
    stream.on('end', () => this.#end());
    stream.on('error', () => undefined); // the pipe of an ended process; its exit is reported elsewhere
  }

  /** The last output, at most 4096 characters. */
  get tail(): string {
    return plain(this.#tail.trim());
  }

  /** A line that a task wrote, which does not come through the stream; `call` is undefined if that task has ended. */
  told(line: string, call: TaskCall | undefined): void {
    this.#keep(`${line}\n`);
    this.#passOn(line, call);
  }

  #take(text: string): void {
    this.#keep(text);
    this.#lines.take(text);
  }

  #keep(text: string): void {
    this.#tail = (this.#tail + text).slice(-tailLength);
  }

  #passOn(line: string, call: TaskCall | undefined): void {
    const second = Math.floor(this.#clock.monotonic() / 1000);
    if (second !== this.#second) {
      this.#tellDropped();
      this.#second = second;
      this.#count = 0;
    }
    if (++this.#count > maxLinesPerSecond) this.#dropped++;
    else this.#pass(plain(line), call);
  }

  #end(): void {
    this.#take(this.#decoder.end());
    this.#lines.end();
    this.#tellDropped();
  }

  #tellDropped(): void {
    if (this.#dropped > 0) {
      this.#pass(`(${this.#dropped} lines were dropped: more than ${maxLinesPerSecond} a second)`, undefined);
    }
    this.#dropped = 0;
  }
}
