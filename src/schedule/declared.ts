import { isDeepStrictEqual } from 'node:util';
import { ConflictError, ScheduleInvalidError } from '../core/error.ts';
import { checkRule } from '../core/schedule/rule.ts';
import { declaredSchedules } from '../core/schedule/schedule-spec.ts';
import type { DeclaredSchedule } from '../core/schedule/schedule-spec.ts';
import type { ScheduleRule, ScheduleSpec, WorkflowSpec } from '../core/definition/spec.ts';
import { newId } from '../engine/id.ts';
import { insertSchedule, lockOwned, writeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Dialect, Script } from '../store/script.ts';
import { changeSchedule } from './change.ts';
import { wakeAfter } from './fire.ts';
import { embeddedOwner, packageOwner } from './owner.ts';

/** An operator's changes of a schedule that a package or an embedded workflow declares. */
export interface Overrides {
  readonly rule?: Partial<ScheduleRule>;
  /** JSON text. */
  readonly input?: string;
  readonly paused?: boolean;
}

export function overridesOf(record: ScheduleRecord): Overrides {
  return record.overrides === null ? {} : (JSON.parse(record.overrides) as Overrides);
}

/**
 * Writes the schedules that a package declares, in the transaction that activates its version: those missing from the
 * version are disabled, and an operator's pause and overrides survive. Fits the registry's hook. The registry checked
 * them when the version was published (`checkSchedules`). Throws SCHEDULE_INVALID if two have the same name.
 */
export function* upsertPackageSchedules(
  tenant: string,
  packageName: string,
  workflows: readonly WorkflowSpec[],
  at: number,
  dialect: Dialect,
): Script<void> {
  yield* upsertDeclared(tenant, packageOwner(packageName), workflows, at, dialect);
}

/**
 * Writes the schedules of one owner's workflows, checked by `checkSchedules`. Other runners may have other embedded
 * workflows, so an embedded schedule is disabled only if its own workflow is among these. Returns the names of
 * schedules with damaged rows, which are rewritten. Throws SCHEDULE_INVALID if two have the same name, and CONFLICT if
 * another embedded workflow has a schedule of that name.
 */
export function* upsertDeclared(
  tenant: string,
  owner: string,
  workflows: readonly WorkflowSpec[],
  at: number,
  dialect: Dialect,
): Script<readonly string[]> {
  const rewritten: string[] = [];
  const wanted = declaredSchedules(workflows);
  const declared = new Set(workflows.map((workflow) => workflow.name));
  const known = new Map((yield* lockOwned(tenant, owner, dialect)).map((record) => [record.name, record]));
  for (const one of wanted.values()) {
    const record = known.get(one.spec.name);
    if (record === undefined) {
      yield* insertSchedule(declaredRecord(tenant, owner, one, at));
      continue;
    }
    if (owner === embeddedOwner && record.enabled && !declared.has(record.workflow)) refuseConflict(record, one);
    if (isUsable(record)) yield* bringUpToDate(record, one, at);
    else {
      yield* writeSchedule(declaredAgain(record, declaredRecord(tenant, owner, one, at)));
      rewritten.push(record.name);
    }
  }
  for (const record of known.values()) {
    const isGone = !wanted.has(record.name) && (owner !== embeddedOwner || declared.has(record.workflow));
    // a damaged schedule fires nothing, and the slots it passed over are unknown
    if (isGone && record.enabled && isUsable(record)) yield* changeSchedule(record, { enabled: false }, at);
  }
  return rewritten;
}

/** The stored schedule as its owner declares it: of a damaged row only an operator's pause is certain. */
function declaredAgain(record: ScheduleRecord, declared: ScheduleRecord): ScheduleRecord {
  const { id, createdAt, pausedAt } = record;
  const kept = { ...declared, id, createdAt };
  if (pausedAt === null || declared.pausedAt !== null) return kept;
  return { ...kept, pausedAt, nextAt: null, overrides: JSON.stringify({ paused: true } satisfies Overrides) };
}

/** Returns true if the stored row can be compared and changed; otherwise the declared schedule replaces it. */
function isUsable({ damaged, rule }: ScheduleRecord): boolean {
  if (damaged !== undefined) return false;
  try {
    checkRule(rule);
    return true;
  } catch (error) {
    if (error instanceof ScheduleInvalidError) return false;
    throw error;
  }
}

function refuseConflict(record: ScheduleRecord, { workflow }: DeclaredSchedule): never {
  throw new ConflictError(
    `workflow '${workflow.name}' has a schedule '${record.name}', and so has the embedded workflow '${record.workflow}' of ` +
      `another runner; rename one, or, if that workflow is no more, remove schedule 'embedded/${record.name}'`,
  );
}

function declaredRecord(
  tenant: string,
  owner: string,
  { workflow, spec }: DeclaredSchedule,
  at: number,
): ScheduleRecord {
  const record: ScheduleRecord = {
    id: newId(at),
    tenant,
    owner,
    name: spec.name,
    workflow: workflow.name,
    input: JSON.stringify(spec.input),
    rule: ruleIn(spec),
    anchor: at,
    overrides: null,
    enabled: true,
    pausedAt: spec.paused ? at : null,
    cursor: at,
    nextAt: null,
    bufferedSlot: null,
    lastSlot: null,
    createdAt: at,
    updatedAt: at,
  };
  return { ...record, nextAt: wakeAfter(record) };
}

function* bringUpToDate(record: ScheduleRecord, { workflow, spec }: DeclaredSchedule, at: number): Script<void> {
  const overrides = overridesOf(record);
  const input = overrides.input ?? JSON.stringify(spec.input);
  const rule = overridden(ruleIn(spec), overrides, record.rule);
  const paused = overrides.paused ?? spec.paused;
  const isSame =
    record.enabled &&
    record.workflow === workflow.name &&
    record.input === input &&
    (record.pausedAt !== null) === paused &&
    isDeepStrictEqual(record.rule, rule);
  if (!isSame) yield* changeSchedule(record, { workflow: workflow.name, input, rule, paused, enabled: true }, at);
}

function ruleIn(spec: ScheduleSpec): ScheduleRule {
  const { name: _name, input: _input, paused: _paused, ...rule } = spec;
  return rule;
}

/** If the owner's new rule contradicts an override (an end before the start), the schedule stays unchanged. */
function overridden(rule: ScheduleRule, overrides: Overrides, current: ScheduleRule): ScheduleRule {
  if (overrides.rule === undefined) return rule;
  const merged = { ...rule, ...overrides.rule };
  try {
    checkRule(merged);
    return merged;
  } catch (error) {
    if (error instanceof ScheduleInvalidError) return current;
    throw error;
  }
}
