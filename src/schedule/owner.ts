import { CloacinaError, ScheduleNotFoundError } from '../core/error.ts';
import { schedulesNamed } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script } from '../store/script.ts';

/** Schedules added by operators. */
export const operatorOwner = 'operator';
/** The owner of schedules of a runner's embedded workflows. */
export const embeddedOwner = 'embedded';

const packagePrefix = 'package:';

/** The owner of the schedules of a package. */
export function packageOwner(name: string): string {
  return packagePrefix + name;
}

/**
 * The reference by which the workflow of a schedule is resolved: a packaged or embedded schedule never means another
 * workflow of that name.
 */
export function workflowRef({ owner, workflow }: Pick<ScheduleRecord, 'owner' | 'workflow'>): string {
  if (owner === embeddedOwner) return `embedded/${workflow}`;
  return owner.startsWith(packagePrefix) ? `${owner.slice(packagePrefix.length)}/${workflow}` : workflow;
}

function longName({ owner, name }: ScheduleRecord): string {
  return `${owner.startsWith(packagePrefix) ? owner.slice(packagePrefix.length) : owner}/${name}`;
}

/**
 * The schedule that a name means: `nightly`, or `owner/nightly` (operator, embedded, a package's name). A schedule that its
 * owner has removed is meant only if there is no other. Throws SCHEDULE_NOT_FOUND, AMBIGUOUS_SCHEDULE.
 */
export function* findSchedule(tenant: string, name: string): Script<ScheduleRecord> {
  const candidates = [...(yield* schedulesNamed(tenant, name)), ...(yield* byLongName(tenant, name))];
  const [only, ...others] = candidates.some((each) => each.enabled)
    ? candidates.filter((each) => each.enabled)
    : candidates;
  if (only === undefined) throw new ScheduleNotFoundError(name);
  if (others.length === 0) return only;
  const names = [only, ...others].map((each) => `'${longName(each)}'`);
  throw new CloacinaError('AMBIGUOUS_SCHEDULE', `'${name}' could mean ${names.join(' or ')}; use the full name`);
}

function* byLongName(tenant: string, name: string): Script<readonly ScheduleRecord[]> {
  const slash = name.lastIndexOf('/');
  if (slash < 1) return [];
  const owner = name.slice(0, slash);
  const owners = new Set([owner, packageOwner(owner)]);
  return (yield* schedulesNamed(tenant, name.slice(slash + 1))).filter((each) => owners.has(each.owner));
}
