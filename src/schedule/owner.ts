import { CloacinaError, ScheduleNotFoundError } from '../core/error.ts';
import { schedulesNamed } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script } from '../store/script.ts';

/** The owner of schedules that people add. */
export const operatorOwner = 'operator';
/** The owner of schedules of a runner's embedded workflows. */
export const embeddedOwner = 'embedded';

const packagePrefix = 'package:';

/** Returns the owner of the schedules that a package declares. */
export function packageOwner(name: string): string {
  return packagePrefix + name;
}

/**
 * Returns the reference that resolves a schedule's workflow: the one of its package, or the embedded one, and no other
 * of the same name.
 */
export function workflowRef({ owner, workflow }: Pick<ScheduleRecord, 'owner' | 'workflow'>): string {
  if (owner === embeddedOwner) return `embedded/${workflow}`;
  return owner.startsWith(packagePrefix) ? `${owner.slice(packagePrefix.length)}/${workflow}` : workflow;
}

function longName({ owner, name }: ScheduleRecord): string {
  return `${owner.startsWith(packagePrefix) ? owner.slice(packagePrefix.length) : owner}/${name}`;
}

/**
 * Finds a schedule by `nightly`, or `owner/nightly` (operator, embedded, a package's name). A disabled one matches only
 * if there is no other. Throws SCHEDULE_NOT_FOUND, AMBIGUOUS_SCHEDULE.
 */
export function* findSchedule(tenant: string, name: string): Script<ScheduleRecord> {
  const candidates = [...(yield* schedulesNamed(tenant, name)), ...(yield* byLongName(tenant, name))];
  const [only, ...others] = candidates.some((each) => each.enabled)
    ? candidates.filter((each) => each.enabled)
    : candidates;
  if (only === undefined) throw new ScheduleNotFoundError(name);
  if (others.length === 0) return only;
  const names = [only, ...others].map((each) => `'${longName(each)}'`);
  throw new CloacinaError('AMBIGUOUS_SCHEDULE', `'${name}' could mean ${names.join(' or ')}; use the long name`);
}

function* byLongName(tenant: string, name: string): Script<readonly ScheduleRecord[]> {
  const slash = name.lastIndexOf('/');
  if (slash < 1) return [];
  const owner = name.slice(0, slash);
  const owners = new Set([owner, packageOwner(owner)]);
  return (yield* schedulesNamed(tenant, name.slice(slash + 1))).filter((each) => owners.has(each.owner));
}
