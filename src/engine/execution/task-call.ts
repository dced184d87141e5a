import type { Graph } from '../../core/definition/graph.ts';
import type { TaskCall } from '../workflow-code.ts';
import type { Head } from './live-state.ts';
import { settledText } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

export interface TaskCallParts {
  readonly graph: Graph;
  readonly head: Pick<Head, 'id' | 'epoch' | 'input' | 'schedule'>;
  readonly run: TaskRun;
  /** The tasks of the execution by their place in the graph; those that the task needs have ended. */
  readonly runs: readonly (TaskRun | undefined)[];
  readonly maxPayload: number;
  readonly alone: boolean;
}

/** The arguments for the function of a task, here or in a process of its own. */
export function taskCall({ graph, head, run, runs, maxPayload, alone }: TaskCallParts): TaskCall {
  const { id, epoch, input, schedule } = head;
  const needs = graph.needs[run.index]!.map(({ alias, task, settled }): readonly [string, string] => {
    const need = runs[task]!;
    return [alias, settled ? settledText(need) : (need.output ?? 'null')];
  });
  return {
    executionId: id,
    workflow: graph.spec.name,
    task: run.spec.name,
    item: run.item === -1 ? null : run.item,
    itemValue: run.value,
    epoch,
    attempt: run.attempt,
    idempotencyKey: `${id}/${run.spec.name}${run.item === -1 ? '' : `/${run.item}`}`,
    input,
    needs,
    schedule,
    maxPayload,
    alone,
  };
}
