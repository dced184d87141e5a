import { delay } from '../engine/clock.ts';
import type { Clock } from '../engine/clock.ts';
import type { Logger } from '../engine/logger.ts';
import { postponeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import type { Scripts } from '../store/store.ts';
import { isPassing } from './start.ts';

const firstDelayMs = 1000;
const longestDelayMs = 60_000;
/** The longest delay if the error may be that of a database that is unavailable: then no schedule is the cause. */
const longestPassingMs = 8000;
/** After so many failures in a row that may be the database's, the database counts as unavailable. */
const failuresInARow = 3;

export interface ApartOptions {
  readonly store: Scripts;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly isClosed: () => boolean;
}

interface Aside {
  readonly failures: number;
  /** Monotonic, ms. */
  readonly until: number;
}

interface Failed {
  readonly record: ScheduleRecord;
  readonly error: unknown;
}

/** Writes many schedules in one transaction. A schedule that makes its transaction fail is put aside, and the others go on. */
export class Apart {
  readonly #options: ApartOptions;
  readonly #aside = new Map<string, Aside>();

  constructor(options: ApartOptions) {
    this.#options = options;
  }

  /** The number of schedules that failed by themselves and were not written since. */
  get size(): number {
    return this.#aside.size;
  }

  /** True while a schedule waits for its next try. */
  has({ id }: ScheduleRecord): boolean {
    const aside = this.#aside.get(id);
    return aside !== undefined && aside.until > this.#options.clock.monotonic();
  }

  /**
   * Runs a script on a batch as one transaction; if that fails, as one for each of the batch. Returns the results, and
   * whether there was one transaction only. Throws what the database throws while it is unavailable.
   */
  async write<One extends { readonly record: ScheduleRecord }, R>(
    batch: readonly One[],
    script: (tx: Tx, batch: readonly One[]) => Script<R>,
  ): Promise<{ readonly results: readonly R[]; readonly whole: boolean }> {
    try {
      const result = await this.#options.store.write((tx) => script(tx, batch));
      for (const { record } of batch) this.#aside.delete(record.id);
      return { results: [result], whole: true };
    } catch (error) {
      if (batch.length === 1 && isPassing(error)) throw error;
      this.#options.logger.debug({ error, schedules: batch.length }, 'a batch of schedules failed; one by one now');
    }
    const results: R[] = [];
    const failed: Failed[] = [];
    let inARow = 0;
    for (const one of batch) {
      if (this.#options.isClosed()) break;
      // each transaction blocks the event loop on SQLite
      await delay(this.#options.clock, 0);
      try {
        results.push(await this.#options.store.write((tx) => script(tx, [one])));
        this.#aside.delete(one.record.id);
        inARow = 0;
      } catch (error) {
        failed.push({ record: one.record, error });
        inARow = isPassing(error) ? inARow + 1 : 0;
        if (inARow < failuresInARow && !(isPassing(error) && batch.length === 1)) continue;
        for (const each of failed) this.#put(each);
        throw error;
      }
    }
    for (const each of failed) await this.#postpone(each);
    return { results, whole: false };
  }

  /** Leaves a schedule out for a while, which grows with each failure; returns that time, ms. */
  #put({ record, error }: Failed): number {
    const { clock } = this.#options;
    const failures = (this.#aside.get(record.id)?.failures ?? 0) + 1;
    const longest = isPassing(error) ? longestPassingMs : longestDelayMs;
    const delayMs = Math.min(firstDelayMs * 2 ** Math.min(failures - 1, 10), longest);
    this.#aside.set(record.id, { failures, until: clock.monotonic() + delayMs });
    return delayMs;
  }

  async #postpone(failed: Failed): Promise<void> {
    const { store, clock, logger } = this.#options;
    const { record, error } = failed;
    const delayMs = this.#put(failed);
    const details = { schedule: record.name, tenant: record.tenant, retryInMs: delayMs };
    logger.warn({ ...details, error }, 'a schedule could not be fired; it is postponed, and no slot is lost');
    try {
      await store.write(() => postponeSchedule(record, clock.now() + delayMs));
    } catch (thrown) {
      logger.debug({ ...details, error: thrown }, 'the delay could not be written; only this runner leaves it out');
    }
  }
}
