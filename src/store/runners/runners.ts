import { storedJson, undamaged } from '../../core/json.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** A process that owns executions. `host` is its boot id and process namespace; times are epoch ms. */
export interface RunnerRecord {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  /** The start of the process, in the system's own format; null if the system does not tell. */
  readonly pidStarted: string | null;
  readonly leaseUntil: number;
  readonly dead: boolean;
  /** The queues whose tasks it runs. */
  readonly queues: readonly string[];
  /** Task functions that it runs at once. */
  readonly slots: number;
}

/** A runner as other runners see it. */
export interface KnownRunner extends RunnerRecord {
  /** The length of its lease, ms. */
  readonly leaseMs: number;
}

// The death mark and the lease are in two tables. Each commit, claim and transaction of a runner holds its row of `runners`
// until its end, so that no runner can mark it meanwhile: the fence. PostgreSQL lets later readers share that row before an
// update that waits for it, so under load an update may never have its turn; a renewal therefore writes a row that none of
// them holds. A runner that is marked has no lease.

export function* registerRunner(tx: Tx, runner: RunnerRecord): Script<void> {
  const { id, name, host, pid, pidStarted, leaseUntil, queues, slots } = runner;
  // the answer to a first try may have been lost
  yield* run(
    `insert into runners (id, name, host, pid, pid_started, registered_at, queues, slots)
     values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing`,
    id,
    name,
    host,
    pid,
    pidStarted,
    tx.now,
    JSON.stringify(queues),
    slots,
  );
  yield* run(
    `insert into runner_leases (runner, renewed_at, lease_until) select id, $2, $3 from runners where id = $1 and dead = 0
     on conflict (runner) do nothing`,
    id,
    tx.now,
    leaseUntil,
  );
}

/** A row of `runners` with its lease, as it is read. */
export interface RunnerRow {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  readonly pid_started: string | null;
  /** Null, like the next, if it is marked dead. */
  readonly lease_until: number | null;
  readonly renewed_at: number | null;
  readonly dead: number;
  /** A JSON array. */
  readonly queues: string;
  readonly slots: number;
}

export const runnersText = `select id, name, host, pid, pid_started, lease_until, renewed_at, dead, queues, slots
  from runners left join runner_leases on runner = id`;

export function* runners(): Script<KnownRunner[]> {
  const rows = yield* all<RunnerRow>(runnersText);
  return rows.map(runnerRecord);
}

export function runnerRecord(row: RunnerRow): KnownRunner {
  return {
    id: row.id,
    name: row.name,
    host: row.host,
    pid: row.pid,
    pidStarted: row.pid_started,
    leaseUntil: row.lease_until ?? 0,
    dead: row.dead !== 0,
    leaseMs: (row.lease_until ?? 0) - (row.renewed_at ?? 0),
    queues: queuesOf(row),
    slots: row.slots,
  };
}

/** A runner with a damaged list serves no queue; all else that is known of it holds, and its death is found. */
function queuesOf({ id, queues }: RunnerRow): readonly string[] {
  return undamaged(
    [queues],
    (text) => storedJson(text, `the list of queues of runner ${id}`) as string[],
    undefined,
  ).flat();
}

/**
 * Declares a runner dead, if its lease is still the one that was watched: from that commit on, it can write nothing. A
 * runner in the middle of a commit or a renewal is not marked: the caller does not wait, and tries again later. The lease
 * goes with the mark, so a later renewal finds none.
 */
export function* markDead(tx: Tx, id: string, leaseUntil: number): Script<boolean> {
  const lease = yield* first<{ runner: string }>(
    `select runner from runner_leases where runner = $1 and lease_until = $2${tx.dialect.lock('skip_locked')}`,
    id,
    leaseUntil,
  );
  if (lease === undefined) return false;
  const changes = yield* run(
    `update runners set dead = 1 where id in (select id from runners where id = $1 and dead = 0${tx.dialect.lock('skip_locked')})`,
    id,
  );
  if (changes === 1) yield* run('delete from runner_leases where runner = $1', id);
  return changes === 1;
}

/**
 * True if a runner lives: the fence of a transaction. Its row is held until the end, so no other runner can mark it dead
 * meanwhile; the lock is shared, so its commits, claims and offers do not wait for each other.
 */
export function* isAlive({ dialect }: Tx, runner: string): Script<boolean> {
  const row = yield* first<{ dead: number }>(`select dead from runners where id = $1${dialect.lock('share')}`, runner);
  return row?.dead === 0;
}

/** Sets the embedded definitions of a runner. */
export function* writeRunnerBuilds(id: string, codes: readonly string[]): Script<void> {
  yield* run('update runners set build_ids = $2 where id = $1', id, JSON.stringify(codes));
}

export function* removeRunner(id: string): Script<void> {
  yield* run('delete from runners where id = $1', id);
  yield* run('delete from runner_leases where runner = $1', id);
  yield* run('delete from package_conditions where runner = $1', id);
  yield* run('delete from batches where runner = $1', id);
}

/** True if executions of this runner have unread messages. */
export function* hasMessages(runner: string): Script<boolean> {
  const row = yield* first<{ id: string }>(
    'select id from executions where owner = $1 and inbox_seq > inbox_acked limit 1',
    runner,
  );
  return row !== undefined;
}
