import { setTimeout } from 'node:timers/promises';
import { StoreUnavailableError } from '../../core/error.ts';
import { isBusy, storeError } from './errors.ts';

/**
 * Retry interval of a change that waits for its turn, ms. A busy timeout inside SQLite would block the event loop
 * instead.
 */
const busyDelayMs = 3;

/**
 * Repeats a synchronous attempt while another process holds the database, up to `patienceMs`. Throws STORE_UNAVAILABLE,
 * and the errors of the attempt, converted.
 */
export async function untilFree<T>(attempt: () => T, where: string, patienceMs: number): Promise<T> {
  const start = performance.now();
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error)) throw storeError(error, `a request to the database ${where} failed`, where);
      if (performance.now() - start > patienceMs) {
        throw new StoreUnavailableError(
          `the database ${where} was locked by another process for ${patienceMs} ms`,
          error,
        );
      }
    }
    await setTimeout(busyDelayMs);
  }
}
