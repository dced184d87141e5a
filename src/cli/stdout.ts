import { fstatSync, writeSync } from 'node:fs';
import { CloacinaError } from '../core/error.ts';
import { reason } from './errno.ts';

const fd = 1;
/** Error codes of a pipe whose reader has gone. */
const goneCodes: ReadonlySet<string | undefined> = new Set(['EPIPE', 'ECONNRESET']);

/**
 * The stdout of this process. A text is written as a whole, or FILE_UNWRITABLE is thrown: on a full disk Node's own
 * stream writes a part of a file and reports success. A missing reader ends the stream and is no failure.
 */
class Stdout {
  readonly #closed = new AbortController();
  #isFile: boolean | undefined;
  /** The last text was cut in the middle of a line. */
  #isCut = false;
  #isTold = false;

  constructor() {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => this.#failed(error));
    // stderr is the last resort for errors, and no work depends on it
    process.stderr.on('error', () => undefined);
  }

  /** Aborts when stdout has no reader. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  write(text: string): void {
    if (this.closed.aborted || text === '') return;
    this.#isFile ??= isFile();
    if (this.#isFile) this.#writeWhole(text);
    else process.stdout.write(text);
  }

  #writeWhole(text: string): void {
    const bytes = Buffer.from(this.#isCut ? `\n${text}` : text);
    let done = 0;
    try {
      while (done < bytes.length) done += writeSync(fd, bytes, done);
      this.#isCut = false;
    } catch (cause) {
      this.#isCut ||= done > 0;
      throw unwritable(cause);
    }
  }

  /** Handles errors of a pipe or a terminal, which arrive only after the write. */
  #failed(error: NodeJS.ErrnoException): void {
    if (goneCodes.has(error.code)) return this.#closed.abort();
    process.exitCode ??= 1;
    if (!this.#isTold) process.stderr.write(`${unwritable(error).message}\n`);
    this.#isTold = true;
  }
}

/** A file, or a device that is no terminal: writes are synchronous. */
function isFile(): boolean {
  const found = fstatSync(fd);
  return found.isFile() || (found.isCharacterDevice() && !process.stdout.isTTY);
}

function unwritable(cause: unknown): CloacinaError {
  return new CloacinaError('FILE_UNWRITABLE', `stdout cannot be written: ${reason(cause)}`, { cause });
}

/** One per process. */
export const stdout: Stdout = new Stdout();
