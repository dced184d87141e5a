import { isEnded } from '../../../core/execution.ts';
import type { ExecutionRelease, NewEvent, NewExecution, Transition } from '../../transition.ts';
import { executionParams, tagParams } from '../../executions/executions.ts';
import type { Pinnings } from '../../commit/pinned-versions.ts';
import type { ArrayColumns } from '../arrays.ts';

// what a batch is made of, table by table: the columns, and a transition's rows in their order

/** The columns of an execution that is made, in the order of `executionParams`. */
export const executionArrays: ArrayColumns = {
  id: 'text',
  tenant: 'text',
  workflow: 'text',
  package: 'text',
  version: 'text',
  digest: 'text',
  build_id: 'text',
  status: 'text',
  owner: 'text',
  epoch: 'int',
  priority: 'int',
  created_at: 'bigint',
  wake_at: 'bigint',
  started_at: 'bigint',
  input: 'json',
  tags: 'text',
  idempotency_key: 'text',
  input_hash: 'text',
  limit_key: 'text',
  root_id: 'text',
  parent_id: 'text',
  parent_task: 'text',
  parent_item: 'int',
  schedule_id: 'text',
  schedule_name: 'text',
  slot: 'bigint',
  is_catch_up: 'int',
  input_parsed: 'int',
  retention: 'bigint',
};
/** And of one that a commit makes: it may be let go at once, be the child of another one, and be pinned to a version. */
export const madeArrays: ArrayColumns = {
  ...executionArrays,
  reason: 'text',
  ended_at: 'bigint',
  output: 'json',
  error: 'json',
  error_task: 'text',
  parent_owned: 'text',
  pin: 'int',
  given: 'json',
};
/** The versions that a batch pins to, as `heldText` wants to know of them. */
export const pinArrays: ArrayColumns = {
  n: 'int',
  tenant: 'text',
  package: 'text',
  workflow: 'text',
  version: 'text',
  follows: 'text',
};
export const tagArrays: ArrayColumns = {
  tenant: 'text',
  name: 'text',
  value: 'text',
  created_at: 'bigint',
  execution_id: 'text',
};
export const headArrays: ArrayColumns = {
  id: 'text',
  lets: 'bool',
  status: 'text',
  reason: 'text',
  wake_at: 'bigint',
  ended_at: 'bigint',
  output: 'json',
  error: 'json',
  error_task: 'text',
  inbox_seen: 'int',
  input: 'json',
  progressed: 'bool',
  load_attempts: 'int',
  inbox_acked: 'int',
};
export const taskArrays: ArrayColumns = {
  execution_id: 'text',
  task: 'text',
  item: 'int',
  status: 'text',
  attempt: 'int',
  charged_attempts: 'int',
  epoch: 'int',
  started_at: 'bigint',
  ended_at: 'bigint',
  wake_at: 'bigint',
  output: 'json',
  error: 'json',
  reason: 'text',
  cause: 'text',
  value: 'json',
};
export const stepArrays: ArrayColumns = {
  execution_id: 'text',
  task: 'text',
  item: 'int',
  name: 'text',
  output: 'json',
};
export const logArrays: ArrayColumns = {
  execution_id: 'text',
  task: 'text',
  item: 'int',
  attempt: 'int',
  n: 'int',
  at: 'bigint',
  level: 'text',
  message: 'json',
  data: 'json',
};
export const eventArrays: ArrayColumns = {
  execution_id: 'text',
  seq: 'int',
  type: 'text',
  at: 'bigint',
  task: 'text',
  item: 'int',
  attempt: 'int',
  runner: 'text',
  data: 'json',
  lets: 'bool',
};

export const mailArrays: ArrayColumns = { execution_id: 'text', n: 'int' };

/** What is written of tasks and items. */
export function taskRows(transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap(({ id, tasks }) =>
    tasks.map((t) => [
      id,
      t.task,
      t.item,
      t.status,
      t.attempt,
      t.chargedAttempts,
      t.epoch,
      t.startedAt,
      t.endedAt,
      t.wakeAt,
      t.output,
      t.error,
      t.reason,
      t.cause,
      t.value,
    ]),
  );
}

