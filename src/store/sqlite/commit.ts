import { commitBatch } from '../commit/commit.ts';
import { RefusedDataError } from '../transition.ts';
import type { Batch, CommitResult } from '../transition.ts';
import { isDataError } from './errors.ts';
import type { SqliteDriver } from './driver.ts';

/**
 * Writes a batch on SQLite in one synchronous transaction, which is flushed before it is acknowledged. The outcome is always known, so that batches need no number.
 * Throws FencedError, PinRefusedError, RefusedDataError, and SQLite's own error when busy.
 */
export class SqliteCommit {
  readonly #driver: SqliteDriver;
  readonly #now: () => number;

  constructor(driver: SqliteDriver, now: () => number) {
    this.#driver = driver;
    this.#now = now;
  }

  async commit(batch: Batch): Promise<CommitResult> {
    const result = this.#commit(batch);
    await this.#driver.flushed();
    return result;
  }

  #commit(batch: Batch): CommitResult {
    try {
      return this.#driver.transaction(() => this.#write(batch));
    } catch (error) {
      throw isDataError(error) ? this.#refused(batch, error) : error;
    }
  }

  #write(batch: Batch): CommitResult {
    // a batch without a number is never written already
    return this.#driver.drive(commitBatch({ dialect: this.#driver.dialect, now: this.#now() }, batch, false))!;
  }

  /** Finds the first transition with which the beginning of a batch is refused, by halves, in transactions that are taken back. */
  #refused({ transitions, ...place }: Batch, cause: unknown): unknown {
    let [taken, refused, found] = [0, transitions.length, cause];
    while (refused - taken > 1) {
      const middle = Math.floor((taken + refused) / 2);
      const error = this.#refusal({ ...place, transitions: transitions.slice(0, middle) });
      if (error === undefined) taken = middle;
      else if (!isDataError(error)) return error;
      else [refused, found] = [middle, error];
    }
    return new RefusedDataError(transitions[refused - 1]!.id, found);
  }

  /** The error with which a batch is refused; it is never written. */
  #refusal(batch: Batch): unknown {
    const end = new Error('taken back');
    try {
      this.#driver.transaction(() => {
        this.#write(batch);
        throw end;
      });
    } catch (error) {
      return error === end ? undefined : error;
    }
    return undefined;
  }
}
