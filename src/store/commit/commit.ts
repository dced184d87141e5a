import { cancelLocked } from '../executions/commands.ts';
import { insertExecutions } from '../executions/create.ts';
import { familyOf } from '../executions/family.ts';
import { all, bulk, first, run } from '../script.ts';
import type { On, Script, Tx } from '../script.ts';
import { createdEventRow, eventRow, events } from '../tables/events.ts';
import { inboxMessages } from '../tables/inbox-messages.ts';
import { logs } from '../tables/logs.ts';
import { offers } from '../tables/offers.ts';
import { steps } from '../tables/steps.ts';
import { taskExecutions } from '../tables/task-executions.ts';
import { FencedError } from '../transition.ts';
import type { Batch, CommitResult, Effects, NewExecution, Transition } from '../transition.ts';
import {
  changesHead,
  endedOfferRows,
  headChange,
  headChanges,
  logRows,
  messageKeys,
  messageRows,
  offerKeys,
  offerRows,
  stepRows,
  taskRows,
  withdrawnOfferRows,
} from './batch-rows.ts';
import type { OfferKeyRow } from './batch-rows.ts';
import { commitTexts, executionKeys, releases, toldParents } from './commit-texts.ts';
import { checkPins, lockPinnedVersions, madeBy } from './pinned-versions.ts';
import { decideReleases } from './release.ts';
import type { Head } from './release.ts';

/** Batches of one lane that are remembered: a repetition follows its first try at once. */
export const rememberedBatches = 50;

/**
 * Writes a batch. A numbered batch is written once: null if its number is taken. The fence comes first. Throws
 * FencedError, PinRefusedError.
 */
export function* commitBatch(tx: Tx, batch: Batch, isNumbered: boolean): Script<CommitResult | null> {
  const { runner, lane, n, transitions } = batch;
  yield* checkFence(tx, runner);
  if (!isNumbered) return yield* writeTransitions(tx, runner, transitions);
  // before anything else: it waits for an earlier try that is still under way, and then there is nothing left to do
  const fresh = yield* run(
    `insert into batches (runner, lane, n, result) select $1, $2, $3, ''
      where not exists (select 1 from batches where runner = $1 and lane = $2 and n > $3) on conflict do nothing`,
    runner,
    lane,
    n,
  );
  if (fresh === 0) return null;
  const result = yield* writeTransitions(tx, runner, transitions);
  const stored = JSON.stringify(result);
  yield* run('update batches set result = $4 where runner = $1 and lane = $2 and n = $3', runner, lane, n, stored);
  const floor = n - rememberedBatches;
  yield* run('delete from batches where runner = $1 and lane = $2 and n <= $3', runner, lane, floor);
  return result;
}

/** Holds the row of a runner until the end of the transaction. Throws FencedError if it was declared dead. */
export function* checkFence({ dialect }: Tx, runner: string): Script<void> {
  const row = yield* first<{ dead: number }>(`select dead from runners where id = $1${dialect.lock('share')}`, runner);
  if (row?.dead !== 0) throw new FencedError(`runner ${runner} was declared dead`);
}

/**
 * Writes transitions in the transaction of their fence. Rows and effects come first, so that a cancellation precedes every
 * release of the batch; then the releases, in the order of the transitions.
 */
export function* writeTransitions(tx: Tx, runner: string, transitions: readonly Transition[]): Script<CommitResult> {
  const { dialect } = tx;
  const created = madeBy(transitions);
  const pins = yield* lockPinnedVersions(tx, created);
  checkPins(pins, created);
  const heads = yield* lockHeads(tx, transitions);
  const isOurs = ({ id, epoch, create }: Transition): boolean => {
    const head = heads.get(id);
    return create !== null || (head?.owner === runner && head.epoch === epoch);
  };
  const written = transitions.filter(isOurs);
  const lost = written.length === transitions.length ? [] : transitions.filter((one) => !isOurs(one));
  const settled = new Map(madeBy(written).map((create) => [create, pins.settled(create)]));
  const isMoved = (create: NewExecution): boolean => settled.get(create)!.buildId !== create.buildId;
  const ownerOf = (create: NewExecution): string | null => (create.owned && !isMoved(create) ? runner : null);
  const owners = new Map(Array.from(settled, ([create, as]) => [as, ownerOf(create)]));
  yield* insertExecutions(tx, [...settled.values()], (as) => owners.get(as) ?? null);
  yield* dropItems(written);
  const texts = commitTexts(dialect);
  yield* bulk(taskExecutions, taskRows(written), texts.tasks);
  yield* bulk(steps, stepRows(written), texts.steps);
  yield* bulk(logs, logRows(written), texts.logs);
  const eventRows = written.flatMap(({ id, create, events: list, effects }) => {
    const by = create === null ? runner : ownerOf(create);
    const own = list.map((event) => eventRow(id, event, by));
    return effects === null ? own : [...own, ...effects.children.map(createdEventRow)];
  });
  yield* bulk(events, eventRows, texts.events);
  const effects = written.filter((one) => one.effects !== null);
  const { offersTaken, hasCancelled } = yield* carryOut(tx, effects);
  // a cancelled child may be an execution of this batch, and a parent may hear of a child that had no owner
  const latest = hasCancelled ? yield* lockHeads(tx, transitions) : heads;
  const kept = yield* writeReleases(tx, runner, written, latest);
  const moved = written.flatMap(({ id, create }) => (create !== null && isMoved(create) ? [id] : []));
  return { lost: lost.map(({ id }) => id), kept, moved, offersTaken };
}

