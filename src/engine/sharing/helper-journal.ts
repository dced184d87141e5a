import type { AttemptKey, Helped, Sharing, TakenOffer } from '../../store/store.ts';
import type { AttemptEnd } from '../execution/attempt.ts';
import { delay } from '../clock.ts';
import type { Clock } from '../clock.ts';
import type { Logger } from '../logger.ts';

export interface HelperJournalOptions {
  readonly store: Sharing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly runner: string;
}

interface Entry {
  readonly helped: Helped;
  /** Told whether it was written: not where the offer is gone. */
  readonly told: (written: boolean) => void;
}

/** What one transaction carries, in characters of JSON text. */
const batchLimit = 8_388_608;
const firstRetryMs = 20;
const lastRetryMs = 1000;

/**
 * Group commit of a helper: gathers what its attempts did while the transaction before was on its way. What failed is tried
 * again until the database takes it, or the runner is given up.
 */
export class HelperJournal {
  readonly #options: HelperJournalOptions;
  #entries: Entry[] = [];
  #isRunning = false;
  #closed = false;

  constructor(options: HelperJournalOptions) {
    this.#options = options;
  }

  /** Resolves once the result of a step is durable; rejects where the offer is gone. */
  async step(offer: TakenOffer, step: Helped['steps'][number]): Promise<void> {
    const written = await this.#add({ ...keyOf(offer), steps: [step], logs: [], end: null });
    if (!written) throw new Error('the attempt was abandoned; its steps are no longer stored');
  }

  log(offer: TakenOffer, line: Helped['logs'][number]): void {
    void this.#add({ ...keyOf(offer), steps: [], logs: [line], end: null });
  }

  /** Says how an attempt ended; resolves once its owner will read that, or with false where nobody waits for it. */
  answer(offer: TakenOffer, end: AttemptEnd): Promise<boolean> {
    return this.#add({ ...keyOf(offer), steps: [], logs: [], end: JSON.stringify(end) });
  }

  /** Writes nothing any more. */
  close(): void {
    this.#closed = true;
    for (const { told } of this.#entries.splice(0)) told(false);
  }

  #add(helped: Helped): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((told) => {
      this.#entries.push({ helped, told });
      if (!this.#isRunning) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#entries.length > 0 && !this.#closed) {
      // whatever else is there in this turn of the event loop goes along
      await new Promise<void>((resolve) => setImmediate(resolve));
      const batch = this.#next();
      const written = new Set(await this.#write(batch));
      for (const [place, { told }] of batch.entries()) told(written.has(place));
    }
    this.#isRunning = false;
  }

  #next(): Entry[] {
    let size = 0;
    const end = this.#entries.findIndex(({ helped }) => (size += sizeOf(helped)) > batchLimit);
    return this.#entries.splice(0, end === -1 ? this.#entries.length : Math.max(1, end));
  }

  /** The places of those that were written. */
  async #write(batch: readonly Entry[]): Promise<readonly number[]> {
    const { store, runner, clock, logger } = this.#options;
    const list = batch.map(({ helped }) => helped);
    for (let wait = firstRetryMs; !this.#closed; wait = Math.min(wait * 2, lastRetryMs)) {
      try {
        return await store.writeHelped(runner, list);
      } catch (error) {
        const message = 'results of attempts for other runners could not be written; retrying';
        if (wait === firstRetryMs) logger.warn({ error }, message);
      }
      await delay(clock, wait);
    }
    return [];
  }
}

function keyOf({ executionId, task, item, epoch, attempt }: TakenOffer): AttemptKey & { readonly executionId: string } {
  return { executionId, task, item, epoch, attempt };
}

function sizeOf({ steps, logs, end }: Helped): number {
  let size = 256 + (end?.length ?? 0);
  for (const { output } of steps) size += output.length;
  for (const { message, data } of logs) size += message.length + (data?.length ?? 0);
  return size;
}
