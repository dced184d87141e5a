import type { Clock, Timer } from '../../engine/clock.ts';

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Maximum silence of the other side. */
  readonly stallMs: number;
  ping(): void;
  stalled(): void;
}

const longestIntervalMs = 1000;

/** Pings the other side from start to stop. Any message counts as an answer. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #intervalMs: number;
  #timer: Timer | undefined;
  #due = 0;
  #heard = true;
  #silentSince = 0;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#intervalMs = Math.min(options.stallMs / 4, longestIntervalMs);
  }

  heard(): void {
    this.#heard = true;
  }

  start(): void {
    if (this.#timer !== undefined) return;
    this.#heard = true;
    this.#options.ping();
    this.#next();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #next(): void {
    this.#due = this.#options.clock.monotonic() + this.#intervalMs;
    this.#timer = this.#options.clock.timer(this.#intervalMs, () => this.#beat());
  }

  #beat(): void {
    const now = this.#options.clock.monotonic();
    // a late beat means that this process itself was blocked, with the other side's answers unread
    const late = now - this.#due > this.#intervalMs;
    if (this.#heard || late) this.#silentSince = now;
    this.#heard = false;
    if (now - this.#silentSince >= this.#options.stallMs) {
      this.stop();
      this.#options.stalled();
      return;
    }
    this.#options.ping();
    this.#next();
  }
}
