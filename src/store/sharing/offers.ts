import { isEnded } from '../../core/execution/states.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import type { TaskKey, TaskState } from '../transition.ts';
import { execution } from '../executions/executions.ts';
import { lockHead, post } from '../executions/inbox.ts';
import type { Head } from '../executions/inbox.ts';
import type { ExecutionRecord } from '../tables/executions.ts';
import { isAlive } from '../runners/runners.ts';
import { all, first, run } from '../script.ts';
import type { Dialect, Script, Tx } from '../script.ts';
import type { Row } from '../tables/table.ts';
import { taskStates } from '../tables/task-executions.ts';

// An offer is made, taken and removed only under the lock of the execution's row, which comes before any lock of an offer:
// an owner that withdraws an offer and a helper that takes it never both succeed.

/** An attempt, as owner and helper name it. */
export interface AttemptKey extends TaskKey {
  readonly epoch: number;
  readonly attempt: number;
}

/** The attempts that a runner could run. */
export interface HelpWanted {
  /** The build ids that it can run. */
  readonly buildIds: readonly string[];
  /** The queues that it serves. */
  readonly queues: readonly string[];
  /** True if it may take a suspect; one at a time. */
  readonly mayTakeSuspects: boolean;
}

export interface Take extends HelpWanted {
  readonly runner: string;
  readonly now: number;
  readonly limit: number;
}

/** Payload of a message `helper_started`: a runner has taken offered attempts. They count as begun. */
export interface HelperStarted {
  readonly helper: string;
  readonly at: number;
  readonly attempts: readonly (AttemptKey & { readonly suspect: boolean })[];
}

/** Payload of a message `helper_result`: the ends of attempts at a helper; `end` is in the words of the helper's engine. */
export interface HelperResult {
  readonly helper: string;
  readonly answers: readonly { readonly key: AttemptKey; readonly end: unknown }[];
}

/** Payload of a message `helper_lost`: attempts that were running at a runner that died. */
export interface HelperLost {
  readonly helper: string;
  readonly attempts: readonly AttemptKey[];
}

const wantedText = (dialect: Dialect): string =>
  `helper is null and ${dialect.among('build_id', '$1')} and ${dialect.among('queue', '$2')} and (poison_suspect = 0 or $3 = 1)`;

function wantedParams({ buildIds, queues, mayTakeSuspects }: HelpWanted): [string, string, number] {
  return [JSON.stringify(buildIds), JSON.stringify(queues), Number(mayTakeSuspects)];
}

/** True if there is an offer that a runner could take. */
export function* helpWanted(tx: Tx, wanted: HelpWanted): Script<boolean> {
  return (
    (yield* first(`select 1 as one from offers where ${wantedText(tx.dialect)} limit 1`, ...wantedParams(wanted))) !==
    undefined
  );
}

/**
 * Takes offered attempts: the highest priority first, then the oldest; their owners get messages. Returns the number;
 * `takenOffers` lists them, since the answer to this call may be lost.
 */
export function* takeOffers(tx: Tx, take: Take): Script<number> {
  if (!(yield* isAlive(tx, take.runner))) return 0;
  const found = yield* all<{ execution_id: string; epoch: number; poison_suspect: number }>(
    `select execution_id, epoch, poison_suspect from offers where ${wantedText(tx.dialect)} order by priority desc, offered_at limit $4`,
    ...wantedParams(take),
    take.limit,
  );
  const wanted = [...new Set(found.map((row) => row.execution_id))];
  const heads = yield* lockHeads(tx, wanted);
  let taken = 0;
  for (const id of wanted) {
    const head = heads.get(id);
    if (head === undefined || head.owner === null || isEnded(head.status)) {
      yield* run('delete from offers where execution_id = $1', id);
      continue;
    }
    const rows = found.filter((row) => row.execution_id === id);
    if (rows.some(({ epoch }) => epoch !== head.epoch)) {
      yield* run('delete from offers where execution_id = $1 and epoch <> $2', id, head.epoch);
    }
    if (taken >= take.limit) continue;
    const suspects = rows.some(({ poison_suspect }) => poison_suspect !== 0);
    taken += yield* takeOf(tx, head, { ...take, mayTakeSuspects: suspects, limit: take.limit - taken });
  }
  return taken;
}

