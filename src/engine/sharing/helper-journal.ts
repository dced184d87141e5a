import { StoreRefusedError } from '../../core/error.ts';
import type { CloacinaError } from '../../core/error.ts';
import type { AttemptKey, TakenOffer, Helped, Sharing } from '../../store/store.ts';
import type { AttemptEnd } from '../execution/attempt.ts';
import type { Clock } from '../clock.ts';
import { GroupCommit } from '../group-commit.ts';
import type { Logger } from '../logger.ts';

export interface HelperJournalOptions {
  readonly store: Sharing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly runner: string;
}

interface Entry {
  readonly helped: Helped;
  /** False where the offer is gone, or the journal is closed. */
  readonly resolve: (written: boolean) => void;
  readonly reject: (error: CloacinaError) => void;
}

/** Group commit of a helper: the steps, log lines and ends of the attempts that it runs for other runners. */
export class HelperJournal {
  readonly #group: GroupCommit<Entry, Helped, readonly number[]>;
  #closed = false;

  constructor({ store, clock, logger, runner }: HelperJournalOptions) {
    this.#group = new GroupCommit({
      clock,
      logger,
      noun: 'results of attempts for other runners',
      lanes: 1,
      change: ({ helped }) => helped,
      sizeOf,
      write: (_, list) => store.writeHelped(runner, list),
      written: (entries, places) => {
        const written = new Set(places);
        for (const [place, { resolve }] of entries.entries()) resolve(written.has(place));
      },
      refused: ({ helped: { executionId, task }, reject }, cause) => {
        logger.error(
          { execution: executionId, task, error: cause },
          'the database refuses a result of an attempt for another runner; the attempt fails',
        );
        reject(new StoreRefusedError('the database refuses what the attempt stores', cause));
      },
      dropped: ({ resolve }) => resolve(false),
    });
  }

  /** Resolves once the result of a step is durable; rejects where the offer is gone, or with STORE_REFUSED. */
  async step(offer: TakenOffer, step: Helped['steps'][number]): Promise<void> {
    const written = await this.#add({ ...keyOf(offer), steps: [step], logs: [], end: null });
    if (!written) throw new Error('the attempt was given up; the results of its steps are not stored');
  }

  /** Resolves once the line is durable, or the offer is gone; rejects with STORE_REFUSED. */
  async log(offer: TakenOffer, line: Helped['logs'][number]): Promise<void> {
    await this.#add({ ...keyOf(offer), steps: [], logs: [line], end: null });
  }

  /** Resolves once the owner will read the end of the attempt, with false where it is not wanted; rejects with STORE_REFUSED. */
  answer(offer: TakenOffer, end: AttemptEnd): Promise<boolean> {
    return this.#add({ ...keyOf(offer), steps: [], logs: [], end: JSON.stringify(end) });
  }

  /** From now on it writes nothing. */
  close(): void {
    this.#closed = true;
    this.#group.fence();
  }

  #add(helped: Helped): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((resolve, reject) => this.#group.mark({ helped, resolve, reject }));
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
