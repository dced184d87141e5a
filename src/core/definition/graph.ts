import { createHash } from 'node:crypto';
import { DefinitionInvalidError } from '../error.ts';
import type { TaskSpec, WorkflowSpec } from './spec.ts';

/** A checked and compiled graph: tasks by their index in the definition. All executions of one definition share it. */
export interface Graph {
  readonly spec: WorkflowSpec;
  readonly names: readonly string[];
  readonly indexOf: ReadonlyMap<string, number>;
  readonly needs: readonly (readonly GraphNeed[])[];
  /** The dependents of each task; a dependent is listed once, even if it has several aliases for the task. */
  readonly dependents: readonly (readonly GraphDependent[])[];
  /** Number of needs of each task that must end before it can be ready. */
  readonly needCounts: Int32Array;
  /** Number of dependents of each task. */
  readonly readerCounts: Int32Array;
  /** Tasks without needs. */
  readonly first: readonly number[];
}

export interface GraphNeed {
  readonly alias: string;
  readonly task: number;
  readonly settled: boolean;
}

export interface GraphDependent {
  readonly task: number;
  /** True if any alias takes the need plainly: then the dependent is skipped if the need does not complete. */
  readonly plain: boolean;
  /** True if any alias takes the need as settled: then the dependent handles a failure. */
  readonly settled: boolean;
}

/** Compiles and checks a definition. Throws DEFINITION_INVALID naming the tasks: unknown need, cycle, duplicate name. */
export function compileGraph(spec: WorkflowSpec): Graph {
  const indexOf = new Map<string, number>();
  for (const [index, task] of spec.tasks.entries()) {
    if (indexOf.has(task.name)) throw invalid(spec, `there are two tasks named '${task.name}'`);
    indexOf.set(task.name, index);
  }
  const needs = spec.tasks.map((task) => resolveNeeds(spec, task, indexOf));
  if (spec.output !== null && !indexOf.has(spec.output.task)) {
    throw invalid(spec, `it returns '${spec.output.task}', which is not one of its tasks`);
  }
  const cycle = findCycle(spec.tasks);
  if (cycle !== null) {
    throw invalid(spec, `its tasks need each other in a cycle: ${cycle.map((name) => `'${name}'`).join(' -> ')}`);
  }
  const dependents = reverse(needs);
  const needCounts = Int32Array.from(needs, (list) => new Set(list.map((need) => need.task)).size);
  const readerCounts = Int32Array.from(dependents, (list) => list.length);
  const first = [...needCounts.keys()].filter((task) => needCounts[task] === 0);
  const names = spec.tasks.map((task) => task.name);
  return { spec, names, indexOf, needs, dependents, needCounts, readerCounts, first };
}

function resolveNeeds(spec: WorkflowSpec, task: TaskSpec, indexOf: ReadonlyMap<string, number>): GraphNeed[] {
  return Object.entries(task.needs).map(([alias, need]) => {
    const index = indexOf.get(need.task);
    if (index === undefined)
      throw invalid(spec, `task '${task.name}' needs '${need.task}', which is not one of its tasks`);
    return { alias, task: index, settled: need.settled };
  });
}

function reverse(needs: readonly (readonly GraphNeed[])[]): GraphDependent[][] {
  const dependents: GraphDependent[][] = needs.map(() => []);
  for (const [task, list] of needs.entries()) {
    for (const need of new Set(list.map((entry) => entry.task))) {
      const uses = list.filter((entry) => entry.task === need);
      const plain = uses.some((entry) => !entry.settled);
      dependents[need]!.push({ task, plain, settled: uses.some((entry) => entry.settled) });
    }
  }
  return dependents;
}

/**
 * Returns the tasks of one cycle, the first repeated at the end, or null. Unknown needs are ignored. Depth first with
 * an explicit stack: a chain of many thousand tasks must not overflow the call stack.
 */
export function findCycle(tasks: readonly Pick<TaskSpec, 'name' | 'needs'>[]): readonly string[] | null {
  const needsOf = new Map(tasks.map((task) => [task.name, Object.values(task.needs).map((need) => need.task)]));
  const done = new Set<string>();
  for (const start of needsOf.keys()) {
    const path: { readonly task: string; next: number }[] = [{ task: start, next: 0 }];
    const onPath = new Set([start]);
    while (path.length > 0) {
      const top = path.at(-1)!;
      const need = done.has(top.task) ? undefined : needsOf.get(top.task)?.[top.next++];
      if (need === undefined) {
        done.add(top.task);
        onPath.delete(top.task);
        path.pop();
      } else if (onPath.has(need)) {
        const from = path.findIndex((step) => step.task === need);
        return [...path.slice(from).map((step) => step.task), need];
      } else if (!done.has(need)) {
        path.push({ task: need, next: 0 });
        onPath.add(need);
      }
    }
  }
  return null;
}

/** The default queue of tasks and of runners. */
export const defaultQueue = 'default';

export function queueOf(task: Pick<TaskSpec, 'queue'>): string {
  return task.queue ?? defaultQueue;
}

/**
 * Returns the queues of a workflow's functions; a workflow without functions (it sleeps, waits, starts children) uses
 * the default queue.
 */
export function queuesOf(spec: WorkflowSpec): ReadonlySet<string> {
  const working = spec.tasks.filter(({ kind }) => kind === 'task' || kind === 'map');
  return new Set(working.length === 0 ? [defaultQueue] : working.map(queueOf));
}

/** Returns the levels of a graph for display: all needs of a task are in earlier levels. */
export function levels(graph: Graph): string[][] {
  const level = graph.names.map(() => 0);
  const unmet = graph.needCounts.slice();
  const queue = [...graph.first];
  for (const task of queue) {
    for (const dependent of graph.dependents[task]!) {
      level[dependent.task] = Math.max(level[dependent.task]!, level[task]! + 1);
      unmet[dependent.task]!--;
      if (unmet[dependent.task] === 0) queue.push(dependent.task);
    }
  }
  const byLevel: string[][] = [];
  for (const [task, at] of level.entries()) (byLevel[at] ??= []).push(graph.names[task]!);
  return byLevel;
}

/** Returns these tasks and all their direct and indirect dependents. */
export function downstream(graph: Graph, from: Iterable<number>): ReadonlySet<number> {
  const found = new Set(from);
  for (const task of found) for (const dependent of graph.dependents[task]!) found.add(dependent.task);
  return found;
}

export function fingerprint(tasks: readonly Pick<TaskSpec, 'name' | 'kind' | 'needs'>[]): string {
  const shape = tasks.map((task) => [
    task.name,
    task.kind,
    Object.values(task.needs)
      .map((need) => JSON.stringify([need.task, need.settled]))
      .toSorted(),
  ]);
  const sorted = shape.toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 32);
}

function invalid(spec: WorkflowSpec, message: string): DefinitionInvalidError {
  return new DefinitionInvalidError(spec.name, message);
}
