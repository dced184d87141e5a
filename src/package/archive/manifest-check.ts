import { ScheduleInvalidError } from '../../core/error.ts';
import type { Problem } from '../../core/error.ts';
import { findCycle } from '../../core/definition/graph.ts';
import { checkRule } from '../../core/schedule/rule.ts';
import type { ScheduleSpec, TaskKind, TaskSpec, WorkflowSpec } from '../../core/definition/spec.ts';
import { clashFinder, pathFault } from './entry-path.ts';
import { joinPath } from './problems.ts';

/**
 * Returns the problems of a workflow that matches the schema. Codes: `DUPLICATE_NAME`, `UNKNOWN_TASK`, `CYCLE`,
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

/**
 * Returns the reasons for which a schedule can never fire: a bad cron expression, an unknown zone, a date that never
 * comes.
 */
function firingProblems(schedule: ScheduleSpec, at: string): Problem[] {
  try {
    checkRule(schedule);
    return [];
  } catch (error) {
    if (!(error instanceof ScheduleInvalidError)) throw error;
    return [{ code: 'BAD_VALUE', path: `${at}.${error.field}`, message: error.message }];
  }
}

/** Returns the workflow names that occur twice in a package. */
export function workflowNameProblems(names: readonly unknown[]): Problem[] {
  return duplicates(names, 'workflow', (index) => `workflows[${index}].name`);
}

/** Returns the problems of the paths in `files`. Codes: `BAD_PATH`, `ENTRY_MISSING`. */
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
  if (given === 1) return firingProblems(schedule, at);
  return [{ code: 'BAD_VALUE', path: at, message: "exactly one of 'cron', 'every' and 'at' must not be null" }];
}
