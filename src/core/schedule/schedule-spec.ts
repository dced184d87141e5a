import type { ScheduleOptions } from '../definition/definition.ts';
import { ScheduleInvalidError } from '../error.ts';
import type { Json } from '../json.ts';
import { scheduleRule } from './rule.ts';
import type { ScheduleSpec, WorkflowSpec } from '../definition/spec.ts';

/**
 * Converts a schedule of a definition to plain JSON: times as epoch ms, durations as ms, defaults filled in. `every`
 * without `startAt` keeps null: it counts from the time the schedule begins. Throws SCHEDULE_INVALID.
 */
export function scheduleSpec(
  workflow: string,
  name: string,
  options: ScheduleOptions<unknown>,
  input: Json,
): ScheduleSpec {
  const rule = namingSchedule(workflow, name, () => scheduleRule(options, null));
  return { name, input, ...rule, paused: options.paused ?? false };
}

/** A schedule with the workflow that declares it. */
export interface DeclaredSchedule {
  readonly workflow: WorkflowSpec;
  readonly spec: ScheduleSpec;
}

/** Collects the schedules of workflows by name. Throws SCHEDULE_INVALID if two have the same name. */
export function declaredSchedules(workflows: readonly WorkflowSpec[]): ReadonlyMap<string, DeclaredSchedule> {
  const brought = new Map<string, DeclaredSchedule>();
  for (const workflow of workflows) {
    for (const spec of workflow.schedules) {
      const other = brought.get(spec.name);
      if (other !== undefined) {
        const both = `workflow '${other.workflow.name}' and workflow '${workflow.name}'`;
        throw new ScheduleInvalidError('name', `${both} both have a schedule '${spec.name}'; rename one of them`);
      }
      brought.set(spec.name, { workflow, spec });
    }
  }
  return brought;
}

/** Adds the name of the schedule to an error. */
export function namingSchedule<T>(workflow: string, name: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ScheduleInvalidError)) throw error;
    const what = error.message.slice(`${error.field}: `.length);
    throw new ScheduleInvalidError(error.field, `${what} (schedule '${name}' of workflow '${workflow}')`);
  }
}
