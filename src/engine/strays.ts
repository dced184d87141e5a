import type { Graph } from '../core/graph.ts';
import { downstream } from '../core/graph.ts';
import type { TaskSpec, WorkflowSpec } from '../core/spec.ts';
import type { TaskState } from '../store/batch.ts';
import type { Store } from '../store/store.ts';
import type { LoadedWorkflow } from './catalog.ts';

/** Strays of one code that are looked at by one look. */
const atOnce = 100;

/**
 * Executions of embedded workflows that wait for a definition which no living runner has any more: those that another
 * definition can go on with are given to it, the others are held (DEFINITION_CHANGED). Gives how many can go on.
 */
export async function settleStrays(store: Store, embedded: readonly LoadedWorkflow[]): Promise<number> {
  if (embedded.length === 0) return 0;
  const byName = new Map(embedded.map((loaded) => [loaded.graph.spec.name, loaded]));
  let adopted = 0;
  for (const { id, code, workflow } of await store.strays([...byName.keys()], atOnce)) {
    const { graph, codeName } = byName.get(workflow)!;
    const before = await store.definition(code);
    if (before !== undefined && changedTasks(before, graph, await store.tasks(id)).length === 0) {
      await store.adoptCode(id, code, codeName);
      adopted++;
    } else {
      await store.holdChanged(id, code);
    }
  }
  return adopted;
}

/** Tasks that are no longer pending and that another definition has not, or has with another kind or other needs. */
function changedTasks(before: WorkflowSpec, now: Graph, tasks: readonly TaskState[]): readonly string[] {
  const old = new Map(before.tasks.map((task) => [task.name, task]));
  return tasks
    .filter(({ item, status }) => item === -1 && status !== 'pending')
    .map(({ task }) => task)
    .filter((name) => {
      const index = now.indexOf.get(name);
      const was = old.get(name);
      return index === undefined || was === undefined || shapeOf(was) !== shapeOf(now.spec.tasks[index]!);
    });
}

/** What must begin again where an execution goes on under another definition: what has changed, and all that follows from it. */
export function toReset(before: WorkflowSpec, now: Graph, tasks: readonly TaskState[]): readonly string[] {
  const changed = changedTasks(before, now, tasks);
  const known = changed.flatMap((name) => now.indexOf.get(name) ?? []);
  const names = [...downstream(now, known)].map((index) => now.names[index]!);
  return [...new Set([...changed, ...names])];
}

function shapeOf(task: TaskSpec): string {
  const needs = Object.values(task.needs).map((need) => JSON.stringify([need.task, need.settled]));
  return JSON.stringify([task.kind, needs.toSorted()]);
}
