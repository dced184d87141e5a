import { all, run } from '../script.ts';
import type { Script } from '../script.ts';

/** The progress of a runner with a version, in this order. Persisted words. */
export type ConditionName = 'fetched' | 'verified' | 'loaded' | 'healthy';

export interface Condition {
  readonly condition: ConditionName;
  readonly status: boolean;
  /** One word in CamelCase, for programs. */
  readonly reason: string;
  /** For people; null if there is no more to say. */
  readonly message: string | null;
  /** The registry's serial known to the runner. */
  readonly serial: number;
  /** Epoch ms. */
  readonly at: number;
}

export const conditionOrder: readonly ConditionName[] = ['fetched', 'verified', 'loaded', 'healthy'];

/** The bytes of one tenant: tenants with the same bytes have states of their own. */
export interface TenantDigest {
  readonly tenant: string;
  readonly digest: string;
}

/** Replaces the conditions of a tenant's version at a runner. */
export function* writeConditions(
  runner: string,
  { tenant, digest }: TenantDigest,
  conditions: readonly Condition[],
): Script<void> {
  for (const { condition, status, reason, message, serial, at } of conditions) {
    yield* run(
      `insert into package_conditions (runner, tenant, digest, condition, status, reason, message, serial, at)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       on conflict (runner, tenant, digest, condition) do update set status = excluded.status, reason = excluded.reason,
       message = excluded.message, serial = excluded.serial, at = excluded.at`,
      runner,
      tenant,
      digest,
      condition,
      Number(status),
      reason,
      message,
      serial,
      at,
    );
  }
}

/** Removes the conditions of a tenant's version at a runner. */
export function* removeConditions(runner: string, { tenant, digest }: TenantDigest): Script<void> {
  const text = 'delete from package_conditions where runner = $1 and tenant = $2 and digest = $3';
  yield* run(text, runner, tenant, digest);
}

/** Removes the conditions of runners that are gone; returns the number of rows. */
export function* sweepConditions(): Script<number> {
  return yield* run('delete from package_conditions where runner not in (select id from runners)');
}

/** A condition as it is stored; its words may have been changed by hand. */
export interface StoredCondition extends TenantDigest {
  readonly runner: string;
  readonly condition: ConditionName;
  readonly status: number;
  readonly reason: string;
  readonly serial: number;
}

/** The conditions of all versions at all runners. */
export function* everyCondition(): Script<readonly StoredCondition[]> {
  return yield* all<StoredCondition>(
    `select runner, tenant, digest, condition, status, reason, serial from package_conditions
     order by runner, tenant, digest, condition`,
  );
}

/** True if another living runner has the version loaded for this tenant. */
export function* isLoadedElsewhere(runner: string, { tenant, digest }: TenantDigest): Script<boolean> {
  const rows = yield* all(
    `select c.runner from package_conditions c join runners r on r.id = c.runner and r.dead = 0
     where c.digest = $1 and c.tenant = $3 and c.runner <> $2 and c.condition = 'loaded' and c.status = 1 limit 1`,
    digest,
    runner,
    tenant,
  );
  return rows.length > 0;
}

/** The conditions of one version of a package at the living runners. */
export interface RunnerConditions {
  /** The runner's id. */
  readonly runner: string;
  readonly name: string;
  readonly digest: string;
  readonly conditions: readonly Condition[];
}

interface ConditionRow {
  readonly runner: string;
  readonly name: string;
  readonly digest: string;
  readonly condition: ConditionName;
  readonly status: number;
  readonly reason: string;
  readonly message: string | null;
  readonly serial: number;
  readonly at: number;
}

/** The conditions of the versions of a package at the living runners. */
export function* conditionsOf(tenant: string, name: string): Script<RunnerConditions[]> {
  const rows = yield* all<ConditionRow>(
    `select c.runner, r.name, c.digest, c.condition, c.status, c.reason, c.message, c.serial, c.at
     from packages p join package_conditions c on c.digest = p.digest and c.tenant = p.tenant join runners r on r.id = c.runner and r.dead = 0
     where p.tenant = $1 and p.name = $2 order by r.registered_at, c.runner`,
    tenant,
    name,
  );
  const groups = new Map<string, RunnerConditions & { conditions: Condition[] }>();
  for (const { runner, name: runnerName, digest, condition, status, reason, message, serial, at } of rows) {
    const key = `${runner} ${digest}`;
    const group = groups.get(key) ?? { runner, name: runnerName, digest, conditions: [] };
    group.conditions.push({ condition, status: status === 1, reason, message, serial, at });
    groups.set(key, group);
  }
  const order = (entry: Condition): number => conditionOrder.indexOf(entry.condition);
  for (const group of groups.values()) group.conditions.sort((a, b) => order(a) - order(b));
  return [...groups.values()];
}
