import { endingOf } from '../../core/plan.ts';
import type { EndedStatus } from '../../core/execution.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { ExecutionRelease } from '../../store/transition.ts';
import type { LiveState } from './live-state.ts';
import type { DraftRelease } from './draft.ts';
import { settledText } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

/** How an execution ended, as its owner knows it. Values are JSON text. */
export interface EndedExecution {
  readonly status: EndedStatus;
  readonly output: string | null;
  /** Null where an output was dropped from memory meanwhile: then the database has them. */
  readonly outputs: ReadonlyMap<string, string> | null;
  readonly error: string | null;
  readonly errorTask: string | null;
}

/** The end of an execution whose tasks have all ended. `failure`: why it fails whatever its tasks say. */
export function endOf(state: LiveState, cancelled: boolean, failure: TaskError | null, now: number): DraftRelease {
  const ending = endingOf(state.graph, state.progress, cancelled);
  const failed = ending.status === 'failed' ? state.runs[ending.task] : undefined;
  const error = failure ?? (ending.status === 'failed' ? failureOf(ending.because, failed!) : null);
  const status = error === null ? ending.status : 'failed';
  const why = error === null ? null : { code: error.code, message: error.message };
  return {
    status,
    reason: null,
    wakeAt: null,
    endedAt: now,
    output: status === 'completed' ? outputOf(state) : null,
    error: error === null ? null : JSON.stringify(error),
    errorTask: failure === null ? (failed?.spec.name ?? null) : null,
    parent: state.head.parent,
    event: { type: `execution.${status}`, at: now, run: null, data: why, dropped: false },
  };
}

/** The same for those who wait for the result. */
export function endedExecution({ outputs: { complete }, runs }: LiveState, letGo: ExecutionRelease): EndedExecution {
  const { output, error, errorTask } = letGo;
  const status = letGo.status as EndedStatus;
  if (!complete) return { status, output, outputs: null, error, errorTask };
  const outputs = new Map<string, string>();
  for (const run of runs) if (run?.status === 'completed') outputs.set(run.spec.name, run.output ?? 'null');
  return { status, output, outputs, error, errorTask };
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
