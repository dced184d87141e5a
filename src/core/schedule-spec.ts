import type { ScheduleOptions } from './definition.ts';
import { ScheduleInvalidError } from './error.ts';
import type { Json } from './json.ts';
import { checkRule, scheduleRule } from './schedule.ts';
import type { ScheduleSpec } from './spec.ts';

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

/** Checks a schedule that comes from elsewhere, such as a manifest. Throws SCHEDULE_INVALID. */
export function checkScheduleSpec(workflow: string, spec: ScheduleSpec): void {
  naming(workflow, spec.name, () => checkRule(spec));
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
