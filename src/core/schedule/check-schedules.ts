import type { WorkflowSpec } from '../definition/spec.ts';
import { InputInvalidError } from '../error.ts';
import { jsonSchemaIssues } from '../json-schema/issues.ts';
import { checkRule } from './rule.ts';
import { declaredSchedules, namingSchedule } from './schedule-spec.ts';

/**
 * Checks the names, rules and inputs (by JSON Schema) of declared schedules. Runs before the transaction that writes
 * them: a check takes time, and an open transaction would block other writers. Throws SCHEDULE_INVALID, INPUT_INVALID.
 */
export function checkSchedules(workflows: readonly WorkflowSpec[]): void {
  for (const { workflow, spec } of declaredSchedules(workflows).values()) {
    namingSchedule(workflow.name, spec.name, () => checkRule(spec));
    const issues = jsonSchemaIssues(workflow.input, spec.input);
    if (issues.length === 0) continue;
    const named = issues.map(({ path, message }) => ({ path, message: `${message} (in schedule '${spec.name}')` }));
    throw new InputInvalidError(workflow.name, named);
  }
}
