/** A pending timer; cancelling a fired one does nothing. */
export interface Timer {
  cancel(): void;
}

/** The source of time of the engine. Tests use one that they control. */
export interface Clock {
  /** Epoch ms. */
  now(): number;
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
  monotonic: () => performance.now(),
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

/**
 * The system's clock, corrected by the clock of a database that may be on another machine: timers and slots follow one
 * clock on all runners.
 */
export class DatabaseClock implements Clock {
  #aheadMs = 0;

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  monotonic(): number {
    return systemClock.monotonic();
  }

  timer(delayMs: number, fire: () => void): Timer {
    return systemClock.timer(delayMs, fire);
  }

  hold(): () => void {
    return systemClock.hold!();
  }

  /**
   * Sets the lead of the database's clock over the system's, ms. Differences within the measurement error are ignored.
   */
  isAhead(ms: number): void {
    if (Math.abs(ms - this.#aheadMs) > measurementMs) this.#aheadMs = Math.round(ms);
  }
}

/** Half of a round trip to a database. */
const measurementMs = 25;

/** Resolves after a time on a clock. */
export async function delay(clock: Clock, ms: number): Promise<void> {
  await new Promise<void>((resolve) => clock.timer(ms, resolve));
}
