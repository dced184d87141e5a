import { downstream } from '../definition/graph.ts';
import type { Graph } from '../definition/graph.ts';
import type { TaskSpec, WorkflowSpec } from '../definition/spec.ts';
import type { TaskStatus } from './states.ts';

// Another definition may continue an execution if it has every task that has begun, with the same kind and the same needs.

/** The part of a task's state that says if it has begun. */
interface TaskProgress {
  readonly task: string;
  /** -1 for the task itself. */
  readonly item: number;
  readonly status: TaskStatus;
  readonly startedAt: number | null;
}

/** The names of the tasks that have begun: a task that was skipped or cancelled before its first attempt has not. */
export function begunTasks(tasks: readonly TaskProgress[]): readonly string[] {
  return tasks
    .filter(({ item, status, startedAt }) => {
      const hasResult = status === 'completed' || status === 'failed';
      return item === -1 && status !== 'pending' && status !== 'skipped' && (hasResult || startedAt !== null);
    })
    .map(({ task }) => task);
}

/** Of these tasks, those that another definition does not have, or has with another kind or other needs. */
export function changedTasks(before: WorkflowSpec, now: WorkflowSpec, names: readonly string[]): readonly string[] {
  const [old, next] = [byName(before), byName(now)];
  return names.filter((name) => differenceOf(old.get(name), next.get(name)) !== null);
}

/** The differences of changed tasks in words: `'b' is a map, not a task; 'c' is missing`. */
export function differenceText(before: WorkflowSpec, now: WorkflowSpec, names: readonly string[]): string {
  const [old, next] = [byName(before), byName(now)];
  const shown = names.slice(0, maxShown).map((name) => `'${name}' ${differenceOf(old.get(name), next.get(name))}`);
  if (names.length > maxShown) shown.push(`${names.length - maxShown} more`);
  return shown.join('; ');
}

const maxShown = 10;

/** The tasks that begin again if an execution continues under another definition: the changed ones, and all that depend on them. */
export function toReset(before: WorkflowSpec, now: Graph, tasks: readonly TaskProgress[]): readonly string[] {
  const begun = tasks.filter(({ item, status }) => item === -1 && status !== 'pending').map(({ task }) => task);
  const changed = changedTasks(before, now.spec, begun);
  const known = changed.flatMap((name) => now.indexOf.get(name) ?? []);
  const names = [...downstream(now, known)].map((index) => now.names[index]!);
  return [...new Set([...changed, ...names])];
}

function byName({ tasks }: WorkflowSpec): ReadonlyMap<string, TaskSpec> {
  return new Map(tasks.map((task) => [task.name, task]));
}

function differenceOf(before: TaskSpec | undefined, now: TaskSpec | undefined): string | null {
  if (now === undefined) return 'is missing';
  if (before === undefined) return 'is new';
  if (before.kind !== now.kind) return `is of kind ${now.kind}, not ${before.kind}`;
  const [had, has] = [needsOf(before), needsOf(now)];
  return had === has ? null : `needs ${has || 'nothing'}, not ${had || 'nothing'}`;
}

function needsOf(task: TaskSpec): string {
  const needs = Object.values(task.needs).map(({ task: name, settled }) => `'${name}'${settled ? ' (settled)' : ''}`);
  return needs.toSorted().join(' and ');
}