/**
 * The rows of a batch's executions and of the executions that it tells something, locked in the order of their ids: two
 * runners whose executions tell each other never wait in a circle.
 */
export function* lockHeads(tx: Tx, transitions: readonly Transition[]): Script<ReadonlyMap<string, Head>> {
  const { dialect } = tx;
  const lock = dialect.lock('update');
  const ids = transitions.flatMap(({ id, create, release }) => {
    const own = create === null ? [id] : [];
    return release === null || release.endedAt === null || release.parent === null ? own : [...own, release.parent.id];
  });
  const cancelled = transitions.flatMap(({ effects }) => effects?.cancelChildren ?? []);
  if (cancelled.length > 0 && lock !== '') ids.push(...(yield* familyOf(tx, cancelled)));
  if (ids.length === 0) return new Map();
  const heads = yield* all<Head>(
    `select id, inbox_seq, owner, epoch, status from executions where ${dialect.among('id', '$1')} and pruned = 0 order by id${lock}`,
    JSON.stringify(ids),
  );
  return new Map(heads.map((head) => [head.id, head]));
}

function* dropItems(written: readonly Transition[]): Script<void> {
  for (const { id, effects } of written) {
    for (const task of effects?.itemsDropped ?? []) {
      yield* run('delete from task_executions where execution_id = $1 and task = $2 and item >= 0', id, task);
    }
  }
}

/** The effects of transitions, all but their children. */
function* carryOut(
  tx: Tx,
  written: readonly Transition[],
): Script<{ readonly offersTaken: CommitResult['offersTaken']; readonly hasCancelled: boolean }> {
  if (written.length === 0) return { offersTaken: [], hasCancelled: false };
  const texts = commitTexts(tx.dialect);
  yield* bulk(messageKeys, messageRows(written), texts.messagesDone);
  const of = <K extends keyof Effects>(field: K): { readonly id: string; readonly one: Effects[K][number] }[] =>
    written.flatMap(({ id, effects }) => effects![field].map((one) => ({ id, one: one as Effects[K][number] })));
  const cancelled = of('cancelChildren');
  for (const { one } of cancelled) yield* cancelLocked(tx, one, null);
  for (const { id, one } of of('itemsCancelled')) {
    yield* run(
      `update task_executions set status = 'cancelled', ended_at = $3
       where execution_id = $1 and task = $2 and item >= 0 and status = 'pending'`,
      id,
      one.task,
      one.at,
    );
  }
  yield* bulk(offerKeys, endedOfferRows(written), texts.offersEnded);
  const withdrawn = withdrawnOfferRows(written);
  const back = yield* bulk(offerKeys, withdrawn, texts.offersWithdrawn);
  yield* bulk(offers, offerRows(written), texts.offers);
  return {
    offersTaken: takenOf(
      withdrawn,
      back.rows.map((row) => offerKeys.record(row)),
    ),
    hasCancelled: cancelled.length > 0,
  };
}

/** Of the offers that were to be withdrawn: the ones that did not come back, because a helper has them. */
export function takenOf(withdrawn: readonly OfferKeyRow[], back: readonly OfferKeyRow[]): CommitResult['offersTaken'] {
  const isBack = new Set(back.map(nameOf));
  return withdrawn
    .filter((offer) => !isBack.has(nameOf(offer)))
    .map(({ executionId: id, task, item }) => ({ id, task, item }));
}

function nameOf({ executionId, task, item }: OfferKeyRow): string {
  return `${executionId} ${task} ${item}`;
}

/** Changes the rows of executions and releases them; returns the ones that are kept. */
function* writeReleases(
  { dialect }: On,
  runner: string,
  written: readonly Transition[],
  heads: ReadonlyMap<string, Head>,
): Script<readonly string[]> {
  const texts = commitTexts(dialect);
  const { released, kept, messages, told } = decideReleases(written, heads);
  const isReleased = new Set(released);
  const changed = written.filter((one) => changesHead(one) && one.create === null && !isReleased.has(one));
  yield* bulk(headChanges, changed.map(headChange), texts.headChanges);
  if (released.length === 0) return kept;
  const rows = released.map((one) => ({ ...headChange(one), ...one.release! }));
  yield* bulk(releases, rows, texts.releases);
  const lastEvents = released.flatMap(({ id, release }) => release!.events.map((event) => eventRow(id, event, runner)));
  yield* bulk(events, lastEvents, texts.events);
  const read = released.filter(({ release }) => release!.endedAt !== null && release!.inboxSeen > 0);
  const readKeys = read.map(({ id }) => ({ executionId: id }));
  yield* bulk(executionKeys, readKeys, texts.messagesOfEnded);
  yield* bulk(inboxMessages, messages, texts.messages);
  yield* bulk(toldParents, told, texts.toldParents);
  return kept;
}
