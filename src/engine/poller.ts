import type { Claim, Claims, Connection, Inbox, InboxMessage } from '../store/store.ts';
import type { Clock, Timer } from './clock.ts';
import type { Logger } from './logger.ts';
import { WakeLoop } from './wake-loop.ts';
import type { Polled } from './wake-loop.ts';

export interface PollerOptions {
  /** How often to ask whether another process has committed. */
  readonly pollMs: number;
  readonly store: Claims & Inbox & Connection;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The claim that is possible now; null if none is. */
  readonly claim: () => Omit<Claim, 'now'> | null;
  /** Takes the executions of a claim. `contended`: other runners claim the same ones just now, and may leave some of them. */
  readonly take: (claim: Claim) => Promise<{ readonly taken: number; readonly contended: boolean }>;
  /** Looks after the offers of other runners. */
  readonly help: () => Promise<void>;
  /** Compares rows and memory, while no claim is under way; true if that released anything. */
  readonly compare: () => Promise<boolean>;
  /** The runner whose inbox is read; null while it owns nothing. */
  readonly reader: () => string | null;
  readonly onMessages: (id: string, messages: readonly InboxMessage[]) => void;
  /** Another process committed something; `beyond`: the registry or schedules may have changed, too. */
  readonly onChanged: (beyond: boolean) => void;
  /** Called now and then, to check whether neighbouring processes are alive. */
  readonly onRound: () => void;
}

const retryMs = 1000;
/** The longest sleep until a timer that is due later: the clock of the machine may be set, or the machine may sleep. */
const longestSleepMs = 60_000;
const longestSleepAloneMs = 3_600_000;
/** Ticks of `pollMs` from one round to the next. */
const roundTicks = 20;

/** Reads the inbox, wakes executions whose timers are due, and claims work: when notified, when another process commits, and when a timer is due. */
export class Poller {
  readonly #options: PollerOptions;
  readonly #loop: WakeLoop;
  #tickTimer: Timer | undefined;
  #unsubscribe: (() => void) | undefined;
  #ticks = 0;
  #compareDue = false;
  #closed = false;
  #readsInboxOnly = false;

  constructor(options: PollerOptions) {
    this.#options = options;
    const { clock, logger } = options;
    const onError = (error: unknown): void => logger.warn({ error }, 'polling for work failed; retrying');
    this.#loop = new WakeLoop({ clock, pass: () => this.#pass(), onError, retryMs });
  }

  /** Passes that found work although only the safety net had started them. */
  get caught(): number {
    return this.#loop.caught;
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

  /** Something may have changed. */
  notify(): void {
    this.#loop.notify();
  }

  /** The first timer of a waiting execution is due then. */
  dueAt(time: number): void {
    const wait = time - this.#options.clock.now();
    if (wait < longestSleepMs) this.#loop.dueIn(wait);
  }

  /** The safety net: a renewal of the lease says that there is work, which a notice should have said before. */
  catchUp(): void {
    this.#loop.catchUp();
  }

  /** The next pass compares rows and memory: between passes, executions may be on their way into memory. */
  compareSoon(): void {
    this.#compareDue = true;
    this.#loop.catchUp();
  }

  /** From now on it claims nothing; it reads the inbox until the end. Resolves once a pass that is under way has ended. */
  async readInboxOnly(): Promise<void> {
    this.#readsInboxOnly = true;
    await this.#loop.running;
  }

  /** Starts no further pass; resolves once a pass that is under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe?.();
    this.#tickTimer?.cancel();
    await this.#loop.close();
  }

  async #readInbox(): Promise<boolean> {
    const { store, reader, onMessages } = this.#options;
    const runner = reader();
    if (runner === null || !(await store.hasMessages(runner))) return false;
    const messages = await store.inboxOf(runner);
    for (const [id, own] of Map.groupBy(messages, (message) => message.executionId)) onMessages(id, own);
    return messages.length > 0;
  }

  #tickAgain(): void {
    const { store, clock, pollMs } = this.#options;
    const hasNotices = store.subscribe !== undefined;
    this.#tickTimer = clock.timer(hasNotices ? pollMs * roundTicks : pollMs, () => this.#tick(hasNotices));
  }

  #tick(hasNotices: boolean): void {
    if (this.#closed) return;
    this.#tickAgain();
    if (hasNotices || ++this.#ticks % roundTicks === 0) this.#options.onRound();
    if (!this.#options.store.changed()) return;
    this.#options.onChanged(true);
    this.notify();
  }

  async #pass(): Promise<Polled> {
    let found = await this.#readInbox();
    let polled: Polled = { found };
    if (!this.#readsInboxOnly) {
      // executions that can be claimed come before those whose timers are due
      const { taken, contended } = await this.#claim();
      const due = await this.#wakeDue();
      const more = taken > 0 || due.found;
      found ||= more;
      const waits = [more ? 0 : undefined, contended ? this.#options.pollMs : undefined, due.dueInMs];
      polled = { ...due, dueInMs: waits.reduce(earlier) };
    }
    await this.#options.help();
    if (!this.#compareDue || this.#readsInboxOnly) return { ...polled, found };
    this.#compareDue = false;
    return (await this.#options.compare()) ? { ...polled, found: true, dueInMs: 0 } : { ...polled, found };
  }

  async #wakeDue(): Promise<Polled> {
    const { store, clock, pollMs } = this.#options;
    const next = await store.nextWake();
    if (next === null) return { found: false };
    const wait = next - clock.now();
    if (wait > 0)
      return { found: false, dueInMs: wait, safetyNetMs: store.shared ? longestSleepMs : longestSleepAloneMs };
    // another runner holds the rows of an execution that is due and cannot be woken
    return (await store.wake(clock.now())) > 0 ? { found: true } : { found: false, dueInMs: pollMs };
  }

  async #claim(): Promise<{ readonly taken: number; readonly contended: boolean }> {
    const { store, clock, claim, take } = this.#options;
    const wanted = claim();
    if (wanted === null) return nothing;
    const request = { ...wanted, now: clock.now() };
    return (await store.claimable(request)) ? take(request) : nothing;
  }
}

const nothing = { taken: 0, contended: false };

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}
