import type { Connection, Retention } from '../../store/store.ts';
import type { Clock, Timer } from '../clock.ts';
import type { Logger } from '../logger.ts';

const everyMs = 600_000;
/** Where nothing is pruned unless a workflow says so, and nobody else can be on the database. */
const seldomMs = 86_400_000;
/** Rows removed by one transaction: a few milliseconds, so that no commit waits for long. */
const rowsAtOnce = 500;

/** Removes ended executions whose time is over, in small steps. */
export class Pruner {
  readonly #store: Retention & Connection;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #retentionMs: number | null;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  /** `retentionMs`: for workflows that do not say themselves how long their executions are kept; null for ever. */
  constructor(options: { store: Retention & Connection; clock: Clock; logger: Logger; retentionMs: number | null }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#retentionMs = options.retentionMs;
  }

  start(): void {
    if (this.#closed) return;
    this.#timer = this.#clock.timer(this.#retentionMs === null && !this.#store.shared ? seldomMs : everyMs, () => {
      this.#running = this.#prune().finally(() => {
        this.start();
      });
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running;
  }

  async #prune(): Promise<void> {
    let executions = 0;
    try {
      for (let more = true; more && !this.#closed;) {
        const before = this.#retentionMs === null ? null : this.#clock.now() - this.#retentionMs;
        const pruned = await this.#store.prune(before, rowsAtOnce);
        executions += pruned.executions;
        more = pruned.more;
        // commits that wait for the writer come first
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      this.#logger.warn({ error }, 'ended executions could not be removed; retrying');
    }
    if (executions > 0) this.#logger.info({ executions }, 'ended executions were removed after their retention');
  }
}
