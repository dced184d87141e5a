import type { ScheduleOptions } from '../core/definition/definition.ts';
import { OptionInvalidError, ScheduleInvalidError } from '../core/error.ts';
import { record, shown } from '../core/option-check.ts';
import { scheduleRule } from '../core/schedule/rule.ts';
import type { ScheduleRule } from '../core/definition/spec.ts';

/** A schedule to add: its options, workflow and input. */
export interface ScheduleRequest extends ScheduleOptions<unknown> {
  /**
   * A workflow's name, or `package/workflow`, `embedded/workflow`; a short name is replaced by the full one. With a version,
   * a digest or a channel, as `package@canary/workflow`, each slot starts that.
   */
  readonly workflow: string;
}

/** The changes of a schedule: absent fields stay, and null restores the default; for the input null is a value. */
export type ScheduleChanges = {
  readonly [Field in keyof ScheduleOptions<unknown>]?: ScheduleOptions<unknown>[Field] | null;
} & { readonly workflow?: string };

const kinds = ['cron', 'every', 'at'] as const;
const ruleFields = [
  ...kinds,
  'timezone',
  'startAt',
  'endAt',
  'jitter',
  'overlap',
  'catchup',
  'max',
  'window',
] as const satisfies readonly (keyof ScheduleRule)[];
const fields: readonly string[] = [...ruleFields, 'workflow', 'input', 'paused'];

/** Refuses unknown options. Throws SCHEDULE_INVALID, OPTION_INVALID. */
export function checkFields(options: object): void {
  if (!record.fits(options))
    throw new OptionInvalidError('schedule', `${shown(options)} is not an object with options`);
  const unknown = Object.keys(options).find((field) => !fields.includes(field));
  if (unknown !== undefined) {
    throw new ScheduleInvalidError(unknown, `unknown option of a schedule; the options are ${fields.join(', ')}`);
  }
}

/** Throws SCHEDULE_INVALID. */
export function checkName(name: string): void {
  const isText = typeof name === 'string' && name !== '' && name.length <= 200 && name.isWellFormed();
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused here
  if (isText && !/[\u0000-\u001f/]/.test(name)) return;
  const hint = "1 to 200 characters, without control characters and '/'";
  throw new ScheduleInvalidError('name', `${JSON.stringify(name)} is not a valid schedule name: it needs ${hint}`);
}

/** Applies changes to a rule; a new cron, every or at replaces the previous one. */
export function changedRule(rule: ScheduleRule, changes: ScheduleChanges): ScheduleRule {
  const given = givenFields(changes);
  const kept = Object.entries(optionsOf(rule)).filter(([field]) => {
    if (Reflect.get(changes, field) !== undefined) return false;
    return !(kinds.some((kind) => kind === field) && kinds.some((kind) => kind in given));
  });
  return scheduleRule({ ...Object.fromEntries(kept), ...given }, null);
}

/** Returns the current values of the changed rule fields: an operator's overrides. */
export function overriddenFields(rule: ScheduleRule, changes: ScheduleChanges): Partial<ScheduleRule> {
  const isNamed = (field: keyof ScheduleRule): boolean => Reflect.get(changes, field) !== undefined;
  const isKindNamed = kinds.some(isNamed);
  const named = ruleFields.filter((field) => isNamed(field) || (isKindNamed && kinds.some((kind) => kind === field)));
  return Object.fromEntries(named.map((field) => [field, rule[field]]));
}

function givenFields(changes: ScheduleChanges): ScheduleOptions<unknown> {
  const entries = ruleFields.map((field) => [field, changes[field]] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== null));
}

function optionsOf(rule: ScheduleRule): ScheduleOptions<unknown> {
  const { cron, every, at, startAt, endAt, ...rest } = rule;
  return {
    ...rest,
    ...(cron === null ? {} : { cron }),
    ...(every === null ? {} : { every }),
    ...(at === null ? {} : { at: new Date(at) }),
    ...(startAt === null ? {} : { startAt: new Date(startAt) }),
    ...(endAt === null ? {} : { endAt: new Date(endAt) }),
  };
}
