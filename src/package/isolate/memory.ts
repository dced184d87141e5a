import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '../../engine/clock.ts';

export interface MemoryOptions {
  readonly clock: Clock;
  /** What the process may hold in all. */
  readonly limitMb: number;
  /** It holds more; called once. */
  over(heldMb: number): void;
}

/** Enough for 250 MB to be allocated and filled between two looks; a look costs 20 us. */
const lookMs = 100;
const bytesOfMb = 1_048_576;

/**
 * Watches what a process holds: V8 bounds its heap, and nothing bounds its buffers. Linux tells it of any process; elsewhere
 * the process says it itself, which takes that its event loop turns.
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

  /** Whether so many bytes are too many. */
  reported(bytes: number): boolean {
    const options = this.#options;
    const isOver = bytes > options.limitMb * bytesOfMb;
    if (isOver) options.over(Math.round(bytes / bytesOfMb));
    return isOver;
  }
}

/** Bytes in memory and in the swap space; null where the system does not tell. */
function heldBy(pid: number): number | null {
  if (process.platform !== 'linux') return null;
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    let kb = 0;
    for (const [, amount] of status.matchAll(/^(?:VmRSS|VmSwap):\s*(\d+) kB$/gm)) kb += Number(amount);
    return kb * 1024;
  } catch {
    return null; // it has ended, or its file is hidden from us
  }
}
