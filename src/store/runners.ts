import { all, first, run } from './sql.ts';
import type { Dialect, Script } from './sql.ts';

/** A process that owns executions. `host` is its boot id and process namespace; times are epoch ms. */
export interface RunnerRecord {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  /** When the process started, in the system's own words; null where the system does not tell. */
  readonly pidStarted: string | null;
  readonly leaseUntil: number;
  readonly dead: boolean;
  /** Whose tasks it runs. */
  readonly queues: readonly string[];
  /** Task functions that it runs at once. */
  readonly slots: number;
}

/** A runner as others see it. */
export interface KnownRunner extends RunnerRecord {
  /** The length of its lease, ms. */
  readonly leaseMs: number;
}

export function* registerRunner(runner: RunnerRecord, now: number): Script<void> {
  const { id, name, host, pid, pidStarted, leaseUntil, queues, slots } = runner;
  yield* run(
    `insert into runners (id, name, host, pid, pid_started, registered_at, renewed_at, lease_until, queues, slots)
     values ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9) on conflict (id) do nothing`, // the answer to a first try may have been lost
    id,
    name,
    host,
    pid,
    pidStarted,
    now,
    leaseUntil,
    JSON.stringify(queues),
    slots,
  );
}

/** A row of `runners`, as it is read. */
export interface RunnerRow {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  readonly pid_started: string | null;
  readonly lease_until: number;
  readonly renewed_at: number;
  readonly dead: number;
  /** A JSON array. */
  readonly queues: string;
  readonly slots: number;
}

export const runnerColumns = 'id, name, host, pid, pid_started, lease_until, renewed_at, dead, queues, slots';

export function* runners(): Script<KnownRunner[]> {
  const rows = yield* all<RunnerRow>(`select ${runnerColumns} from runners`);
  return rows.map(runnerRecord);
}

export function runnerRecord(row: RunnerRow): KnownRunner {
  return {
    id: row.id,
    name: row.name,
    host: row.host,
    pid: row.pid,
    pidStarted: row.pid_started,
    leaseUntil: row.lease_until,
    dead: row.dead !== 0,
    leaseMs: row.lease_until - row.renewed_at,
    queues: JSON.parse(row.queues) as string[],
    slots: row.slots,
  };
}

/**
 * Declares a runner dead, if its lease is still the one that was watched: from its commit on, it can write nothing. Not one
 * that is caught in a commit just now: nobody waits for that, it is tried again.
 */
export function* markDead(id: string, leaseUntil: number, dialect: Dialect): Script<boolean> {
  const changes = yield* run(
    `update runners set dead = 1 where id in
     (select id from runners where id = $1 and lease_until = $2 and dead = 0${dialect.skipLocked})`,
    id,
    leaseUntil,
  );
  return changes === 1;
}

/** Says which embedded definitions a runner has. */
export function* writeRunnerCodes(id: string, codes: readonly string[]): Script<void> {
  yield* run('update runners set codes = $2 where id = $1', id, JSON.stringify(codes));
}

export function* removeRunner(id: string): Script<void> {
  yield* run('delete from runners where id = $1', id);
  yield* run('delete from package_conditions where runner = $1', id);
  yield* run('delete from batches where runner = $1', id);
}

/** Whether executions of this runner have mail that it has not taken in. */
export function* hasMail(runner: string): Script<boolean> {
  const row = yield* first<{ id: string }>(
    'select id from executions where owner = $1 and inbox > taken limit 1',
    runner,
  );
  return row !== undefined;
}
