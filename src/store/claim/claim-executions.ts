import { candidates } from './candidates.ts';
import type { Claim, ClaimTx } from './claim.ts';
import { holdUnowned } from '../executions/commands.ts';
import type { Candidate } from './firsts.ts';
import { load } from './hydrate.ts';
import type { ClaimedExecution, ClaimedRow } from './hydrate.ts';
import { releaseHelped } from '../sharing/offers.ts';
import { orphanOwnersText } from '../runners/renewal.ts';
import { isAlive } from '../runners/runners.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** Losses without progress after which an execution is a suspect, and is loaded by itself. */
const suspectLosses = 2;
/** Runners that an execution may kill while it is loaded. */
const mostLoads = 5;

/** The executions of a claim. `suspect` is still to be loaded, in a transaction of its own. */
export interface Claimed {
  readonly loaded: readonly ClaimedExecution[];
  readonly suspect: ClaimedRow | null;
}

/**
 * Takes pending executions for a runner: the highest priority first, then the oldest, as far as their limits allow. Claim,
 * then load (see durability.md). A claim takes one suspect at a time and marks it as being loaded.
 */
export function* claimExecutions(tx: ClaimTx, claim: Claim): Script<Claimed> {
  if (!(yield* isAlive(tx, claim.runner))) return { loaded: [], suspect: null };
  const taken: Candidate[] = [];
  let suspect: Candidate | null = null;
  for (const found of yield* candidates(tx, claim)) {
    if (found.crash_count < suspectLosses) taken.push(found);
    else if (claim.suspects !== false) suspect ??= found;
  }
  yield* own(tx, claim, taken, 0);
  if (suspect !== null) yield* own(tx, claim, [suspect], 1);
  return { loaded: yield* load(tx, taken), suspect };
}

function* own(tx: Tx, claim: Claim, taken: readonly Candidate[], loads: number): Script<void> {
  if (taken.length === 0) return;
  yield* run(
    `update executions set status = 'running', reason = null, owner = $2, epoch = epoch + 1, wake_at = null,
     load_attempts = load_attempts + $4, started_at = coalesce(started_at, $3) where ${tx.dialect.among('id', '$1')}`,
    JSON.stringify(taken.map(({ id }) => id)),
    claim.runner,
    claim.now,
    loads,
  );
}

/**
 * Makes executions pending whose time has come; returns their number. It skips rows that another runner holds: by the end
 * of that transaction the execution may be claimed, or even ended.
 */
export function* wakeExecutions(tx: Tx, now: number, limit: number): Script<number> {
  return yield* run(
    `update executions set status = 'pending', reason = case when epoch = 0 then null else 'woken' end, wake_at = null where id in
     (select id from executions where status = 'waiting' and wake_at <= $1 order by wake_at limit $2${tx.dialect.lock('skip_locked')})`,
    now,
    limit,
  );
}

/** The earliest time at which a waiting execution wakes, or null. */
export function* nextWake(): Script<number | null> {
  const row = yield* first<{ at: number | null }>(
    `select min(wake_at) as at from executions where status = 'waiting' and wake_at is not null`,
  );
  return row?.at ?? null;
}

/** The executions that a runner owns by the rows of the database. */
export function* ownedBy(runner: string): Script<readonly { readonly id: string; readonly epoch: number }[]> {
  return yield* all<{ id: string; epoch: number }>('select id, epoch from executions where owner = $1', runner);
}

/**
 * Releases an execution that a runner owns and does not load: the answer to its claim was lost, or its workflow was unloaded
 * meanwhile. The runner lives, so the charge of its claim is taken back.
 */
export function* releaseExecution(id: string, runner: string, epoch: number): Script<void> {
  yield* run(
    `update executions set status = 'pending', reason = 'lost', owner = null,
     load_attempts = case when load_attempts > 0 then load_attempts - 1 else 0 end where id = $1 and owner = $2 and epoch = $3`,
    id,
    runner,
    epoch,
  );
  yield* run(
    'delete from offers where execution_id = $1 and not exists (select 1 from executions where id = $1 and owner is not null)',
    id,
  );
}

/**
 * Makes pending the executions of owners that are marked dead or have no row, and removes the rows of the dead. It is a
 * transaction of its own, after the commit of the mark: its snapshot must hold the last commit of the dead runner. An
 * execution that killed too many runners while it was loaded is held.
 */
export function* releaseOrphans(tx: Tx): Script<number> {
  const owners = (yield* all<{ owner: string }>(orphanOwnersText)).map(({ owner }) => owner);
  if (owners.length === 0) return yield* removeDead(tx);
  const orphans = `${tx.dialect.among('owner', '$2')} and owner not in (select id from runners where dead = 0)`;
  const gone = JSON.stringify(owners);
  // locks first and judges by a new statement: during the wait for a row a runner may have registered and claimed it
  const found = yield* all<{ id: string }>(
    `select id from executions where ${orphans.replace('$2', '$1')}${tx.dialect.lock('skip_locked')}`,
    gone,
  );
  const among = `${tx.dialect.among('id', '$1')} and ${orphans}`;
  const ids = JSON.stringify(found.map(({ id }) => id));
  const killers = yield* all<{ id: string }>(
    `select id from executions where ${among} and load_attempts >= $3`,
    ids,
    gone,
    mostLoads,
  );
  const released = yield* run(
    `update executions set status = 'pending', reason = 'lost', owner = null, crash_count = crash_count + 1 where ${among}`,
    ids,
    gone,
  );
  for (const { id } of killers) yield* holdUnowned(tx, id, 'CRASH_LOOP');
  return released + (yield* removeDead(tx));
}

/** Removes the other rows of dead runners; returns the number of attempts lost at helpers. */
function* removeDead(tx: Tx): Script<number> {
  const lost = yield* releaseHelped(tx);
  // read once: a runner that is marked from here on is removed by the next call, with its row and its batches
  const dead = JSON.stringify(
    (yield* all<{ id: string }>('select id from runners where dead <> 0')).map(({ id }) => id),
  );
  yield* run(`delete from batches where ${tx.dialect.among('runner', '$1')}`, dead);
  yield* run(`delete from runners where ${tx.dialect.among('id', '$1')}`, dead);
  yield* run(`delete from runner_leases where ${tx.dialect.among('runner', '$1')}`, dead);
  return lost;
}
