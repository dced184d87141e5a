import type { PoolClient } from 'pg';
import {
  FencedError,
  OutcomeUnknownError,
  PinRefusedError,
  RefusedDataError,
  UnwritableBatchError,
  batchLimit,
  sizeOf,
} from '../../transition.ts';
import type { Batch, CommitResult } from '../../transition.ts';
import { withdrawnOfferRows } from '../../commit/batch-rows.ts';
import {
  checkFence,
  commitBatch,
  lockHeads,
  rememberedBatches,
  takenOf,
  writeTransitions,
} from '../../commit/commit.ts';
import { EncodingError } from '../arrays.ts';
import { batchOutcome } from './recover.ts';
import { commitStatement, isPlain } from './commit-statement.ts';
import type { CommitRow } from './commit-statement.ts';
import { isConflict, isDataError, isSilence, storeError } from '../errors.ts';
import type { PostgresDriver } from '../driver.ts';
import type { Notice, Tx } from '../../script.ts';
import { BusyError } from '../../store.ts';

/** Of each batch limit that a large batch is long, this share of the deadline is added to its deadline. */
const growth = 0.1;
/** A large batch that was sent so often without an answer, while the database answers others, is taken for too large. */
const mostSilentTries = 3;
/** The result of a batch of which nothing was written, and nothing will be. */
const givenUp = 'given up';

/**
 * The group commit on PostgreSQL: one statement for a plain batch, else the script that SQLite runs too. A batch is
 * written once, by its number. Throws FencedError, PinRefusedError, RefusedDataError, UnwritableBatchError,
 * OutcomeUnknownError.
 */
export class PostgresCommit {
  readonly #driver: PostgresDriver;
  readonly #now: () => number;
  /** By lane: its batch that was sent without an answer. */
  readonly #silent = new Map<number, { readonly runner: string; readonly n: number; readonly times: number }>();

  constructor(driver: PostgresDriver, now: () => number) {
    this.#driver = driver;
    this.#now = now;
  }

