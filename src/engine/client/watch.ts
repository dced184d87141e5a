import { ExecutionNotFoundError, StoreUnavailableError } from '../../core/error.ts';
import { isEnded } from '../../core/execution/states.ts';
import type { Connection, ExecutionRecord, Reads } from '../../store/store.ts';
import type { Clock, Timer } from '../clock.ts';
import type { EndedExecution } from '../execution/ending.ts';
import { WakeLoop } from '../wake-loop.ts';
import type { Polled } from '../wake-loop.ts';

type Waiter = { resolve(ended: EndedExecution): void; reject(error: unknown): void };

/** A wait for the next change of anything; a caller that no longer wants it cancels it. */
export interface NextChange {
  readonly happened: Promise<void>;
  cancel(): void;
}

/** How often a client asks whether another process has changed the database. */
const pollMs = 20;
/** The safety net where the database sends notices: one may be lost. */
const netMs = 5000;
/** The pause after a query that the database did not answer. */
const retryMs = 500;
/** Executions looked up by one query. */
const idsAtOnce = 500;

/** Resolves waits for the end of an execution, or for the next change of anything, in whichever process that happens. */
export class Watch {
  readonly #store: Reads & Connection;
  readonly #clock: Clock;
  readonly #loop: WakeLoop;
  readonly #waiters = new Map<string, Waiter[]>();
  readonly #changes = new Set<() => void>();
  readonly #polls: boolean;
  #timer: Timer | undefined;
  #unsubscribe: (() => void) | undefined;
  /** The timers of a clock do not keep the process alive; a caller that waits for a result does. */
  #alive: NodeJS.Timeout | undefined;
  #closed: Error | undefined;
  /** The time (monotonic, ms) of the last check for executions that were removed. */
  #checkedAt: number;

  /** With `polls` it asks the database by itself; else the runner that owns it calls `notify` and `catchUp`. */
  constructor(store: Reads & Connection, clock: Clock, polls: boolean) {
    this.#store = store;
    this.#clock = clock;
    this.#polls = polls;
    this.#checkedAt = clock.monotonic();
    this.#loop = new WakeLoop({ clock, pass: () => this.#pass(), onError: () => undefined, retryMs });
    void store.lost?.then((error) => this.close(error));
  }

  /** Waiters that only the safety net has found to be done with. */
  get caught(): number {
    return this.#loop.caught;
  }

