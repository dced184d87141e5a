import type { Connection, PrunePlace, Retention } from '../../store/store.ts';
import type { Clock, Timer } from '../clock.ts';
import { timeOf } from '../id.ts';
import type { Logger } from '../logger.ts';

/** The first round begins soon, so that a process that is restarted often removes something too. */
const firstMs = 5000;
const everyMs = 600_000;
/** Where nothing is pruned unless a workflow says so, and nobody else can be on the database. */
const seldomMs = 86_400_000;
/** Rows removed by one transaction: about 10 ms of an idle machine, so that no commit waits for long. */
const rowsAtOnce = 2000;

export interface PrunerOptions {
  readonly store: Retention & Connection;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For workflows that do not say how long their executions are kept, and for the slots of schedules; null for ever. */
  readonly retentionMs: number | null;
  /** The largest difference between the clocks within a round that does not count as a jump. */
  readonly leaseMs: number;
}

/** A moment on both clocks. */
interface Moment {
  readonly wall: number;
  readonly monotonic: number;
}

/** Removes ended executions and slots whose retention is over, in rounds of small steps. */
export class Pruner {
  readonly #options: PrunerOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  /** The creation of the newest execution before this process made any. */
  #newest: Promise<number | null> | undefined;
  /** The beginning of the round before. */
  #last: Moment | undefined;
  #closed = false;

  constructor(options: PrunerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#newest = this.#options.store.newestId().then((id) => (id === null ? null : timeOf(id)));
    // the first round tells
    this.#newest.catch(() => undefined);
    this.#after(firstMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #after(ms: number): void {
    if (this.#closed) return;
    const { clock, store, retentionMs } = this.#options;
    this.#timer = clock.timer(ms, () => {
      this.#running = this.#round().finally(() => {
        this.#after(retentionMs === null && !store.shared ? seldomMs : everyMs);
      });
    });
  }

  async #round(): Promise<void> {
    const { logger } = this.#options;
    try {
      const now = await this.#trusted();
      if (now === null) return;
      const executions = await this.#executions(now);
      const slots = await this.#slots(now);
      if (executions + slots > 0)
        logger.info({ executions, slots }, 'ended executions and slots were removed after their retention');
    } catch (error) {
      logger.warn({ error }, 'ended executions could not be removed; retrying');
    }
  }

  /**
   * The time by which retention is judged, or null if the clock cannot be trusted now: what is removed does not come back when
   * the clock is set right. In the first round it is not later than the newest execution that was there before.
   */
  async #trusted(): Promise<number | null> {
    const { clock, logger, leaseMs } = this.#options;
    const at: Moment = { wall: clock.now(), monotonic: clock.monotonic() };
    const last = this.#last;
    this.#last = at;
    if (last === undefined) {
      const newest = await this.#newest!;
      return newest === null ? null : Math.min(at.wall, newest);
    }
    const jumpMs = at.wall - last.wall - (at.monotonic - last.monotonic);
    if (Math.abs(jumpMs) <= leaseMs) return at.wall;
    logger.warn(
      { jumpMs: Math.round(jumpMs) },
      'the clock was set or the machine slept; ended executions are removed in the next round',
    );
    return null;
  }

  async #executions(now: number): Promise<number> {
    const { store, retentionMs } = this.#options;
    let total = 0;
    for (let from: PrunePlace | null = null; !this.#closed;) {
      const { executions, next } = await store.prune({ now, retentionMs, rows: rowsAtOnce, from });
      total += executions;
      if (next === null) break;
      from = next;
      await turn();
    }
    return total;
  }

  async #slots(now: number): Promise<number> {
    const { store, retentionMs } = this.#options;
    const before = retentionMs === null ? null : now - retentionMs;
    let total = 0;
    for (let from: string | null = null; !this.#closed;) {
      const { slots, next } = await store.pruneSlots({ before, rows: rowsAtOnce, from });
      total += slots;
      if (next === null) break;
      from = next;
      await turn();
    }
    return total;
  }
}

/** Commits that wait for the writer come first. */
async function turn(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