  async commit(batch: Batch): Promise<CommitResult> {
    const size = batch.transitions.reduce((sum, one) => sum + sizeOf(one), 0);
    const { deadlineMs } = this.#driver;
    const isLarge = size > batchLimit;
    try {
      const result =
        isPlain(batch) && !isLarge
          ? await this.#atOnce(batch)
          : await this.#driver.once(
              (client) => this.#write(client, batch),
              isLarge ? deadlineMs + Math.ceil((size / batchLimit) * deadlineMs * growth) : deadlineMs,
            );
      this.#driver.tell(noticeOf(batch));
      return result;
    } catch (error) {
      if (isDataError(error)) throw await this.#refused(batch, error);
      const tries = this.#silentTries(batch, error);
      if (error instanceof EncodingError || (isLarge && tries >= mostSilentTries)) return this.#giveUp(batch, error);
      if (isForJournal(error)) throw error;
      if (isConflict(error)) throw new BusyError('another transaction blocked it', { cause: error });
      throw storeError(error, 'the database did not accept a commit');
    }
  }

  /** How often in a row a batch was sent, and no server said what became of it. */
  #silentTries({ runner, lane, n }: Batch, error: unknown): number {
    if (!isSilence(error)) {
      this.#silent.delete(lane);
      return 0;
    }
    const before = this.#silent.get(lane);
    const times = before?.runner === runner && before.n === n ? before.times + 1 : 1;
    this.#silent.set(lane, { runner, n, times });
    return times;
  }

  /**
   * A batch is given up as a whole. First its number is taken for good, by a transaction that waits for a try that is still
   * under way: so what was sent before is either written, which is told, or never will be, however late it comes.
   */
  async #giveUp(batch: Batch, cause: unknown): Promise<CommitResult> {
    const { runner, lane, n } = batch;
    const written = await this.#driver
      .once(async (client) => {
        await this.#driver.drive(client, checkFence(this.#tx(), runner));
        const text = `insert into batches (runner, lane, n, result) values ($1, $2, $3, '${givenUp}') on conflict do nothing`;
        const taken = await this.#driver.run(client, text, [runner, lane, n]);
        return taken.rowCount === 0 ? this.#known(client, batch) : undefined;
      })
      .catch((error: unknown) => {
        throw isForJournal(error) ? error : storeError(error, 'the database did not accept a commit');
      });
    if (written !== undefined) return written;
    throw new UnwritableBatchError(cause instanceof EncodingError ? cause.cause : cause);
  }

  /** One statement, one round trip. */
  async #atOnce(batch: Batch): Promise<CommitResult> {
    const { runner, n, transitions } = batch;
    const { text, values } = commitStatement(batch, n - rememberedBatches, this.#driver.deadlineMs);
    const said = await this.#driver.statement<CommitRow>(text, values);
    // the server's default is another isolation than a transaction of ours has, or there is a version that cannot be pinned
    // to, as far as this statement could see: nothing was written
    if (said.isolated === 0 || said.refused > 0) return this.#driver.once((client) => this.#write(client, batch));
    if (said.alive === 0) throw new FencedError(`runner ${runner} was declared dead`);
    if (said.fresh === 0) return this.#driver.once((client) => this.#known(client, batch));
    const owned = new Set(said.owned);
    const lost = transitions.filter(({ id, create }) => create === null && !owned.has(id)).map(({ id }) => id);
    const made = new Set(transitions.filter(({ create }) => create !== null).map(({ id }) => id));
    return {
      lost,
      kept: said.held,
      moved: said.moved.filter((id) => made.has(id)),
      offersTaken: takenOf(
        withdrawnOfferRows(transitions),
        said.back.map(({ id, task, item }) => ({ executionId: id, task, item })),
      ),
    };
  }

  /**
   * A batch that an earlier try wrote, or one that comes so late that it is not remembered any more. This transaction writes
   * itself: only its own commit confirms that the row, which is there to be seen, is on the standby too.
   */
  async #known(client: PoolClient, batch: Batch): Promise<CommitResult> {
    const { runner, lane, n } = batch;
    const { rows } = await this.#driver.run<{ result: string }>(
      client,
      'update batches set result = result where runner = $1 and lane = $2 and n = $3 returning result',
      [runner, lane, n],
    );
    const [known] = rows;
    if (known === undefined) throw new FencedError(`batch ${n} of runner ${runner} was overtaken by later ones`);
    if (known.result === givenUp) throw new UnwritableBatchError(new Error('it was given up before'));
    return known.result === '' ? batchOutcome(this.#driver, client, batch) : (JSON.parse(known.result) as CommitResult);
  }

  #tx(): Tx {
    return { dialect: this.#driver.dialect, now: this.#now() };
  }

  async #write(client: PoolClient, batch: Batch): Promise<CommitResult> {
    const result = await this.#driver.drive(client, commitBatch(this.#tx(), batch, true));
    return result ?? this.#known(client, batch);
  }

  /** Finds the transition that the database will never take, in a transaction that is taken back. */
  async #refused(batch: Batch, cause: unknown): Promise<Error> {
    try {
      return await this.#driver.once<Error>(async (client) => {
        throw new Tried(await this.#firstRefused(client, batch, cause));
      });
    } catch (error) {
      if (error instanceof Tried) return error.found;
      if (error instanceof EncodingError) return new UnwritableBatchError(error.cause);
      return error instanceof PinRefusedError
        ? error
        : (storeError(error, 'the database did not accept a commit') as Error);
    }
  }

  /**
   * By halves and in order, each tried on top of those that were taken before it: the first that is refused by itself, or
   * beside one of those. What is taken stays, so that all tries together write no more than two batches.
   */
  async #firstRefused(client: PoolClient, { runner, transitions }: Batch, cause: unknown): Promise<RefusedDataError> {
    // all rows at once, in the order in which others lock them
    await this.#driver.drive(client, lockHeads(this.#tx(), transitions));
    let [from, to] = [0, transitions.length];
    while (from < to) {
      const middle = from + Math.ceil((to - from) / 2);
      await client.query('savepoint half');
      try {
        const half = transitions.slice(from, middle);
        await this.#driver.drive(client, writeTransitions(this.#tx(), runner, half));
        from = middle;
      } catch (error) {
        if (!isDataError(error)) throw error;
        if (middle - from === 1) return new RefusedDataError(transitions[from]!.id, error);
        await client.query('rollback to savepoint half');
        to = middle;
      }
    }
    // one after the other they are taken, only together they are not
    return new RefusedDataError(transitions[to - 1]!.id, cause);
  }
}

/** What is no error of the database's, and the journal knows what to do. */
function isForJournal(error: unknown): boolean {
  return [FencedError, OutcomeUnknownError, PinRefusedError, UnwritableBatchError].some(
    (kind) => error instanceof kind,
  );
}

/** Takes a trial back. */
class Tried extends Error {
  override readonly name = 'Tried';
  readonly found: RefusedDataError;

  constructor(found: RefusedDataError) {
    super();
    this.found = found;
  }
}

/** Others look for work where there may be some, and else only at what they wait for. */
function noticeOf({ transitions }: Batch): Notice {
  const forOthers = transitions.some(({ create, effects, release }) => {
    const leaves = release !== null && (release.endedAt === null || release.parent !== null || release.freesLimit);
    return (create !== null && !create.owned) || effects !== null || leaves;
  });
  return forOthers ? 'work' : 'any';
}