/** Executions that a batch makes: those of its transitions, and the children of others. */
export function madeRows(runner: string, transitions: readonly Transition[], pinnings: Pinnings): unknown[][] {
  return transitions.flatMap(({ id, create, release, effects }) => {
    const children = (effects?.children ?? []).map((child) => {
      return madeRow(child, null, null, [create === null ? id : null, pinnings.numberOf(child)]);
    });
    if (create === null) return children;
    const owner = create.owned ? runner : null;
    return [madeRow(create, owner, release, [null, pinnings.numberOf(create)]), ...children];
  });
}

function madeRow(
  create: NewExecution,
  owner: string | null,
  letGo: ExecutionRelease | null,
  within: readonly [parent: string | null, pin: number | null],
): unknown[] {
  const row: unknown[] = executionParams(create, owner);
  const last = [...within, create.given];
  if (letGo === null) return [...row, null, null, null, null, null, ...last];
  // made and let go with one commit: it is written as it is then
  const { status, reason, wakeAt, endedAt, output, error, errorTask } = letGo;
  row[7] = status;
  row[8] = null;
  row[12] = wakeAt;
  return [...row, reason, isEnded(status) ? endedAt : null, output, error, errorTask, ...last];
}

export function tagRows(transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap(({ create, effects }) => [
    ...(create === null ? [] : tagParams(create)),
    ...(effects?.children ?? []).flatMap(tagParams),
  ]);
}

export function headRows(transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap((one) => (one.create === null && changesHead(one) ? [headRow(one)] : []));
}

/** The same where it is known who goes, and executions that were made by the same batch may be among them. */
export function changedHeadRows(transitions: readonly Transition[], going: ReadonlySet<Transition>): unknown[][] {
  const changed = transitions.filter((one) => changesHead(one) && (one.create === null || going.has(one)));
  return changed.map((one) => headRow(one, going.has(one)));
}

export function stepRows(transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap(({ id, steps }) => steps.map((s) => [id, s.task, s.item, s.name, s.output]));
}

export function logRows(transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap(({ id, logs }) =>
    logs.map((l) => [id, l.task, l.item, l.attempt, l.n, l.at, l.level, l.message, l.data]),
  );
}

/** Mail that was acted on. */
export function mailRows(transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap(({ id, effects }) => (effects?.messagesDone ?? []).map((n) => [id, n]));
}

function changesHead({ release, parsedInput, progressed, loadAttempts, inboxAcked }: Transition): boolean {
  return release !== null || parsedInput !== null || progressed || loadAttempts !== null || inboxAcked !== null;
}

function headRow(
  { id, release, parsedInput, progressed, loadAttempts, inboxAcked }: Transition,
  lets: boolean = release !== null,
): unknown[] {
  const { status, reason, wakeAt, endedAt, output, error, errorTask, inboxSeen }: Partial<ExecutionRelease> =
    release ?? {};
  const last = [
    id,
    lets,
    status ?? null,
    reason ?? null,
    wakeAt ?? null,
    endedAt ?? null,
    output ?? null,
    error ?? null,
  ];
  return [...last, errorTask ?? null, inboxSeen ?? 0, parsedInput, progressed, loadAttempts, inboxAcked];
}

export function eventRows(runner: string, transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap((one) => [...eventsOf(runner, one), ...(one.effects?.children ?? []).map(createdRow)]);
}

/** The first event of a child, which nobody owns yet. */
export function createdRow({ id, createdAt }: NewExecution): unknown[] {
  return [id, 1, 'execution.created', createdAt, null, null, null, null, null, false];
}

/** The events with which executions are let go. */
export function lastEventRows(runner: string, going: readonly Transition[]): unknown[][] {
  return going.flatMap(({ id, release }) =>
    release!.events.map((e) => [id, e.seq, e.type, e.at, e.task, e.item, e.attempt, runner, e.data, true]),
  );
}

function eventsOf(runner: string, { id, create, events, release }: Transition): unknown[][] {
  const by = create !== null && !create.owned ? null : runner;
  const row = (e: NewEvent, lets: boolean): unknown[] => [
    id,
    e.seq,
    e.type,
    e.at,
    e.task,
    e.item,
    e.attempt,
    by,
    e.data,
    lets,
  ];
  const last = (release?.events ?? []).map((e) => row(e, create === null));
  return [...events.map((e) => row(e, false)), ...last];
}
