import { AsyncLocalStorage } from 'node:async_hooks';
import { StringDecoder } from 'node:string_decoder';
import { types } from 'node:util';
import { maxLogLines } from '../../../core/foreign/log-data.ts';
import { Lines } from '../lines.ts';
import type { OutputStream } from '../protocol.ts';

// saved before the code of a package is loaded, which may replace the globals
const nextTick = process.nextTick.bind(process);
const toBuffer = Buffer.from.bind(Buffer) as (content: string | Uint8Array, encoding?: string) => Buffer;

const running = new AsyncLocalStorage<TaskOutput>();

/** The output of one running task, until it ends or has as many lines as its log takes. */
class TaskOutput {
  readonly #streams: Readonly<Record<OutputStream, { readonly lines: Lines; readonly decoder: StringDecoder }>>;
  #left = maxLogLines;
  #ended = false;

  constructor(line: (stream: OutputStream, line: string) => void) {
    const open = (stream: OutputStream): { lines: Lines; decoder: StringDecoder } => {
      const lines = new Lines((text) => {
        this.#left--;
        line(stream, text);
      });
      return { lines, decoder: new StringDecoder('utf8') };
    };
    this.#streams = { stdout: open('stdout'), stderr: open('stderr') };
  }

  /** Takes a piece of output; false if it belongs to the process instead. */
  take(stream: OutputStream, chunk: unknown, encoding: unknown): boolean {
    if (this.#ended || this.#left <= 0) return false;
    const { lines, decoder } = this.#streams[stream];
    if (typeof chunk === 'string') lines.take(asUtf8(chunk, encoding, decoder));
    else if (types.isUint8Array(chunk)) lines.take(decoder.write(toBuffer(chunk)));
    else return false; // the stream throws its own error
    return true;
  }

  end(): void {
    for (const { lines } of Object.values(this.#streams)) lines.end();
    this.#ended = true;
  }
}

/** The text that a stream shows for a text of another encoding, such as base64. */
function asUtf8(text: string, encoding: unknown, decoder: StringDecoder): string {
  const isOther = typeof encoding === 'string' && !/^utf-?8$/i.test(encoding);
  return isOther ? decoder.write(toBuffer(text, encoding)) : text;
}

/** Runs a task; `line` receives the lines that it writes on stdout and stderr. */
export async function withOutput<T>(
  line: (stream: OutputStream, line: string) => void,
  run: () => Promise<T>,
): Promise<T> {
  const output = new TaskOutput(line);
  try {
    return await running.run(output, run);
  } finally {
    output.end();
  }
}

/** From now on the output of running tasks is handed to them. All other output goes to the pipes of the process, as before. */
export function captureOutput(): void {
  for (const stream of ['stdout', 'stderr'] as const) {
    const own = process[stream].write.bind(process[stream]) as (...args: unknown[]) => boolean;
    const write = (chunk: unknown, ...rest: unknown[]): boolean => {
      if (running.getStore()?.take(stream, chunk, rest[0]) !== true) return own(chunk, ...rest);
      const done = rest.find((each) => typeof each === 'function') as (() => void) | undefined;
      if (done !== undefined) nextTick(done);
      return true;
    };
    Object.defineProperty(process[stream], 'write', { value: write, writable: true, configurable: true });
  }
}
