import type { Clock, Timer } from '../../engine/clock.ts';

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** How long the other side may be silent. */
  readonly stallMs: number;
  ping(): void;
  stalled(): void;
}

const longestIntervalMs = 1000;

/** Asks the other side for a sign of life, from its start to its stop. Any message is one. */
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
    // a beat that comes late says that this process itself stood still, with the answers of the other unread
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
