import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '../../engine/clock.ts';

export interface MemoryOptions {
  readonly clock: Clock;
  /** Maximum memory of the process in all, MB. */
  readonly limitMb: number;
  /** Called once, when the process exceeds the limit. */
  over(heldMb: number): void;
}

/** Between two checks a process can allocate and fill 250 MB; a check costs 20 us. */
const lookMs = 100;
const bytesOfMb = 1_048_576;

/**
 * Watches the memory of a process: V8 bounds its heap, and nothing bounds its buffers. Linux reports the memory of any
 * process; elsewhere the process reports it itself, as long as its event loop turns.
 */
export class MemoryWatch {
  readonly #options: MemoryOptions;
  #timer: Timer | undefined;

  constructor(options: MemoryOptions) {
    this.#options = options;
  }

  start(pid: number): void {
    this.#timer ??= this.#options.clock.timer(lookMs, () => {
      this.#timer = undefined;
      const held = heldBy(pid);
      if (held === null || this.reported(held)) return;
      this.start(pid);
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Returns true if this number of bytes exceeds the limit. */
  reported(bytes: number): boolean {
    const options = this.#options;
    const isOver = bytes > options.limitMb * bytesOfMb;
    if (isOver) options.over(Math.round(bytes / bytesOfMb));
    return isOver;
  }
}

/** Returns the bytes in memory and in swap space; null if the system does not report them. */
function heldBy(pid: number): number | null {
  if (process.platform !== 'linux') return null;
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    let kb = 0;
    for (const [, amount] of status.matchAll(/^(?:VmRSS|VmSwap):\s*(\d+) kB$/gm)) kb += Number(amount);
    return kb * 1024;
  } catch {
    return null; // it has ended, or its file is not readable
  }
}
