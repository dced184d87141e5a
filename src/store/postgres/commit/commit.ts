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
import type { Batch, CommitResult, Effects, NewExecution, Transition } from '../../transition.ts';
import { cancelLocked } from '../../executions/commands.ts';
import { familyOf } from '../../executions/family.ts';
import { checkPins, lockPinnedVersions, madeBy } from '../../commit/pinned-versions.ts';
import type { Pins } from '../../commit/pinned-versions.ts';
import { EncodingError, arraysOf, rowsFrom } from '../arrays.ts';
import { createdEventRow, eventRow, events } from '../../tables/events.ts';
import { executionTags, tagRows } from '../../tables/execution-tags.ts';
import { newExecutionRow, newExecutions } from '../../tables/executions.ts';
import { logs } from '../../tables/logs.ts';
import { offerOverwrite, offers } from '../../tables/offers.ts';
import { steps } from '../../tables/steps.ts';
import type { Table } from '../../tables/table.ts';
import { taskExecutions, taskOverwrite } from '../../tables/task-executions.ts';
import { endedOfferRows, offerKeys, offerRows, removeOffers, takenOf, withdrawnOfferRows } from './offer-rows.ts';
import type { OfferKey } from './offer-rows.ts';
import { batchOutcome } from './recover.ts';
import type { CommitDraft } from './recover.ts';
import { releaseWrites } from './release.ts';
import type { Head } from './release.ts';
import { logRows, stepRows, taskRows } from './batch-rows.ts';
import { commitStatement, isPlain } from './commit-statement.ts';
import type { CommitRow } from './commit-statement.ts';
import { isConflict, isDataError, isSilence, storeError } from '../errors.ts';
import type { PostgresDriver } from '../driver.ts';
import type { Notice } from '../../script.ts';
import { BusyError } from '../../store.ts';

/** Batches of one runner that are remembered: a repetition follows its first try at once. */
const remembered = 50;
/** Of each batch limit that a large batch is long, this share of the deadline is added to its deadline. */
const growth = 0.1;
/** A large batch that was sent so often without an answer, while the database answers others, is taken for too large. */
const mostSilentTries = 3;
/** The result of a batch of which nothing was written, and nothing will be. */
const givenUp = 'given up';

/**
 * The group commit on PostgreSQL: a whole batch in one transaction, each kind of row as one statement. The fence comes
 * first; a batch is written once, by its number. Throws FencedError, PinRefusedError, RefusedDataError, UnwritableBatchError,
 * OutcomeUnknownError.
 */
