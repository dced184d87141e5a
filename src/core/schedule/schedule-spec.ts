import type { ScheduleOptions } from '../definition/definition.ts';
import { InputInvalidError, ScheduleInvalidError } from '../error.ts';
import type { Json } from '../json.ts';
import { jsonSchemaIssues } from '../json-schema.ts';
import { checkRule, scheduleRule } from './rule.ts';
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
  const rule = naming(workflow, name, () => scheduleRule(options, null));
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

/**
 * Checks the names, rules and inputs (by JSON Schema) of declared schedules. Runs before the transaction that writes
 * them: a check takes time, and an open transaction would block other writers. Throws SCHEDULE_INVALID, INPUT_INVALID.
 */
export function checkSchedules(workflows: readonly WorkflowSpec[]): void {
  for (const { workflow, spec } of declaredSchedules(workflows).values()) {
    naming(workflow.name, spec.name, () => checkRule(spec));
    const issues = jsonSchemaIssues(workflow.input, spec.input);
    if (issues.length === 0) continue;
    const named = issues.map(({ path, message }) => ({ path, message: `${message} (in schedule '${spec.name}')` }));
    throw new InputInvalidError(workflow.name, named);
  }
}

/** Adds the name of the schedule to an error. */
function naming<T>(workflow: string, name: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ScheduleInvalidError)) throw error;
    const what = error.message.slice(`${error.field}: `.length);
    throw new ScheduleInvalidError(error.field, `${what} (schedule '${name}' of workflow '${workflow}')`);
  }
}
