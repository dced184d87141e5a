import { delay } from './clock.ts';
import type { Clock, Timer } from './clock.ts';

/** The result of one pass. */
export interface Polled {
  /** The pass found something to do. */
  readonly found: boolean;
  /** In how many ms something is due; 0: at once, after one turn of the event loop; undefined: no time is known. */
  readonly dueInMs?: number | undefined;
  /** In how many ms the next pass begins without a notification; undefined: the loop has no safety net for now. */
  readonly safetyNetMs?: number | undefined;
  /** The shortest time, ms, between the end of this pass and the next one; it bounds the share of time spent in passes. */
  readonly pauseMs?: number;
}

export interface WakeLoopOptions {
  readonly clock: Clock;
  /** One pass. Passes never overlap. */
  readonly pass: () => Promise<Polled>;
  /** A pass threw; the next one is due after `retryMs`. */
  readonly onError: (error: unknown) => void;
  readonly retryMs: number;
}

type Cause = 'notified' | 'due' | 'safety net';

/**
 * Runs passes: after a notification, when something is due, and as a safety net when neither happened for too long. Each
 * notification is followed by a pass that begins after it; one pass answers all notifications of the pass before. Between
 * two passes the event loop has a turn.
 */
export class WakeLoop {
  readonly #options: WakeLoopOptions;
  #running: Promise<void> | undefined;
  #pass: Promise<Polled> | undefined;
  /** Another pass is wanted. */
  #wanted: Cause | undefined;
  #timer: Timer | undefined;
  /** The time of the timer (monotonic, ms). */
  #timerAt = Infinity;
  /** Callers of `poll` that wait for the next pass. */
  #callers: (() => void)[] = [];
  /** The timers of a clock do not keep the process alive; a caller that waits does. Ends that. */
  #letEnd: (() => void) | undefined;
  #callersWaiting = 0;
  #caught = 0;
  #closed = false;

  constructor(options: WakeLoopOptions) {
    this.#options = options;
  }

  /** How many passes found something although only the safety net had started them. */
  get caught(): number {
    return this.#caught;
  }

  /** Resolves when no pass is under way or wanted; undefined if none is. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** Something may have changed. */
  notify(): void {
    this.#want('notified');
  }

  /** Starts a pass in case a notification was lost: a safety net that the caller times. */
  catchUp(): void {
    this.#want('safety net');
  }

  /** Something is due in so many ms. A pass that is set for an earlier time stays. */
  dueIn(ms: number): void {
    if (ms <= 0) this.#want('due');
    else this.#arm(ms, 'due');
  }

  /** Asks now: resolves when a pass that began after this call has ended. Until then the process stays alive. */
  async poll(): Promise<void> {
    if (this.#closed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#callers.push(resolve);
    this.#callersWaiting += 1;
    this.#letEnd ??= this.#options.clock.hold?.();
    this.notify();
    await promise;
    this.#callersWaiting -= 1;
    if (this.#callersWaiting > 0) return;
    this.#letEnd?.();
    this.#letEnd = undefined;
  }

  /** Starts no further pass, and resolves when the one under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#disarm();
    for (const resolve of this.#callers.splice(0)) resolve();
    await this.#pass?.catch(() => undefined);
  }

  #want(cause: Cause): void {
    if (this.#closed) return;
    // a pass that was wanted anyway is no catch of the safety net
    if (this.#wanted === undefined || cause !== 'safety net') this.#wanted = cause;
    if (this.#running !== undefined) return;
    // set before the first pass begins: a pass may notify its own loop at once
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#running = promise;
    void this.#run().finally(resolve);
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    let pauseMs = await this.#once();
    while (this.#wanted !== undefined && !this.#closed) {
      if (pauseMs > 0) await delay(clock, pauseMs);
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (!this.#closed) pauseMs = await this.#once();
    }
    // in the same turn as the last question: a notification in between would be lost
    this.#running = undefined;
  }

  /** One pass; returns the pause that must follow. */
  async #once(): Promise<number> {
    const cause = this.#wanted;
    const callers = this.#callers.splice(0);
    this.#wanted = undefined;
    this.#disarm();
    let polled: Polled;
    try {
      this.#pass = this.#options.pass();
      polled = await this.#pass;
    } catch (error) {
      this.#options.onError(error);
      polled = { found: false, dueInMs: this.#options.retryMs };
    }
    this.#pass = undefined;
    if (cause === 'safety net' && polled.found) this.#caught += 1;
    for (const resolve of callers) resolve();
    if (polled.dueInMs !== undefined) this.dueIn(polled.dueInMs);
    if (polled.safetyNetMs !== undefined) this.#arm(polled.safetyNetMs, 'safety net');
    return polled.pauseMs ?? 0;
  }

  #arm(ms: number, cause: Cause): void {
    const at = this.#options.clock.monotonic() + ms;
    if (this.#closed || at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#options.clock.timer(ms, () => {
      this.#disarm();
      this.#want(cause);
    });
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timerAt = Infinity;
  }
}