  /**
   * Resolves when the execution has ended. With `look` it may have ended before, and the database is asked first. While the
   * database is unavailable it waits. Throws EXECUTION_NOT_FOUND if the execution was removed.
   */
  async end(id: string, look: boolean): Promise<EndedExecution> {
    if (this.#closed !== undefined) throw this.#closed;
    const promise = new Promise<EndedExecution>((resolve, reject) => {
      const list = this.#waiters.get(id);
      if (list === undefined) this.#waiters.set(id, [{ resolve, reject }]);
      else list.push({ resolve, reject });
    });
    if (look) void this.#look(id);
    this.#wait();
    return promise;
  }

  /** Waits for the next change; to be asked before reading what may change. Throws where the client is closed. */
  nextChange(): NextChange {
    if (this.#closed !== undefined) throw this.#closed;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#changes.add(resolve);
    this.#wait();
    const cancel = (): void => {
      this.#changes.delete(resolve);
      this.#rest();
    };
    return { happened: promise, cancel };
  }

  /** Something was committed in this process. */
  changed(): void {
    if (this.#changes.size === 0) return;
    const waiting = [...this.#changes];
    this.#changes.clear();
    for (const resolve of waiting) resolve();
    this.#rest();
  }

  /** An execution ended in this process. */
  ended(id: string, ended: EndedExecution): void {
    const waiters = this.#waiters.get(id);
    if (waiters === undefined) return;
    this.#waiters.delete(id);
    for (const waiter of waiters) waiter.resolve(ended);
    this.#rest();
  }

  close(error: Error): void {
    this.#closed = error;
    this.#timer?.cancel();
    this.#unsubscribe?.();
    void this.#loop.close();
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) waiter.reject(error);
    this.#waiters.clear();
    // a reader of events gets the error from its next query
    this.changed();
    this.#rest();
  }

  /** Something was committed, in this process or another: all that is waited for is looked up. */
  notify(): void {
    this.changed();
    if (this.#waiters.size > 0) this.#loop.notify();
  }

  /** The safety net: a notice may have been lost. */
  catchUp(): void {
    this.changed();
    if (this.#waiters.size > 0) this.#loop.catchUp();
  }

  /** As `notify`; resolves once all that was waited for has been looked up. */
  async poll(): Promise<void> {
    this.changed();
    if (this.#waiters.size > 0) await this.#loop.poll();
  }

  async #pass(): Promise<Polled> {
    const started = this.#clock.monotonic();
    const ids = [...this.#waiters.keys()];
    const checks = started - this.#checkedAt >= netMs;
    if (checks) this.#checkedAt = started;
    let found = false;
    for (let from = 0; from < ids.length; from += idsAtOnce) {
      if (from > 0) await new Promise<void>((resolve) => setImmediate(resolve));
      if (await this.#lookUp(ids.slice(from, from + idsAtOnce), checks)) found = true;
    }
    // passes take a third of the time at most, however many executions are waited for
    // an execution may be removed at any time, also where nothing else changes any more
    const dueInMs = this.#waiters.size > 0 ? Math.max(1, this.#checkedAt + netMs - this.#clock.monotonic()) : undefined;
    return { found, dueInMs, pauseMs: 2 * (this.#clock.monotonic() - started) };
  }

  /** `checks`: also for executions that were removed. Throws STORE_UNAVAILABLE; the loop tries again. */
  async #lookUp(ids: readonly string[], checks: boolean): Promise<boolean> {
    try {
      const records = await this.#store.ended(ids);
      for (const record of records) this.ended(record.id, endedExecution(record));
      if (checks) {
        const known = new Set(await this.#store.known(ids));
        for (const id of ids) if (!known.has(id)) this.#fail(id, new ExecutionNotFoundError(id));
      }
      return records.length > 0;
    } catch (error) {
      if (error instanceof StoreUnavailableError) throw error;
      for (const id of ids) this.#fail(id, error);
      return false;
    }
  }

  async #look(id: string): Promise<void> {
    try {
      const record = await this.#store.execution(id);
      if (record !== undefined && isEnded(record.status)) this.ended(id, endedExecution(record));
    } catch (error) {
      if (error instanceof StoreUnavailableError) this.#loop.dueIn(retryMs);
      else this.#fail(id, error);
    }
  }

  #fail(id: string, error: unknown): void {
    const waiters = this.#waiters.get(id) ?? [];
    this.#waiters.delete(id);
    for (const waiter of waiters) waiter.reject(error);
    this.#rest();
  }

  #wait(): void {
    this.#alive ??= setInterval(() => undefined, 0x7fff_ffff);
    this.#arm();
  }

  get #isWaitedFor(): boolean {
    return this.#waiters.size > 0 || this.#changes.size > 0;
  }

  #rest(): void {
    if (this.#isWaitedFor) return;
    clearInterval(this.#alive);
    this.#alive = undefined;
  }

  /** Sets the next time to ask the database, or the safety net where it sends notices. */
  #arm(): void {
    if (!this.#polls || this.#timer !== undefined || this.#closed !== undefined || !this.#isWaitedFor) return;
    const { subscribe } = this.#store;
    // from the first wait on; the subscriber is called once it is ready, so no commit before that is missed
    if (subscribe !== undefined) this.#unsubscribe ??= subscribe(() => this.notify());
    this.#timer = this.#clock.timer(subscribe === undefined ? pollMs : netMs, () => {
      this.#timer = undefined;
      if (subscribe !== undefined) this.catchUp();
      else if (this.#store.changed()) this.notify();
      this.#arm();
    });
  }
}

function endedExecution(record: ExecutionRecord): EndedExecution {
  const { status, output, error, errorTask } = record;
  return { status: status as EndedExecution['status'], output, outputs: null, error, errorTask };
}
