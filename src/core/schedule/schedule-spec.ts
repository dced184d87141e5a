import type { ScheduleOptions } from '../definition/definition.ts';
import { InputInvalidError, ScheduleInvalidError } from '../error.ts';
import type { Json } from '../json.ts';
import { jsonSchemaIssues } from '../json-schema.ts';
import { checkRule, scheduleRule } from './rule.ts';
import type { ScheduleSpec, WorkflowSpec } from '../definition/spec.ts';

/**
 * A schedule as a definition writes it, in plain JSON: times as epoch ms, lengths as ms, defaults filled in. `every`
 * without `startAt` stays so: it counts from when the schedule begins. Throws SCHEDULE_INVALID.
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

/** A schedule with the workflow that brings it. */
export interface BroughtSchedule {
  readonly workflow: WorkflowSpec;
  readonly spec: ScheduleSpec;
}

/** The schedules of workflows by name. Throws SCHEDULE_INVALID where two have one name. */
export function broughtSchedules(workflows: readonly WorkflowSpec[]): ReadonlyMap<string, BroughtSchedule> {
  const brought = new Map<string, BroughtSchedule>();
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
 * Checks the schedules that workflows bring: their names, rules, and inputs by the JSON Schemas. Before the transaction
 * that writes them: a check takes its time, and nobody else can write meanwhile. Throws SCHEDULE_INVALID, INPUT_INVALID.
 */
export function checkSchedules(workflows: readonly WorkflowSpec[]): void {
  for (const { workflow, spec } of broughtSchedules(workflows).values()) {
    naming(workflow.name, spec.name, () => checkRule(spec));
    const issues = jsonSchemaIssues(workflow.input, spec.input);
    if (issues.length === 0) continue;
    const told = issues.map(({ path, message }) => ({ path, message: `${message} (in schedule '${spec.name}')` }));
    throw new InputInvalidError(workflow.name, told);
  }
}

/** Says in an error which schedule it is about. */
function naming<T>(workflow: string, name: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ScheduleInvalidError)) throw error;
    const what = error.message.slice(`${error.field}: `.length);
    throw new ScheduleInvalidError(error.field, `${what} (schedule '${name}' of workflow '${workflow}')`);
  }
}
