import type { Claim, Claims, Connection, Inbox, InboxMessage } from '../store/store.ts';
import type { Clock, Timer } from './clock.ts';
import type { Logger } from './logger.ts';

export interface PollerOptions {
  /** How often to look whether another process has committed. */
  readonly pollMs: number;
  readonly store: Claims & Inbox & Connection;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What may be taken now; null while nothing may. */
  readonly claim: () => Omit<Claim, 'now'> | null;
  /** Takes what is there to take. `contended`: others are taking the very same just now, and may leave some of it. */
  readonly take: (claim: Claim) => Promise<{ readonly taken: number; readonly contended: boolean }>;
  /** Looks after what other runners offer. */
  readonly help: () => Promise<void>;
  /** Compares rows and memory, while nothing is being taken; whether that freed anything. */
  readonly compare: () => Promise<boolean>;
  /** The runner whose mail is read; null while it owns nothing. */
  readonly reader: () => string | null;
  readonly onMessages: (id: string, mail: readonly InboxMessage[]) => void;
  /** Another process committed something; `beyond`: the registry or schedules may have changed, too. */
  readonly onChanged: (beyond: boolean) => void;
  /** Called now and then, to see whether processes beside this one still live. */
  readonly onRound: () => void;
}

const lookAgainMs = 1000;
/** A sleep is looked at again after so long: the clock of the machine may have been set, or the machine have slept. */
const longestSleepMs = 60_000;
const longestSleepAloneMs = 3_600_000;
/** Every so many looks there is a round. */
const roundTicks = 20;

/** Looks for mail, for timers that are due, and for work: when told to, when another process wrote, and when a time has come. */
export class Poller {
  readonly #options: PollerOptions;
  #tickTimer: Timer | undefined;
  #wakeTimer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #unsubscribe: (() => void) | undefined;
  /** Monotonic, ms. */
  #wakesAt = Infinity;
  #ticks = 0;
  #compareDue = false;
  #closed = false;
  #onlyMail = false;

  constructor(options: PollerOptions) {
    this.#options = options;
  }

  start(): void {
    const { store, onChanged } = this.#options;
    this.#unsubscribe = store.subscribe?.((notice) => {
      if (this.#closed) return;
      onChanged(notice === 'all');
      if (notice !== 'any') this.notify();
    });
    if (store.shared) this.#tickAgain();
    this.notify();
  }

  #tickAgain(): void {
    const { store, clock, pollMs } = this.#options;
    const isTold = store.subscribe !== undefined;
    this.#tickTimer = clock.timer(isTold ? pollMs * roundTicks : pollMs, () => this.#tick(isTold));
  }

  /** The first execution that waits is due then: it is looked for at that time. */
  dueAt(time: number): void {
    const wait = time - this.#options.clock.now();
    if (wait <= 0) this.notify();
    else if (wait < longestSleepMs && this.#options.clock.monotonic() + wait < this.#wakesAt) this.#wakeAfter(wait);
  }

  /** Something may have changed. */
  notify(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#looking ??= this.#look();
  }

  /** Rows and memory are to be compared with the next look: between looks something may be on its way to be taken. */
  compareSoon(): void {
    this.#compareDue = true;
    this.notify();
  }

  /** From now on nothing is taken any more; mail is read until the end. Resolves once a look that is under way has ended. */
  async onlyInbox(): Promise<void> {
    this.#onlyMail = true;
    this.#wakeTimer?.cancel();
    await this.#looking;
  }

  /** Ends looking; resolves once a look that is under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe?.();
    this.#tickTimer?.cancel();
    this.#wakeTimer?.cancel();
    await this.#looking;
  }

  async readInbox(): Promise<void> {
    const { store, reader, onMessages } = this.#options;
    const runner = reader();
    if (runner === null || !(await store.hasMessages(runner))) return;
    for (const [id, mail] of Map.groupBy(await store.inboxOf(runner), (one) => one.executionId)) onMessages(id, mail);
  }

  #tick(isTold: boolean): void {
    if (this.#closed) return;
    this.#tickAgain();
    if (isTold || ++this.#ticks % roundTicks === 0) this.#options.onRound();
    if (!this.#options.store.changed()) return;
    this.#options.onChanged(true);
    this.notify();
  }

  async #look(): Promise<void> {
    for (let first = true; this.#again && !this.#closed; first = false) {
      // with much to take, others of this process have their turn in between
      if (!first) await new Promise<void>((resolve) => setImmediate(resolve));
      this.#again = false;
      try {
        await this.readInbox();
        if (!this.#onlyMail) {
          // what is there to take comes before what may be due
          const contended = await this.#claim();
          await this.#wakeDue();
          if (contended) this.#wakeAfter(this.#options.pollMs);
        }
        await this.#options.help();
        if (this.#compareDue && !this.#onlyMail) await this.#compare();
      } catch (error) {
        this.#options.logger.warn({ error }, 'polling for work failed; retrying');
        this.#wakeAfter(lookAgainMs);
      }
    }
    // in the same turn as the last question whether to look again: a poke in between would be lost
    this.#looking = undefined;
  }

  async #compare(): Promise<void> {
    this.#compareDue = false;
    if (await this.#options.compare()) this.#again = true;
  }

  async #wakeDue(): Promise<void> {
    const { store, clock } = this.#options;
    const next = await store.nextWake();
    if (next === null) return;
    const wait = next - clock.now();
    if (wait > 0) return this.#wakeAfter(Math.min(wait, store.shared ? longestSleepMs : longestSleepAloneMs));
    // what is due and cannot be woken is in somebody else's hands just now
    if ((await store.wake(clock.now())) > 0) this.#again = true;
    else this.#wakeAfter(this.#options.pollMs);
  }

  #wakeAfter(ms: number): void {
    this.#wakeTimer?.cancel();
    if (this.#closed) return;
    const { clock } = this.#options;
    this.#wakesAt = clock.monotonic() + ms;
    this.#wakeTimer = clock.timer(ms, () => {
      this.#wakesAt = Infinity;
      this.notify();
    });
  }

  /** Gives whether others are taking the very same just now: they may leave some of it. */
  async #claim(): Promise<boolean> {
    const { store, clock, claim, take } = this.#options;
    const wanted = claim();
    if (wanted === null) return false;
    const request = { ...wanted, now: clock.now() };
    if (!(await store.claimable(request))) return false;
    const { taken, contended } = await take(request);
    if (taken > 0) this.#again = true;
    return contended;
  }
}
