import { durationMs } from '../core/duration.ts';
import type { Duration } from '../core/duration.ts';
import type { Clock, Timer } from '../engine/clock.ts';

export interface ManualClockOptions {
  /** Epoch ms or a Date; default 2026-01-01T00:00:00Z. */
  readonly now?: number | Date;
}

interface Waiting extends Timer {
  /** Time on the monotonic clock, ms. */
  readonly at: number;
  readonly n: number;
  readonly fire: () => void;
}

/** Work has settled once this number of event loop turns set and cancelled no timer. */
const quietTurns = 4;
const maxTurns = 20_000;

/** Pending calls to another process. They take no time on these clocks, but have to be waited for. */
const outside = new Set<Promise<void>>();

/** Returns a function; no clock settles before it is called. */
export function holdClocks(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  outside.add(promise);
  return () => {
    outside.delete(promise);
    resolve();
  };
}

/**
 * A clock that moves only when told. Timers fire in order, each at its own time, and everything they trigger settles
 * before the next one, so advancing by three days shows the effects of three days. A timer without delay fires on its
 * own, as on any clock.
 */
export class ManualClock implements Clock {
  #wall: number;
  #monotonic = 0;
  #n = 0;
  #activity = 0;
  readonly #timers = new Set<Waiting>();

  constructor(options: ManualClockOptions = {}) {
    this.#wall = Number(options.now ?? Date.UTC(2026, 0, 1));
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  timer(delayMs: number, fire: () => void): Timer {
    this.#activity += 1;
    if (delayMs <= 0) {
      const immediate = setImmediate(() => {
        this.#activity += 1;
        fire();
      });
      return { cancel: () => clearImmediate(immediate) };
    }
    const waiting: Waiting = {
      at: this.#monotonic + Math.ceil(delayMs), // whole ms, like system timers
      n: this.#n++,
      fire,
      cancel: () => {
        if (this.#timers.delete(waiting)) this.#activity += 1;
      },
    };
    this.#timers.add(waiting);
    return waiting;
  }

  /** The number of set timers; 0 is expected when all is closed. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Advances by a duration or ms and fires the timers that become due, each at its time. */
  async advance(duration: Duration): Promise<void> {
    const target = this.#monotonic + durationMs(duration, 'advance');
    await this.settle();
    for (let next = this.#earliest(); next !== undefined && next.at <= target; next = this.#earliest()) {
      this.#move(Math.max(0, next.at - this.#monotonic));
      this.#timers.delete(next);
      next.fire();
      await this.settle();
    }
    this.#move(target - this.#monotonic);
    await this.settle();
  }

  /** Advances to the next timer that is due by `until` (epoch ms) and fires it; false if there is none. */
  async advanceToNext(until: number): Promise<boolean> {
    const next = this.#earliest();
    const wait = next === undefined ? Infinity : Math.max(0, next.at - this.#monotonic);
    if (this.#wall + wait > until) return false;
    await this.advance(wait);
    return true;
  }

  /** Advances in one leap, as if the host had slept: timers that became due meanwhile fire once, late. */
  async leap(duration: Duration): Promise<void> {
    this.#move(durationMs(duration, 'leap'));
    await this.advance(0);
  }

  /** Sets the wall clock, forwards or back, as an administrator does; timers are not affected. */
  setNow(now: number | Date): void {
    this.#wall = Number(now);
  }

  /** Resolves when all triggered work has settled. */
  async settle(): Promise<void> {
    let quiet = 0;
    for (let turn = 0; quiet < quietTurns; turn++) {
      while (outside.size > 0) {
        await Promise.all(outside);
        quiet = 0;
      }
      if (turn === maxTurns)
        throw new Error('the work set timers without delay again and again; it never came to rest');
      const before = this.#activity;
      await new Promise<void>((resolve) => setImmediate(resolve));
      quiet = this.#activity === before ? quiet + 1 : 0;
    }
  }

  #move(ms: number): void {
    this.#wall += ms;
    this.#monotonic += ms;
  }

  #earliest(): Waiting | undefined {
    let earliest: Waiting | undefined;
    for (const timer of this.#timers) {
      if (earliest === undefined || timer.at < earliest.at || (timer.at === earliest.at && timer.n < earliest.n)) {
        earliest = timer;
      }
    }
    return earliest;
  }
}