export interface OfferRow {
  readonly task: string;
  readonly item: number;
  readonly epoch: number;
  readonly attempt: number;
  readonly poison_suspect: number;
}

function* takeOf(tx: Tx, head: Head, take: Take): Script<number> {
  // attempts without suspicion first, and at most one suspect
  const groups = [
    { suspect: 0, limit: take.limit },
    { suspect: 1, limit: Number(take.mayTakeSuspects) },
  ];
  const taken: OfferRow[] = [];
  for (const { suspect, limit } of groups) {
    if (Math.min(limit, take.limit - taken.length) <= 0) continue;
    const rows = yield* all<OfferRow>(
      `update offers set helper = $4, taken_at = $5 where execution_id = $6 and helper is null and (task, item) in
       (select task, item from offers where execution_id = $6 and poison_suspect = $7 and ${wantedText(tx.dialect)}
        order by offered_at, task, item limit $8) returning task, item, epoch, attempt, poison_suspect`,
      ...wantedParams(take),
      take.runner,
      take.now,
      head.id,
      suspect,
      Math.min(limit, take.limit - taken.length),
    );
    taken.push(...rows);
  }
  if (taken.length === 0) return 0;
  const attempts = taken.map(({ poison_suspect, ...key }) => ({ ...key, suspect: poison_suspect !== 0 }));
  const said: HelperStarted = { helper: take.runner, at: take.now, attempts };
  yield* post({ ...tx, now: take.now }, head, { kind: 'helper_started', name: null, payload: JSON.stringify(said) });
  return taken.length;
}

/** An offer that a runner has taken. */
export interface TakenOffer extends AttemptKey {
  readonly executionId: string;
  readonly tenant: string;
  readonly workflow: string;
  readonly buildId: string;
  readonly priority: number;
  readonly isPoisonSuspect: boolean;
  /** True if its execution still has the owner that offered it. */
  readonly valid: boolean;
  readonly status: ExecutionStatus | null;
}

/** The offers that a runner has taken, by the rows of the database. */
export function* takenOffers(runner: string): Script<TakenOffer[]> {
  const rows = yield* all<OfferRow & TakenOfferRow>(
    `select o.execution_id, o.task, o.item, o.epoch, o.attempt, o.poison_suspect, o.build_id, o.priority, e.tenant, e.workflow, e.owner, e.epoch as now,
     e.status
     from offers o left join executions e on e.id = o.execution_id where o.helper = $1`,
    runner,
  );
  return rows.map((row) => ({
    task: row.task,
    item: row.item,
    epoch: row.epoch,
    attempt: row.attempt,
    executionId: row.execution_id,
    tenant: row.tenant ?? '',
    workflow: row.workflow ?? '',
    buildId: row.build_id,
    priority: row.priority,
    isPoisonSuspect: row.poison_suspect !== 0,
    valid: row.owner !== null && row.now === row.epoch,
    status: row.status,
  }));
}

interface TakenOfferRow {
  readonly execution_id: string;
  readonly build_id: string;
  readonly priority: number;
  readonly tenant: string | null;
  readonly workflow: string | null;
  readonly owner: string | null;
  readonly now: number | null;
  readonly status: ExecutionStatus | null;
}

/** The data for attempts of an execution at a helper. */
export interface Help {
  readonly execution: ExecutionRecord;
  /** The states of the named tasks. */
  readonly tasks: readonly TaskState[];
  /**
   * The attempts that the runner holds of the present owner, each with its item as JSON text, null of a task that is no map.
   * An attempt that is missing was withdrawn, or its offer is void.
   */
  readonly held: readonly (AttemptKey & { readonly value: string | null })[];
}

