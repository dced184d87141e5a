/** A timer that was set; cancelling one that fired does nothing. */
export interface Timer {
  cancel(): void;
}

/** Where the engine takes time from. Tests give one that they move. */
export interface Clock {
  /** Epoch ms. */
  now(): number;
  /** Ms from some fixed moment; never goes back. */
  monotonic(): number;
  /** Calls `fire` once, `delayMs` from now. It does not keep the process alive. */
  timer(delayMs: number, fire: () => void): Timer;
}

/** setTimeout takes at most 2^31 - 1 ms (24.8 days); longer timers are set again. */
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
};

/**
 * The system's clock, set right by that of a database which may be on another machine: timers and slots are judged by one
 * clock, whichever runner looks at them.
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

  /** By how much the database's clock is ahead of the system's, ms. What a measurement may be wrong by changes nothing. */
  isAhead(ms: number): void {
    if (Math.abs(ms - this.#aheadMs) > measurementMs) this.#aheadMs = Math.round(ms);
  }
}

/** Half the way to a database and back. */
const measurementMs = 25;

/** A promise that resolves after a time on a clock. */
export async function delay(clock: Clock, ms: number): Promise<void> {
  await new Promise<void>((resolve) => clock.timer(ms, resolve));
}
