import { isDeepStrictEqual } from 'node:util';
import { ConflictError, ScheduleInvalidError } from '../core/error.ts';
import { checkRule } from '../core/schedule/rule.ts';
import { declaredSchedules } from '../core/schedule/schedule-spec.ts';
import type { DeclaredSchedule } from '../core/schedule/schedule-spec.ts';
import type { ScheduleRule, ScheduleSpec, WorkflowSpec } from '../core/definition/spec.ts';
import { newId } from '../engine/id.ts';
import { deleteSchedule, insertSchedule, lockOwned, neverFired, writeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import { changeSchedule } from './change.ts';
import { wakeAfter } from './fire.ts';
import { embeddedOwner, packageOwner } from './owner.ts';

/** The changes of an operator to a schedule of another owner. */
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
 * Writes the schedules of a package, in the transaction that activates its version: those that the version does not have
 * are disabled, and an operator's pause and overrides survive. With null, the package is unregistered, and its schedules are
 * deleted. It is the registry's hook (`ActivateHook`). The registry has checked them when the version was published
 * (`checkSchedules`). Throws SCHEDULE_INVALID if two have one name.
 */
export function* upsertPackageSchedules(
  tx: Tx,
  tenant: string,
  packageName: string,
  workflows: readonly WorkflowSpec[] | null,
): Script<readonly string[]> {
  const owner = packageOwner(packageName);
  if (workflows === null) return yield* deleteOwned(tx, tenant, owner);
  yield* upsertOwned(tx, tenant, owner, workflows);
  return [];
}

/** Deletes the schedules of an owner; returns their ids. The records of their slots are still there. */
function* deleteOwned(tx: Tx, tenant: string, owner: string): Script<readonly string[]> {
  const ids = (yield* lockOwned(tx, tenant, owner)).map(({ id }) => id);
  for (const id of ids) yield* deleteSchedule(id);
  return ids;
}

/**
 * Writes the schedules of the workflows of one owner, which `checkSchedules` has checked. Other runners may have other
 * embedded workflows, so an embedded schedule is disabled only if its own workflow is among these. Returns the names of
 * those whose rows were damaged and are written anew. Throws SCHEDULE_INVALID if two have one name, and CONFLICT if another
 * embedded workflow has a schedule of that name.
 */
export function* upsertOwned(
  tx: Tx,
  tenant: string,
  owner: string,
  workflows: readonly WorkflowSpec[],
): Script<readonly string[]> {
  const rewritten: string[] = [];
  const wanted = declaredSchedules(workflows);
  const brought = new Set(workflows.map((workflow) => workflow.name));
  const known = new Map((yield* lockOwned(tx, tenant, owner)).map((record) => [record.name, record]));
  for (const one of wanted.values()) {
    const record = known.get(one.spec.name);
    if (record === undefined) {
      yield* insertSchedule(newOwned(tenant, owner, one, tx.now));
      continue;
    }
    if (owner === embeddedOwner && record.enabled && !brought.has(record.workflow)) refuseTheft(record, one);
    if (isUsable(record)) yield* bringUpToDate(tx, record, one);
    else {
      yield* writeSchedule(anew(record, newOwned(tenant, owner, one, tx.now)));
      rewritten.push(record.name);
    }
  }
  for (const record of known.values()) {
    const isGone = !wanted.has(record.name) && (owner !== embeddedOwner || brought.has(record.workflow));
    // a damaged one fires nothing, and its passed slots are unknown
    if (isGone && record.enabled && isUsable(record)) yield* changeSchedule(tx, record, { enabled: false });
  }
  return rewritten;
}

/** The stored schedule, as its owner declares it: of a damaged row only an operator's pause is certain. */
function anew(record: ScheduleRecord, brought: ScheduleRecord): ScheduleRecord {
  const { id, createdAt, pausedAt } = record;
  const kept = { ...brought, id, createdAt };
  if (pausedAt === null || brought.pausedAt !== null) return kept;
  return { ...kept, pausedAt, nextAt: null, overrides: JSON.stringify({ paused: true } satisfies Overrides) };
}

/** True if the stored schedule can be compared and changed; else the owner's declaration replaces it. */
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

function refuseTheft(record: ScheduleRecord, { workflow }: DeclaredSchedule): never {
  throw new ConflictError(
    `workflow '${workflow.name}' has a schedule '${record.name}', and so has the embedded workflow '${record.workflow}' of ` +
      `another runner; rename one of them, or, if that workflow no longer exists, remove schedule 'embedded/${record.name}'`,
  );
}

function newOwned(tenant: string, owner: string, { workflow, spec }: DeclaredSchedule, at: number): ScheduleRecord {
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
    ...neverFired,
    createdAt: at,
    updatedAt: at,
  };
  return { ...record, nextAt: wakeAfter(record) };
}

function* bringUpToDate(tx: Tx, record: ScheduleRecord, { workflow, spec }: DeclaredSchedule): Script<void> {
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
  if (!isSame) yield* changeSchedule(tx, record, { workflow: workflow.name, input, rule, paused, enabled: true });
}

function ruleIn(spec: ScheduleSpec): ScheduleRule {
  const { name: _name, input: _input, paused: _paused, ...rule } = spec;
  return rule;
}

/** The owner's rule with the overrides; the current rule if the two cannot both hold (an end before the start). */
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