/** The data for the attempts of an execution that a runner holds, on one snapshot; undefined if the execution is gone. */
export function* helpFor(tx: Tx, id: string, runner: string, tasks: readonly string[]): Script<Help | undefined> {
  const record = yield* execution(id);
  if (record === undefined) return undefined;
  const states = yield* all<Row>(
    `select * from task_executions where execution_id = $1 and item = -1 and ${tx.dialect.among('task', '$2')}`,
    id,
    JSON.stringify(tasks),
  );
  const tasksOf = states.map((row) => taskStates.record(row));
  if (record.owner === null) return { execution: record, tasks: tasksOf, held: [] };
  const held = yield* all<AttemptKey & { value: string | null }>(
    `select o.task, o.item, o.epoch, o.attempt, t.value from offers o
     left join task_executions t on t.execution_id = o.execution_id and t.task = o.task and t.item = o.item
     where o.execution_id = $1 and o.helper = $2 and o.epoch = $3 and (o.item = -1 or t.value is not null)`,
    id,
    runner,
    record.epoch,
  );
  return { execution: record, tasks: tasksOf, held };
}

/**
 * Sends messages to the owners of attempts at runners that are marked dead or have no row, and removes void offers. Returns
 * the number of lost attempts. It is a transaction of its own, after the commit of the mark.
 */
export function* releaseHelped(tx: Tx): Script<number> {
  const gone = 'helper is not null and helper not in (select id from runners where dead = 0)';
  const rows = yield* all<OfferRow & { readonly execution_id: string; readonly helper: string }>(
    `select execution_id, task, item, epoch, attempt, helper from offers where ${gone}`,
  );
  const heads = yield* lockHeads(tx, [...new Set(rows.map((row) => row.execution_id))]);
  for (const head of heads.values()) {
    // read again under the lock: one that was answered meanwhile is not lost
    const lost = yield* all<OfferRow & { readonly helper: string }>(
      `delete from offers where execution_id = $1 and ${gone} returning task, item, epoch, attempt, helper`,
      head.id,
    );
    const attempts = lost.filter(({ epoch }) => epoch === head.epoch);
    if (attempts.length === 0 || head.owner === null) continue;
    const said: HelperLost = { helper: attempts[0]!.helper, attempts: attempts.map(keyOf) };
    yield* post(tx, head, { kind: 'helper_lost', name: null, payload: JSON.stringify(said) });
  }
  yield* removeVoid(tx);
  return rows.length;
}

/**
 * Removes offers of earlier owners. It locks the rows of their executions first, and judges by a new statement: the offers
 * of an owner that claimed meanwhile are not void.
 */
function* removeVoid(tx: Tx): Script<void> {
  const isVoid = `(select 1 from executions e where e.id = execution_id and e.epoch = offers.epoch and e.owner is not null limit 1) is null`;
  const rows = yield* all<{ id: string }>(`select distinct execution_id as id from offers where ${isVoid}`);
  if (rows.length === 0) return;
  const ids = rows.map(({ id }) => id);
  yield* lockHeads(tx, ids);
  yield* run(`delete from offers where ${tx.dialect.among('execution_id', '$1')} and ${isVoid}`, JSON.stringify(ids));
}

/**
 * Counts attempts that helpers had begun and that no owner has read of: their numbers are used up. The execution's row is
 * locked.
 */
export function* countTaken(id: string): Script<void> {
  const messages = yield* all<{ payload: string }>(
    `select payload from inbox_messages where execution_id = $1 and kind = 'helper_started'`,
    id,
  );
  for (const { task, item, attempt } of messages.flatMap(
    ({ payload }) => (JSON.parse(payload) as HelperStarted).attempts,
  )) {
    yield* run(
      'update task_executions set attempt = $4 where execution_id = $1 and task = $2 and item = $3 and attempt < $4',
      id,
      task,
      item,
      attempt,
    );
  }
}

/** The offers of an execution that no runner has taken yet. */
export function* openOffers(id: string): Script<readonly { readonly task: string; readonly queue: string }[]> {
  return yield* all<{ task: string; queue: string }>(
    'select distinct task, queue from offers where execution_id = $1 and helper is null',
    id,
  );
}

/** The rows of executions, locked in the order of their ids. */
export function* lockHeads(tx: Tx, ids: readonly string[]): Script<ReadonlyMap<string, Head>> {
  const heads = new Map<string, Head>();
  for (const id of ids.toSorted()) {
    const head = yield* lockHead(tx, id, null);
    if (head !== undefined) heads.set(id, head);
  }
  return heads;
}

export function keyOf({ task, item, epoch, attempt }: AttemptKey): AttemptKey {
  return { task, item, epoch, attempt };
}
