import type { Problem } from '../core/error.ts';
import type { ScheduleSpec, TaskKind, TaskSpec, WorkflowSpec } from '../core/spec.ts';
import { clashFinder, pathFault } from './entry-path.ts';
import { joinPath } from './problems.ts';

/**
 * What is wrong with a workflow whose shape is right. Codes: `DUPLICATE_NAME`, `UNKNOWN_TASK`, `CYCLE`,
 * `KIND_MISMATCH`, `BAD_VALUE`. `at` is the path of the workflow in the manifest.
 */
export function workflowProblems(spec: WorkflowSpec, at: string): Problem[] {
  const names = new Set(spec.tasks.map((task) => task.name));
  const problems = [
    ...duplicates(
      spec.tasks.map((task) => task.name),
      'task',
      (index) => `${at}.tasks[${index}].name`,
    ),
    ...duplicates(
      spec.schedules.map((entry) => entry.name),
      'schedule',
      (index) => `${at}.schedules[${index}].name`,
    ),
    ...spec.tasks.flatMap((task, index) => taskProblems(task, names, `${at}.tasks[${index}]`)),
    ...spec.schedules.flatMap((entry, index) => ruleProblems(entry, `${at}.schedules[${index}]`)),
  ];
  if (spec.tasks.length === 0) problems.push({ code: 'BAD_VALUE', path: `${at}.tasks`, message: 'it has no task' });
  if (spec.output !== null && !names.has(spec.output.task)) {
    problems.push(unknownTask(`${at}.output.task`, spec.output.task));
  }
  const cycle = findCycle(spec.tasks);
  if (cycle !== null) {
    const path = cycle.map((name) => `'${name}'`).join(' -> ');
    problems.push({ code: 'CYCLE', path: `${at}.tasks`, message: `its tasks need each other in a cycle: ${path}` });
  }
  return problems;
}

/** Two workflows of one name in a package. */
export function workflowNameProblems(names: readonly unknown[]): Problem[] {
  return duplicates(names, 'workflow', (index) => `workflows[${index}].name`);
}

/** What is wrong with the paths of `files`. Codes: `BAD_PATH`, `ENTRY_MISSING`. */
export function fileProblems(paths: readonly string[], entry: string): Problem[] {
  const clash = clashFinder();
  const problems = paths.flatMap((path): Problem[] => {
    const fault = path === 'manifest.json' ? 'the manifest does not list itself' : (pathFault(path) ?? clash(path));
    return fault === null ? [] : [{ code: 'BAD_PATH', path: joinPath('files', [path]), message: fault }];
  });
  if (!paths.includes(entry)) {
    problems.push({ code: 'ENTRY_MISSING', path: 'files', message: `it does not list the entry '${entry}'` });
  }
  return problems;
}

function duplicates(names: readonly unknown[], what: string, pathOf: (index: number) => string): Problem[] {
  const seen = new Set<unknown>();
  return names.flatMap((name, index): Problem[] => {
    if (typeof name !== 'string') return [];
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    return [{ code: 'DUPLICATE_NAME', path: pathOf(index), message: `there are two ${what}s named '${name}'` }];
  });
}

function taskProblems(task: TaskSpec, names: ReadonlySet<string>, at: string): Problem[] {
  const unknown = Object.entries(task.needs)
    .filter(([, need]) => !names.has(need.task))
    .map(([alias, need]) => unknownTask(joinPath(`${at}.needs`, [alias]), need.task));
  return [...unknown, ...kindProblems(task, at)];
}

function unknownTask(path: string, name: string): Problem {
  return { code: 'UNKNOWN_TASK', path, message: `the workflow has no task '${name}'` };
}

const ownKinds = {
  timeout: ['task', 'map'],
  retry: ['task', 'map'],
  map: ['map'],
  child: ['child'],
  sleep: ['sleep'],
  wait: ['wait'],
} as const satisfies Partial<Record<keyof TaskSpec, readonly TaskKind[]>>;

function kindProblems(task: TaskSpec, at: string): Problem[] {
  return Object.entries(ownKinds).flatMap(([key, kinds]): Problem[] => {
    const belongs = (kinds as readonly TaskKind[]).includes(task.kind);
    if (belongs === (task[key as keyof typeof ownKinds] !== null)) return [];
    const message = `a task of kind '${task.kind}' ${belongs ? `needs '${key}'` : `has no '${key}'; it must be null`}`;
    return [{ code: 'KIND_MISMATCH', path: `${at}.${key}`, message }];
  });
}

function ruleProblems(schedule: ScheduleSpec, at: string): Problem[] {
  const given = [schedule.cron, schedule.every, schedule.at].filter((rule) => rule !== null).length;
  if (given === 1) return [];
  return [{ code: 'BAD_VALUE', path: at, message: "exactly one of 'cron', 'every' and 'at' must not be null" }];
}

/**
 * The tasks of one cycle, the first named again at the end, or null. What can never become ready is taken away as in a
 * run; every task left has a need among the left, so going along needs must come round.
 */
function findCycle(tasks: readonly TaskSpec[]): string[] | null {
  const needsOf = new Map(tasks.map((task) => [task.name, Object.values(task.needs).map((need) => need.task)]));
  const unmet = new Map<string, number>();
  const dependents = new Map<string, string[]>();
  for (const [name, needs] of needsOf) {
    const known = needs.filter((need) => needsOf.has(need));
    unmet.set(name, known.length);
    for (const need of known) {
      const list = dependents.get(need);
      if (list === undefined) dependents.set(need, [name]);
      else list.push(name);
    }
  }
  const ready = [...unmet.keys()].filter((name) => unmet.get(name) === 0);
  for (const name of ready) {
    unmet.delete(name);
    for (const dependent of dependents.get(name) ?? []) {
      const left = (unmet.get(dependent) ?? 0) - 1;
      unmet.set(dependent, left);
      if (left === 0) ready.push(dependent);
    }
  }
  return followCycle(unmet, needsOf);
}

function followCycle(
  left: ReadonlyMap<string, number>,
  needsOf: ReadonlyMap<string, readonly string[]>,
): string[] | null {
  const trail: string[] = [];
  const places = new Map<string, number>();
  let [at] = left.keys();
  while (at !== undefined && !places.has(at)) {
    places.set(at, trail.length);
    trail.push(at);
    at = needsOf.get(at)?.find((need) => left.has(need));
  }
  return at === undefined ? null : [...trail.slice(places.get(at)), at];
}
