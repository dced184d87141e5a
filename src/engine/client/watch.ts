import { isEnded } from '../../core/execution.ts';
import type { Connection, ExecutionRecord, Reads } from '../../store/store.ts';
import { delay } from '../clock.ts';
import type { Clock, Timer } from '../clock.ts';
import type { EndedExecution } from '../execution/ending.ts';

type Waiter = { resolve(ended: EndedExecution): void; reject(error: unknown): void };

/** A wait for the next change of anything; whoever does not want it any more cancels it. */
export interface NextChange {
  readonly happened: Promise<void>;
  cancel(): void;
}

/** How often a client looks whether another process has changed the database. */
const lookMs = 20;
/** Where the database says so itself, and a notice may have been lost. */
const netMs = 5000;
/** Executions looked up by one query. */
const idsAtOnce = 500;

/** Tells who waits for it that an execution has ended, or that something has changed, in whichever process that happens. */
export class Watch {
  readonly #store: Reads & Connection;
  readonly #clock: Clock;
  readonly #waiters = new Map<string, Waiter[]>();
  readonly #changes = new Set<() => void>();
  readonly #polls: boolean;
  #timer: Timer | undefined;
  #unsubscribe: (() => void) | undefined;
  /** The timers of a clock do not keep the process alive; somebody who waits for a result does. */
  #alive: NodeJS.Timeout | undefined;
  #closed: Error | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;

  /** With `polls` it looks for itself; else somebody who looks anyway calls `lookAtAll`. */
  constructor(store: Reads & Connection, clock: Clock, polls: boolean) {
    this.#store = store;
    this.#clock = clock;
    this.#polls = polls;
    void store.lost?.then((error) => this.close(error));
  }

  /** Resolves when the execution has ended; looks in the database first where it may have ended before. */
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
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) waiter.reject(error);
    this.#waiters.clear();
    // whoever reads on is told by what they ask next
    this.changed();
    this.#rest();
  }

  /** Looks at everything that is waited for: another process committed something. One look at a time. */
  async lookAtAll(): Promise<void> {
    this.changed();
    this.#lookAgain = true;
    this.#looking ??= this.#lookOn().finally(() => (this.#looking = undefined));
    await this.#looking;
  }

  async #lookOn(): Promise<void> {
    while (this.#lookAgain) {
      this.#lookAgain = false;
      const started = this.#clock.monotonic();
      const ids = [...this.#waiters.keys()];
      for (let from = 0; from < ids.length; from += idsAtOnce) {
        if (from > 0) await new Promise<void>((resolve) => setImmediate(resolve));
        await this.#lookAt(ids.slice(from, from + idsAtOnce));
      }
      const took = this.#clock.monotonic() - started;
      // however many are waited for, and however often something happens: looking takes a third of the time at most
      if (this.#lookAgain && took > 0) await delay(this.#clock, 2 * took);
    }
  }

  async #lookAt(ids: readonly string[]): Promise<void> {
    try {
      for (const record of await this.#store.ended(ids)) this.ended(record.id, endedExecution(record));
    } catch (error) {
      for (const id of ids) this.#fail(id, error);
    }
  }

  async #look(id: string): Promise<void> {
    try {
      const record = await this.#store.execution(id);
      if (record !== undefined && isEnded(record.status)) this.ended(id, endedExecution(record));
    } catch (error) {
      this.#fail(id, error);
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

  #notified(): void {
    if (this.#waiters.size > 0 || this.#changes.size > 0) void this.lookAtAll();
  }

  #rest(): void {
    if (this.#waiters.size > 0 || this.#changes.size > 0) return;
    clearInterval(this.#alive);
    this.#alive = undefined;
  }

  #arm(): void {
    const wanted = this.#waiters.size > 0 || this.#changes.size > 0;
    if (!this.#polls || this.#timer !== undefined || this.#closed !== undefined || !wanted) return;
    const { subscribe } = this.#store;
    if (subscribe !== undefined) {
      // from the first wait on; what is committed meanwhile is not missed, since the listener is told once it is ready
      this.#unsubscribe ??= subscribe(() => this.#notified());
      this.#timer = this.#clock.timer(netMs, () => {
        this.#timer = undefined;
        void this.lookAtAll().then(() => this.#arm());
      });
      return;
    }
    this.#timer = this.#clock.timer(lookMs, () => {
      this.#timer = undefined;
      const looked = this.#store.changed() ? this.lookAtAll() : Promise.resolve();
      void looked.then(() => this.#arm());
    });
  }
}

function endedExecution(record: ExecutionRecord): EndedExecution {
  const { status, output, error, errorTask } = record;
  return { status: status as EndedExecution['status'], output, outputs: null, error, errorTask };
}
