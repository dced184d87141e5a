import { isEnded } from '../../core/execution/states.ts';
import { post } from '../executions/inbox.ts';
import type { Head } from '../executions/inbox.ts';
import { isAlive } from '../runners/runners.ts';
import { all, bulk, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';
import { logs } from '../tables/logs.ts';
import { steps } from '../tables/steps.ts';
import type { Table } from '../tables/table.ts';
import type { NewLog, NewStep } from '../transition.ts';
import { keyOf, lockHeads } from './offers.ts';
import type { AttemptKey, OfferRow } from './offers.ts';

/** The work of a helper on one attempt. */
export interface Helped extends AttemptKey {
  readonly executionId: string;
  readonly steps: readonly Pick<NewStep, 'name' | 'output'>[];
  readonly logs: readonly Omit<NewLog, 'task' | 'item' | 'attempt'>[];
  /** Its end, as JSON text; null while it goes on. */
  readonly end: string | null;
}

/** The most characters of answers in one message. */
const messageLength = 1_048_576;

/**
 * Writes the work of helpers: steps and logs, and the ends of attempts as messages to their owners. Only if the runner
 * lives, still holds the offer, and the execution still has the owner that offered it. Returns the indexes of those that
 * were written. It holds locks that the owners' commits wait for: the number of statements does not depend on the number of
 * attempts.
 */
export function* writeHelped(tx: Tx, runner: string, list: readonly Helped[]): Script<readonly number[]> {
  if (!(yield* isAlive(tx, runner))) return [];
  const heads = yield* lockHeads(tx, [...new Set(list.map(({ executionId }) => executionId))]);
  const held = yield* heldOf(tx, list, runner);
  const mine = [...list.entries()].filter(([, helped]) => held.has(nameOf(helped)));
  const written = mine.map(([, helped]) => helped);
  // a repetition after a lost answer finds the rows of the first try
  const insert = <R>(table: Table<R>, rows: readonly R[]): Script<unknown> =>
    bulk(table, rows, tx.dialect.bulk.insert(table, 'on conflict do nothing'));
  yield* insert(steps, written.flatMap(stepsOf));
  yield* insert(logs, written.flatMap(logsOf));
  const ended = Map.groupBy(
    written.filter(({ end }) => end !== null),
    ({ executionId }) => executionId,
  );
  for (const [id, answers] of ended) yield* answer(tx, heads.get(id), runner, answers);
  return mine.map(([place]) => place);
}

/**
 * The attempts of a list that a runner holds. No other transaction changes that: the rows of their executions are locked.
 */
function* heldOf(tx: Tx, list: readonly Helped[], runner: string): Script<ReadonlySet<string>> {
  const rows = yield* all<OfferRow & { readonly execution_id: string }>(
    `select execution_id, task, item, epoch, attempt from offers where ${tx.dialect.among('execution_id', '$1')} and helper = $2`,
    JSON.stringify([...new Set(list.map(({ executionId }) => executionId))]),
    runner,
  );
  return new Set(rows.map(({ execution_id: executionId, ...key }) => nameOf({ executionId, ...key })));
}

function nameOf({ executionId, task, item, epoch, attempt }: AttemptKey & { readonly executionId: string }): string {
  return `${executionId} ${item} ${epoch} ${attempt} ${task}`;
}

function stepsOf({ executionId, task, item, steps: list }: Helped): (NewStep & { executionId: string })[] {
  return list.map((step) => ({ executionId, task, item, ...step }));
}

function logsOf({ executionId, task, item, attempt, logs: list }: Helped): (NewLog & { executionId: string })[] {
  return list.map((line) => ({ executionId, task, item, attempt, ...line }));
}

/** Ends offers, and sends their ends to the owner; not to a new owner, which has offered nothing. */
function* answer(tx: Tx, head: Head | undefined, helper: string, ended: readonly Helped[]): Script<void> {
  yield* run(
    `delete from offers where execution_id = $1 and helper = $2 and ${tx.dialect.among("task || ' ' || item", '$3')}`,
    ended[0]!.executionId,
    helper,
    JSON.stringify(ended.map(({ task, item }) => `${task} ${item}`)),
  );
  if (head === undefined || head.owner === null || isEnded(head.status)) return;
  const wanted = ended.filter(({ epoch }) => epoch === head.epoch);
  let inbox = head.inbox_seq;
  for (const piece of pieces(wanted, ({ end }) => end!.length)) {
    yield* post(
      tx,
      { ...head, inbox_seq: inbox },
      { kind: 'helper_result', name: null, payload: helperResultText(helper, piece) },
    );
    inbox++;
  }
}

/** A `HelperResult` as JSON text; the ends are JSON text already. */
function helperResultText(helper: string, list: readonly Helped[]): string {
  const answers = list.map((one) => `{"key":${JSON.stringify(keyOf(one))},"end":${one.end!}}`);
  return `{"helper":${JSON.stringify(helper)},"answers":[${answers.join(',')}]}`;
}

/** A list in pieces of a bounded length each; an entry that is longer by itself is a piece of its own. */
function pieces<T>(list: readonly T[], lengthOf: (one: T) => number): T[][] {
  const found: T[][] = [];
  let length = Infinity;
  for (const one of list) {
    const more = lengthOf(one);
    if (length + more > messageLength) {
      found.push([]);
      length = 0;
    }
    found.at(-1)!.push(one);
    length += more;
  }
  return found;
}
