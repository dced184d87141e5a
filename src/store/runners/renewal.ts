import { all, first, run } from '../script.ts';
import type { Dialect, Script, Tx } from '../script.ts';
import { runnerRecord, runnersText } from './runners.ts';
import type { KnownRunner, RunnerRow } from './runners.ts';

/** A sign of life of a runner. */
export interface Renew {
  readonly runner: string;
  readonly leaseMs: number;
  /** The build ids that it can run. */
  readonly buildIds: readonly string[];
}

/** A reading of the clock of a database that may be on another machine. */
export interface ClockReading {
  /** Epoch ms. */
  readonly now: number;
  /** By the monotonic clock of this process, which all its threads share: `performance.timeOrigin + performance.now()`, ms. */
  readonly at: number;
}

/** The answer of the database to a renewal: the state of the runner, and the work that waits for it. */
export interface Renewal {
  /** False where it was declared dead. */
  readonly alive: boolean;
  /** Null if the database has no clock of its own, or if the answer took too long to tell. */
  readonly clock: ClockReading | null;
  readonly runners: readonly KnownRunner[];
  /** Executions owned by it. */
  readonly owned: number;
  /** Unread messages to them. */
  readonly hasMessages: boolean;
  /** Pending executions or offered attempts that it can run; a limit or a queue may still prevent that it takes them. */
  readonly hasWork: boolean;
  /** Pending executions of its workflows under definitions that no living runner has. */
  readonly hasRetiredBuilds: boolean;
  /** Executions whose owner, or offered attempts whose helper, is dead or gone. */
  readonly hasOrphans: boolean;
  /** The time at which the first waiting execution is due; epoch ms. */
  readonly nextWake: number | null;
  /** The time at which the first schedule is due; epoch ms. */
  readonly nextSlot: number | null;
  /** Counts the changes of the registry. */
  readonly registry: number;
}

const living = 'select id from runners where dead = 0';

/** Reads the first entry of an index, and orders by that index: the plan stays right without statistics of the table. */
function pendingText(code: string, limited: 'null' | 'not null'): string {
  const order = limited === 'null' ? 'tenant' : 'limit_key';
  return `(select 1 from executions where status = 'pending' and limit_key is ${limited} and build_id = ${code}
    order by priority desc, ${order}, created_at limit 1) is not null`;
}

/** The build ids with pending executions, as a recursive query: jumps in one of the indexes from build id to build id. */
function pendingCodes(name: string, limited: 'null' | 'not null'): string {
  const order = limited === 'null' ? 'e.tenant' : 'e.limit_key';
  const next = (than: string): string => `select (select e.build_id from executions e
      where e.status = 'pending' and e.limit_key is ${limited} and e.build_id > ${than}
      order by e.build_id, e.priority desc, ${order}, e.created_at limit 1)`;
  return `${name}(build_id) as (${next(`''`)} union all ${next(`${name}.build_id`)} from ${name} where ${name}.build_id is not null)`;
}

/**
 * Build ids of embedded definitions with pending executions that no living runner has, with their workflows: only the
 * workflows behind the build ids in the parameter. The cost depends on the build ids with pending executions, not on all
 * definitions ever written.
 */
export function retiredBuildsText(dialect: Dialect, codes: string): string {
  const own = dialect.strings(codes);
  return `with recursive ${pendingCodes('free', 'null')}, ${pendingCodes('limited', 'not null')}
    select c.build_id, c.workflow from (select p.build_id, (select d.workflow from builds d where d.build_id = p.build_id) as workflow
      from (select build_id from free union select build_id from limited) p where p.build_id is not null) c
    where c.workflow in (select d.workflow from builds d where ${dialect.among('d.build_id', codes)})
      and c.build_id not in (${own})
      and not exists (select 1 from runners r where r.dead = 0 and c.build_id in (${dialect.strings('r.build_ids')}))`;
}

/** Owners of executions that are dead or gone, found by jumps in the index from owner to owner. */
export const orphanOwnersText: string = `with recursive o(owner) as (
    select (select owner from executions where owner is not null order by owner limit 1)
    union all select (select e.owner from executions e where e.owner is not null and e.owner > o.owner order by e.owner limit 1)
      from o where o.owner is not null)
  select owner from o where owner is not null and owner not in (${living})`;

/** The part of `Renewal` that one row of one query has; $1 the runner, $2 its build ids as a JSON array. */
export function signsText(dialect: Dialect): string {
  const among = dialect.strings('$2');
  return `select (select count(*) from executions where owner = $1) as owned,
    cast(exists (select 1 from executions where owner = $1 and inbox_seq > inbox_acked) as integer) as has_messages,
    cast(exists (select 1 from (${among}) c where ${pendingText('c.value', 'null')} or ${pendingText('c.value', 'not null')}
      or exists (select 1 from offers where helper is null and build_id = c.value)) as integer) as has_work,
    cast(exists (${retiredBuildsText(dialect, '$2')}) as integer) as has_retired_builds,
    cast(exists (${orphanOwnersText})
      or exists (select 1 from offers where helper is not null and helper not in (${living})) as integer) as has_orphans,
    (select min(wake_at) from executions where status = 'waiting' and wake_at is not null) as next_wake,
    (select min(next_at) from schedules where next_at is not null) as next_slot,
    (select n from registry_head) as registry`;
}

export interface SignsRow {
  readonly owned: number;
  readonly has_messages: number;
  readonly has_work: number;
  readonly has_retired_builds: number;
  readonly has_orphans: number;
  readonly next_wake: number | null;
  readonly next_slot: number | null;
  readonly registry: number;
}

export function renewalOf(
  row: SignsRow,
  alive: boolean,
  clock: ClockReading | null,
  runners: readonly RunnerRow[],
): Renewal {
  return {
    alive,
    clock,
    runners: runners.map(runnerRecord),
    owned: row.owned,
    hasMessages: row.has_messages !== 0,
    hasWork: row.has_work !== 0,
    hasRetiredBuilds: row.has_retired_builds !== 0,
    hasOrphans: row.has_orphans !== 0,
    nextWake: row.next_wake,
    nextSlot: row.next_slot,
    registry: row.registry,
  };
}

/** Renews a lease by the clock of the caller, on a database that has no clock of its own. */
export function* renew(tx: Tx, { runner, leaseMs, buildIds }: Renew): Script<Renewal> {
  const alive = yield* run(
    `update runner_leases set renewed_at = $2, lease_until = $3 where runner = $1 and runner in (${living})`,
    runner,
    tx.now,
    tx.now + leaseMs,
  );
  const runners = yield* all<RunnerRow>(runnersText);
  const signs = yield* first<SignsRow>(signsText(tx.dialect), runner, JSON.stringify(buildIds));
  return renewalOf(signs!, alive === 1, null, runners);
}
