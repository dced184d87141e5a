import { endingOf } from '../../core/execution/plan.ts';
import { isTaskEnded } from '../../core/execution/states.ts';
import type { EndedStatus } from '../../core/execution/states.ts';
import type { EventType } from '../../core/execution/event.ts';
import { eventFields } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { ExecutionRelease } from '../../store/transition.ts';
import type { LiveState } from './live-state.ts';
import type { DraftEvent, DraftRelease } from './draft.ts';
import { isActive } from './phase.ts';
import { settledText } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

/** A wake-up further away than this is left to the database: until then the execution is only a row. */
const nearMs = 30_000;

/** The end of an execution, from the memory of its owner. Values are JSON text. */
export interface EndedExecution {
  readonly status: EndedStatus;
  readonly output: string | null;
  /** Null if an output was dropped from memory before: then the database has them. */
  readonly outputs: ReadonlyMap<string, string> | null;
  readonly error: string | null;
  readonly errorTask: string | null;
}

/** The release of an execution whose tasks have all ended. `failure`: the execution fails because of it, not of a task. */
export function endOf(state: LiveState, cancelled: boolean, failure: TaskError | null, now: number): DraftRelease {
  const ending = endingOf(state.graph, state.progress, cancelled);
  const failed = ending.status === 'failed' ? state.runs[ending.task] : undefined;
  const error = failure ?? (ending.status === 'failed' ? failureOf(ending.because, failed!) : null);
  const status = error === null ? ending.status : 'failed';
  const why = error === null ? null : eventFields(error);
  return {
    status,
    reason: null,
    wakeAt: null,
    endedAt: now,
    output: status === 'completed' ? outputOf(state) : null,
    error: error === null ? null : JSON.stringify(error),
    errorTask: failure === null ? (failed?.spec.name ?? null) : null,
    freesLimit: state.head.limitKey !== null,
    parent: state.head.parent,
    event: { type: `execution.${status}`, at: now, run: null, data: why, dropped: false },
  };
}

/** The same for the callers that wait for the result. */
export function endedExecution({ outputs: { complete }, runs }: LiveState, release: ExecutionRelease): EndedExecution {
  const { output, error, errorTask } = release;
  const status = release.status as EndedStatus;
  if (!complete) return { status, output, outputs: null, error, errorTask };
  const outputs = new Map<string, string>();
  for (const run of runs) if (run?.status === 'completed') outputs.set(run.spec.name, run.output ?? 'null');
  return { status, output, outputs, error, errorTask };
}

/** The release of an execution at rest: it is handed back or paused, or has nothing to do for long; null if it stays. */
export function restOf(state: LiveState, now: number): DraftRelease | null {
  const freesLimit = state.head.limitKey !== null;
  const none = { endedAt: null, output: null, error: null, errorTask: null, freesLimit, parent: null };
  const event = (type: EventType, data: object | null): DraftEvent => {
    return { type, at: now, run: null, data, dropped: false };
  };
  if (state.holding === 'release') {
    const released = event('execution.released', null);
    return { ...none, status: 'pending', reason: 'released', wakeAt: null, event: released };
  }
  if (state.holding === 'pause') {
    const paused = event('execution.paused', { reason: 'operator' });
    return { ...none, status: 'paused', reason: 'operator', wakeAt: null, event: paused };
  }
  const wakeAt = wakesAt(state);
  if (wakeAt === null || wakeAt - now <= nearMs) return null;
  const waiting = event('execution.waiting', wakeAt === Infinity ? null : { until: new Date(wakeAt).toISOString() });
  return { ...none, status: 'waiting', reason: null, wakeAt: wakeAt === Infinity ? null : wakeAt, event: waiting };
}

/** The first time at which there is something to do, Infinity if that takes a message; null while a task runs or may begin. */
function wakesAt(state: LiveState): number | null {
  let wakeAt = Infinity;
  let waits = false;
  for (const run of state.allRuns()) {
    if (isTaskEnded(run.status) || (run.spec.kind === 'map' && run.item === -1 && run.status === 'running')) continue;
    if (run.status === 'waiting') {
      waits = true;
      wakeAt = Math.min(wakeAt, run.wakeAt ?? Infinity);
    } else if (isActive(run.phase) || run.status === 'running') {
      return null;
    }
  }
  return waits ? wakeAt : null;
}

function outputOf({ graph, runs }: LiveState): string | null {
  const { output } = graph.spec;
  if (output === null) return null;
  const run = runs[graph.indexOf.get(output.task)!]!;
  return output.settled ? settledText(run) : run.output;
}

function failureOf(because: 'task_failed' | 'output_skipped', run: TaskRun): TaskError {
  if (because === 'task_failed') return run.error!;
  const why = `task '${run.spec.name}', whose output the workflow returns, was ${run.status}`;
  return {
    name: 'Error',
    code: 'OUTPUT_SKIPPED',
    message: run.cause === null ? why : `${why} because of '${run.cause}'`,
  };
}
