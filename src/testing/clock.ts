import { durationMs } from '../core/duration.ts';
import type { Duration } from '../core/duration.ts';
import type { Clock, Timer } from '../engine/clock.ts';

export interface ManualClockOptions {
  /** Epoch ms, or a time; default 2026-01-01T00:00:00Z. */
  readonly now?: number | Date;
}

interface Waiting extends Timer {
  /** On the monotonic clock. */
  readonly at: number;
  readonly n: number;
  readonly fire: () => void;
}

/** Work that answers is at rest once so many turns of the event loop set and cancelled no timer. */
const quietTurns = 4;
const maxTurns = 20_000;

/** What another process was asked for, and has not answered yet: that takes no time on these clocks, but has to be waited for. */
const outside = new Set<Promise<void>>();

/** Nothing is at rest until the function that this gives is called. */
export function holdClocks(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  outside.add(promise);
  return () => {
    outside.delete(promise);
    resolve();
  };
}

/**
 * A clock that moves only when told. Timers fire in the order of their times, and what each of them set in motion
 * comes to rest before the next fires, so a test that advances by three days sees what three days would do.
 * A timer without delay fires by itself, as it would on any clock.
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
      at: this.#monotonic + Math.ceil(delayMs), // whole ms, as timers of the system are
      n: this.#n++,
      fire,
      cancel: () => {
        if (this.#timers.delete(waiting)) this.#activity += 1;
      },
    };
    this.#timers.add(waiting);
    return waiting;
  }

  /** Timers that are set: none should be left when all is closed. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Moves time on (a duration or ms): fires what comes due on the way, each at its time. */
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

  /** Moves time on to the next timer that is due by then (epoch ms), and fires it; false where there is none. */
  async advanceToNext(until: number): Promise<boolean> {
    const next = this.#earliest();
    const wait = next === undefined ? Infinity : Math.max(0, next.at - this.#monotonic);
    if (this.#wall + wait > until) return false;
    await this.advance(wait);
    return true;
  }

  /** Moves time on in one leap, as if the machine had slept: what came due meanwhile fires once, late. */
  async leap(duration: Duration): Promise<void> {
    this.#move(durationMs(duration, 'leap'));
    await this.advance(0);
  }

  /** Sets the wall clock, forwards or back, as an administrator does: timers do not notice. */
  setNow(now: number | Date): void {
    this.#wall = Number(now);
  }

  /** Resolves when what was set in motion is at rest. */
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