export class PostgresCommit {
  readonly #driver: PostgresDriver;
  readonly #now: () => number;
  #silent: { readonly runner: string; readonly n: number; readonly times: number } | undefined;

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
  #silentTries({ runner, n }: Batch, error: unknown): number {
    if (!isSilence(error)) {
      this.#silent = undefined;
      return 0;
    }
    const before = this.#silent;
    const times = before?.runner === runner && before.n === n ? before.times + 1 : 1;
    this.#silent = { runner, n, times };
    return times;
  }

  /**
   * A batch is given up as a whole. First its number is taken for good, by a transaction that waits for a try that is still
   * under way: so what was sent before is either written, which is told, or never will be, however late it comes.
   */
  async #giveUp(batch: Batch, cause: unknown): Promise<CommitResult> {
    const { runner, n } = batch;
    const written = await this.#driver
      .once(async (client) => {
        await this.#fence(client, runner);
        const text = `insert into batches (runner, n, result) values ($1, $2, '${givenUp}') on conflict do nothing`;
        const taken = await this.#driver.run(client, text, [runner, n]);
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
    const { text, values } = commitStatement(batch, n - remembered, this.#driver.deadlineMs);
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
      offersTaken: takenOf(transitions, said.back),
    };
  }

  /**
   * A batch that an earlier try wrote, or one that comes so late that it is not remembered any more. This transaction writes
   * itself: only its own commit confirms that the row, which is there to be seen, is on the standby too.
   */
  async #known(client: PoolClient, batch: Batch): Promise<CommitResult> {
    const { runner, n } = batch;
    const { rows } = await this.#driver.run<{ result: string }>(
      client,
      'update batches set result = result where runner = $1 and n = $2 returning result',
      [runner, n],
    );
    const [known] = rows;
    if (known === undefined) throw new FencedError(`batch ${n} of runner ${runner} was overtaken by later ones`);
    if (known.result === givenUp) throw new UnwritableBatchError(new Error('it was given up before'));
    return known.result === '' ? batchOutcome(this.#driver, client, batch) : (JSON.parse(known.result) as CommitResult);
  }

  async #write(client: PoolClient, batch: Batch): Promise<CommitResult> {
    const { runner, n, transitions } = batch;
    await this.#fence(client, runner);
    // first of all: it waits for an earlier try that is still under way, and then there is nothing left to do
    const fresh = await this.#driver.run(
      client,
      `insert into batches (runner, n, result) select $1, $2, ''
        where not exists (select 1 from batches where runner = $1 and n > $2) on conflict do nothing`,
      [runner, n],
    );
    if (fresh.rowCount === 0) return this.#known(client, batch);
    const result = await this.#apply(client, runner, transitions);
    await this.#driver.run(client, 'update batches set result = $3 where runner = $1 and n = $2', [
      runner,
      n,
      JSON.stringify(result),
    ]);
    await this.#driver.run(client, 'delete from batches where runner = $1 and n <= $2', [runner, n - remembered]);
    return result;
  }

  async #fence(client: PoolClient, runner: string): Promise<void> {
    const text = 'select dead from runners where id = $1 for share';
    const { rows } = await this.#driver.run<{ dead: number }>(client, text, [runner]);
    if (rows[0]?.dead !== 0) throw new FencedError(`runner ${runner} was declared dead`);
  }

  async #apply(client: PoolClient, runner: string, transitions: readonly Transition[]): Promise<CommitResult> {
    const result: CommitDraft = { lost: [], kept: [], moved: [], offersTaken: [] };
    const made = madeBy(transitions);
    const pins = await this.#driver.drive(client, lockPinnedVersions(made, this.#driver.dialect));
    checkPins(pins, made);
    const heads = await this.#heads(client, transitions);
    const isOwned = ({ id, epoch }: Transition): boolean =>
      heads.get(id)?.owner === runner && heads.get(id)?.epoch === epoch;
    const written = transitions.filter((one) => one.create !== null || isOwned(one));
    for (const one of transitions) if (one.create === null && !isOwned(one)) result.lost.push(one.id);
    await this.#create(client, runner, written, pins, result);
    for (const { id, effects } of written) {
      for (const task of effects?.itemsDropped ?? []) {
        await this.#driver.run(
          client,
          'delete from task_executions where execution_id = $1 and task = $2 and item >= 0',
          [id, task],
        );
      }
    }
    await this.#rows(client, runner, written, result);
    for (const transition of written) {
      const { id, effects } = transition;
      if (effects === null) continue;
      await this.#carryOut(client, id, effects);
    }
    await this.#offers(client, written, result);
    // a child that is cancelled may be one of these: its row has got mail just now
    const cancels = written.some(({ effects }) => (effects?.cancelChildren.length ?? 0) > 0);
    const now = cancels ? await this.#heads(client, transitions) : heads;
    const { held, statements } = releaseWrites(runner, written, now);
    result.kept.push(...held);
    for (const { text, values } of statements) await this.#driver.run(client, text, values);
    return result;
  }

  /**
   * The rows of a batch's executions, locked in the order of their ids together with those of others that are told
   * something: two runners whose executions tell each other's never wait in a circle.
   */
  async #heads(client: PoolClient, transitions: readonly Transition[]): Promise<Map<string, Head>> {
    const ids = transitions.flatMap(({ id, create, release }) => [
      ...(create === null ? [id] : []),
      ...(release === null || release.endedAt === null || release.parent === null ? [] : [release.parent.id]),
    ]);
    const cancelled = transitions.flatMap(({ effects }) => effects?.cancelChildren ?? []);
    if (cancelled.length > 0) {
      ids.push(
        ...(await this.#driver.drive(client, familyOf({ dialect: this.#driver.dialect, now: this.#now() }, cancelled))),
      );
    }
    if (ids.length === 0) return new Map();
    const { rows } = await this.#driver.run<Head>(
      client,
      'select id, inbox_seq, owner, epoch, status from executions where id = any($1::text[]) and pruned = 0 order by id for update',
      [ids],
    );
    return new Map(rows.map((head) => [head.id, head]));
  }

  async #create(
    client: PoolClient,
    runner: string,
    written: readonly Transition[],
    pins: Pins,
    result: CommitDraft,
  ): Promise<void> {
    const creates: { readonly now: NewExecution; readonly owner: string | null }[] = [];
    const own = written.flatMap(({ create }) => create ?? []);
    const children = written.flatMap(({ effects }) => effects?.children ?? []);
    const moved = own.filter((create) => pins.settled(create).buildId !== create.buildId);
    result.moved.push(...moved.map(({ id }) => id));
    for (const create of [...own, ...children]) {
      const now = pins.settled(create);
      creates.push({ now, owner: create.owned && now.buildId === create.buildId ? runner : null });
    }
    if (creates.length === 0) return;
    const rows = creates.map(({ now, owner }) => newExecutionRow(now, owner));
    await this.#insert(client, newExecutions, rows);
    const tags = creates.flatMap(({ now }) => tagRows(now));
    await this.#insert(client, executionTags, tags);
  }

  async #rows(
    client: PoolClient,
    runner: string,
    written: readonly Transition[],
    { moved }: CommitDraft,
  ): Promise<void> {
    await this.#insert(client, taskExecutions, taskRows(written), taskOverwrite);
    await this.#insert(client, steps, stepRows(written));
    await this.#insert(client, logs, logRows(written));
    const rows = written.flatMap(({ id, create, events: list, effects }) => {
      const by = create !== null && (!create.owned || moved.includes(id)) ? null : runner;
      return [...list.map((event) => eventRow(id, event, by)), ...(effects?.children ?? []).map(createdEventRow)];
    });
    await this.#insert(client, events, rows);
  }

  async #carryOut(client: PoolClient, id: string, effects: Effects): Promise<void> {
    const { messagesDone, cancelChildren, itemsCancelled } = effects;
    if (messagesDone.length > 0) {
      await this.#driver.run(client, 'delete from inbox_messages where execution_id = $1 and n = any($2::int[])', [
        id,
        messagesDone,
      ]);
    }
    for (const child of cancelChildren) {
      await this.#driver.drive(client, cancelLocked({ dialect: this.#driver.dialect, now: this.#now() }, child, null));
    }
    for (const { task, at } of itemsCancelled) {
      await this.#driver.run(
        client,
        `update task_executions set status = 'cancelled', ended_at = $3
         where execution_id = $1 and task = $2 and item >= 0 and status = 'pending'`,
        [id, task, at],
      );
    }
  }

  async #offers(client: PoolClient, written: readonly Transition[], result: CommitDraft): Promise<void> {
    const remove = async (rows: ReturnType<typeof endedOfferRows>, condition: string): Promise<readonly OfferKey[]> => {
      if (rows.length === 0) return [];
      const from = rowsFrom(offerKeys, 1, 'r');
      const text = `${removeOffers(from, 'true')}${condition} returning offers.execution_id as id, offers.task, offers.item`;
      return (await this.#driver.run<OfferKey>(client, text, arraysOf(offerKeys, rows))).rows;
    };
    await remove(endedOfferRows(written), '');
    const back = await remove(withdrawnOfferRows(written), ' and offers.helper is null');
    result.offersTaken.push(...takenOf(written, back));
    await this.#insert(client, offers, offerRows(written), offerOverwrite);
  }

  /** Inserts many rows with one statement, column by column. */
  async #insert<R>(client: PoolClient, table: Table<R>, rows: readonly R[], conflict = ''): Promise<void> {
    if (rows.length === 0) return;
    const text = `${table.into} select ${table.names()} from ${rowsFrom(table, 1, 'r')} ${conflict}`;
    await this.#driver.run(client, text, arraysOf(table, rows));
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
    await this.#heads(client, transitions);
    let [from, to] = [0, transitions.length];
    while (from < to) {
      const middle = from + Math.ceil((to - from) / 2);
      await client.query('savepoint half');
      try {
        await this.#apply(client, runner, transitions.slice(from, middle));
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
    const leaves = release !== null && (release.endedAt === null || release.parent !== null);
    return (create !== null && !create.owned) || effects !== null || leaves;
  });
  return forOthers ? 'work' : 'any';
}
