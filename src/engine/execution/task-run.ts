import { isTaskEnded } from '../../core/execution.ts';
import type { TaskStatus } from '../../core/execution.ts';
import type { SkipReason } from '../../core/definition/definition.ts';
import type { TaskSpec } from '../../core/definition/spec.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { NewOffer, TaskState } from '../../store/transition.ts';
import type { Attempt } from './attempt.ts';
import type { Timer } from '../clock.ts';
import type { SlotRequest } from '../slots.ts';

/** The next attempt of a task as other runners may take it. */
export interface RunOffer {
  readonly row: NewOffer;
  /** A helper has it. */
  taken: boolean;
  /** It is being taken back. */
  withdrawing: boolean;
  /** Told whether it was taken back, as soon as that is known. */
  onKnown: ((isBack: boolean) => void) | undefined;
}

/** One task of a live execution: what is stored of it, and what of it is running. */
export interface TaskRun {
  readonly index: number;
  readonly spec: TaskSpec;
  /** The place of an item in its map; -1 for a task, and for a map itself. */
  readonly item: number;
  /** The item (JSON text) of an item; else null. */
  readonly value: string | null;
  status: TaskStatus;
  attempt: number;
  chargedAttempts: number;
  epoch: number;
  startedAt: number | null;
  endedAt: number | null;
  wakeAt: number | null;
  output: string | null;
  error: TaskError | null;
  reason: SkipReason | null;
  cause: string | null;
  /** Runs alone, begins only after its start is durable, and is charged by that start. */
  isPoisonSuspect: boolean;
  /** Whether the running attempt was charged when it began. */
  charged: boolean;
  running: Attempt | undefined;
  /** Its code, or the database, is asked something: nothing else happens to it meanwhile. */
  asking: boolean;
  /** It has a slot, and begins once its start is durable. */
  starting: boolean;
  slot: SlotRequest | undefined;
  /** The attempt is offered to other runners, or one of them runs it. */
  offer: RunOffer | undefined;
  /** How many helpers died with an attempt of it. */
  helperCrashes: number;
  timer: Timer | undefined;
  /** The event of a start that is not on its way to the database yet. */
  startEvent: { dropped: boolean } | undefined;
  logLines: number;
  /** Its end is durable already: a transaction of its own has written it. */
  written: boolean;
  /** Gives back the turn of a suspect; may be called again. */
  endTurn: (() => void) | undefined;
}

export function newTaskRun(index: number, spec: TaskSpec): TaskRun {
  return {
    index,
    spec,
    item: -1,
    value: null,
    status: 'pending',
    attempt: 0,
    chargedAttempts: 0,
    epoch: 0,
    startedAt: null,
    endedAt: null,
    wakeAt: null,
    output: null,
    error: null,
    reason: null,
    cause: null,
    isPoisonSuspect: false,
    charged: false,
    running: undefined,
    asking: false,
    starting: false,
    slot: undefined,
    offer: undefined,
    helperCrashes: 0,
    timer: undefined,
    startEvent: undefined,
    logLines: 0,
    written: false,
    endTurn: undefined,
  };
}

export function restoreTaskRun(index: number, spec: TaskSpec, state: TaskState): TaskRun {
  return {
    ...newTaskRun(index, spec),
    item: state.item,
    value: state.value,
    status: state.status,
    attempt: state.attempt,
    chargedAttempts: state.chargedAttempts,
    epoch: state.epoch,
    startedAt: state.startedAt,
    endedAt: state.endedAt,
    wakeAt: state.wakeAt,
    output: state.output,
    error: state.error === null ? null : (JSON.parse(state.error) as TaskError),
    reason: state.reason as SkipReason | null,
    cause: state.cause,
  };
}

export function taskState(run: TaskRun): TaskState {
  const { spec, status, attempt, chargedAttempts, epoch, startedAt, endedAt, wakeAt, output, error, reason, cause } =
    run;
  return {
    task: spec.name,
    item: run.item,
    status,
    attempt,
    chargedAttempts,
    epoch,
    startedAt,
    endedAt,
    wakeAt,
    output,
    error: error === null ? null : JSON.stringify(error),
    reason,
    cause,
    value: run.value,
  };
}

/** Whether what comes back for a task is too late: nothing more happens to it here. */
export function isOver(execution: { readonly still: boolean }, run: TaskRun): boolean {
  return execution.still || isTaskEnded(run.status);
}

/** The start of an attempt that ends within the same commit has no event of its own: that of its end tells the time. */
export function coalesced(run: TaskRun): { readonly startedAt: string } | null {
  if (run.startEvent === undefined || run.startedAt === null) return null;
  run.startEvent.dropped = true;
  run.startEvent = undefined;
  return { startedAt: new Date(run.startedAt).toISOString() };
}

/** JSON text of how a task ended, as a settled need holds it (`Settled`). */
export function settledText(run: TaskRun): string {
  switch (run.status) {
    case 'completed':
      return `{"status":"completed","output":${run.output ?? 'null'}}`;
    case 'failed':
      return JSON.stringify({ status: 'failed', error: run.error });
    case 'skipped':
      return JSON.stringify({ status: 'skipped', reason: run.reason });
    default:
      return '{"status":"cancelled"}';
  }
}
