import type { ClockReading } from '../store/store.ts';

/** A pending timer; cancelling a fired one does nothing. */
export interface Timer {
  cancel(): void;
}

/** The source of time of the engine. Tests use one that they control. */
export interface Clock {
  /** Epoch ms. */
  now(): number;
  /**
   * Resolves once `now` is right again after the machine slept or its clock was set; undefined where it is right. Throws
   * STORE_UNAVAILABLE. Absent on a clock that cannot tell.
   */
  settled?(): Promise<void> | undefined;
  /** Milliseconds from an arbitrary fixed moment; never goes back. */
  monotonic(): number;
  /** Calls `fire` once, `delayMs` from now. It does not keep the process alive. */
  timer(delayMs: number, fire: () => void): Timer;
  /**
   * Keeps the process alive until the returned function is called. Absent on a clock that a test moves: the test decides
   * when its process ends.
   */
  hold?(): () => void;
}

/** setTimeout takes at most 2^31 - 1 ms (24.8 days); longer timers are renewed. */
const longestMs = 2_147_483_647;

export const systemClock: Clock = {
  now: () => Date.now(),
  // the same in all threads of the process, which `performance.now` alone is not
  monotonic: () => performance.timeOrigin + performance.now(),
  timer: (delayMs, fire) => {
    if (delayMs <= longestMs) {
      const timeout = setTimeout(fire, delayMs).unref();
      return { cancel: () => clearTimeout(timeout) };
    }
    let inner = systemClock.timer(longestMs, () => (inner = systemClock.timer(delayMs - longestMs, fire)));
    return { cancel: () => inner.cancel() };
  },
  hold: () => {
    const interval = setInterval(() => undefined, longestMs);
    return () => clearInterval(interval);
  },
};

/** Error of a reading of the database's clock: half of a round trip, ms. */
const readingErrorMs = 25;
/** A larger change between the two clocks of the system means that it slept, or that its clock was set. */
const jumpMs = 1000;
/** A reading that is older is renewed in the background: clocks of two machines drift apart by seconds a day. */
const freshMs = 600_000;
const retryMs = 1000;

/**
 * The clock of a database that may be on another machine: timers and slots follow one clock on all runners. From one reading
 * to the next it goes on by the monotonic clock of the system, so a system clock that is set changes nothing. A machine that
 * sleeps stops the monotonic clock of some systems, and looks the same: after either the database is asked again.
 */
export class DatabaseClock implements Clock {
  readonly #system: Clock;
  readonly #read: () => Promise<ClockReading>;
  #reading: ClockReading;
  /** The lead of the system's clock over its monotonic clock at the reading, ms. */
  #lead: number;
  #reads: Promise<void> | undefined;
  /** The time (monotonic) before which no call of `now` tries again. */
  #triesAt = -Infinity;

  /** Until the first reading it is the system's clock. `read`: reads the clock of the database. */
  constructor(read: () => Promise<ClockReading>, system: Clock = systemClock) {
    this.#read = read;
    this.#system = system;
    this.#reading = { now: system.now(), at: system.monotonic() };
    this.#lead = this.#reading.now - this.#reading.at;
  }

  now(): number {
    const at = this.#system.monotonic();
    const isDoubtful = this.#hasJumped() || at - this.#reading.at > freshMs;
    if (isDoubtful && this.#reads === undefined && at >= this.#triesAt) {
      // `settled` throws the error of the next try
      this.readAgain().catch(() => undefined);
    }
    return Math.round(this.#reading.now + at - this.#reading.at);
  }

  settled(): Promise<void> | undefined {
    return this.#hasJumped() ? this.readAgain() : undefined;
  }

  /** Takes a reading of the clock of the database. */
  take(reading: ClockReading): void {
    const expected = this.#reading.now + reading.at - this.#reading.at;
    const isRight = Math.abs(reading.now - expected) <= readingErrorMs;
    this.#reading = isRight ? { now: expected, at: reading.at } : reading;
    this.#lead = this.#system.now() - this.#system.monotonic();
  }

  /** Reads the clock of the database. Throws STORE_UNAVAILABLE. */
  async readAgain(): Promise<void> {
    this.#reads ??= this.#takeAgain().finally(() => (this.#reads = undefined));
    await this.#reads;
  }

  monotonic(): number {
    return this.#system.monotonic();
  }

  timer(delayMs: number, fire: () => void): Timer {
    return this.#system.timer(delayMs, fire);
  }

  hold(): () => void {
    return this.#system.hold?.() ?? (() => undefined);
  }

  async #takeAgain(): Promise<void> {
    try {
      this.take(await this.#read());
    } catch (error) {
      this.#triesAt = this.#system.monotonic() + retryMs;
      throw error;
    }
  }

  #hasJumped(): boolean {
    return Math.abs(this.#system.now() - this.#system.monotonic() - this.#lead) > jumpMs;
  }
}

/** The time on a clock, for a value that stays; see `Clock.settled`. */
export async function settledTime(clock: Clock): Promise<number> {
  await clock.settled?.();
  return clock.now();
}

/** Resolves after a time on a clock. */
export async function delay(clock: Clock, ms: number): Promise<void> {
  await new Promise<void>((resolve) => clock.timer(ms, resolve));
}
