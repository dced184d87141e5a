import type { Graph } from '../../core/definition/graph.ts';
import { downstream } from '../../core/definition/graph.ts';
import type { TaskSpec, WorkflowSpec } from '../../core/definition/spec.ts';
import type { TaskState } from '../../store/transition.ts';
import type { Claims, Definitions, RetiredExecution } from '../../store/store.ts';
import type { LoadedWorkflow } from '../catalog.ts';

/** Maximum number of executions that one look takes up. */
const atOnce = 100;

export interface Settled {
  /** Executions that can go on under the definitions that are here. */
  readonly adopted: number;
  /** Executions that were held. */
  readonly held: number;
}

/**
 * Executions of embedded workflows that wait for a definition which no living runner has any more: those that another
 * definition can go on with are given to it, the others are held (DEFINITION_CHANGED). One look takes up some of them; there
 * may be more until a look settles none.
 */
export async function moveRetiredExecutions(
  store: Claims & Definitions,
  embedded: readonly LoadedWorkflow[],
): Promise<Settled> {
  const settled = { adopted: 0, held: 0 };
  if (embedded.length === 0) return settled;
  const byName = new Map(embedded.map((loaded) => [loaded.graph.spec.name, loaded]));
  const found = await store.executionsOnRetiredBuilds(
    embedded.map(({ buildId }) => buildId),
    atOnce,
  );
  for (const [code, strays] of Map.groupBy(found, (stray) => stray.buildId)) {
    const loaded = byName.get(strays[0]!.workflow);
    if (loaded === undefined) continue;
    const { graph, buildId } = loaded;
    const before = await store.definition(code);
    const { go = [], hold = [] } = Object.groupBy(strays, ({ begun }) =>
      before !== undefined && changedTasks(before, graph, begun).length === 0 ? 'go' : 'hold',
    );
    if (go.length > 0) settled.adopted += await store.moveToBuild(idsOf(go), code, buildId);
    if (hold.length > 0) settled.held += await store.holdChanged(idsOf(hold), code);
  }
  return settled;
}

function idsOf(strays: readonly RetiredExecution[]): readonly string[] {
  return strays.map(({ id }) => id);
}

/** Of tasks that are no longer pending, those that another definition has not, or has with another kind or other needs. */
function changedTasks(before: WorkflowSpec, now: Graph, begun: readonly string[]): readonly string[] {
  const old = new Map(before.tasks.map((task) => [task.name, task]));
  return begun.filter((name) => {
    const index = now.indexOf.get(name);
    const was = old.get(name);
    return index === undefined || was === undefined || shapeOf(was) !== shapeOf(now.spec.tasks[index]!);
  });
}

/** What must begin again where an execution goes on under another definition: what has changed, and all that follows from it. */
export function toReset(before: WorkflowSpec, now: Graph, tasks: readonly TaskState[]): readonly string[] {
  const begun = tasks.filter(({ item, status }) => item === -1 && status !== 'pending').map(({ task }) => task);
  const changed = changedTasks(before, now, begun);
  const known = changed.flatMap((name) => now.indexOf.get(name) ?? []);
  const names = [...downstream(now, known)].map((index) => now.names[index]!);
  return [...new Set([...changed, ...names])];
}

function shapeOf(task: TaskSpec): string {
  const needs = Object.values(task.needs).map((need) => JSON.stringify([need.task, need.settled]));
  return JSON.stringify([task.kind, needs.toSorted()]);
}
