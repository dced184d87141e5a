import { holdUnowned } from './control.ts';
import { load } from './loading.ts';
import { orphanOwnersText, pendingText } from './renewal.ts';
import type { ClaimedExecution, Taken } from './loading.ts';
import { releaseHelped } from './offers.ts';
import { all, first, run } from './sql.ts';
import type { Dialect, Script } from './sql.ts';

export interface Claim {
  readonly runner: string;
  readonly now: number;
  readonly limit: number;
  /** What this runner can run (see `NewExecution.code`). */
  readonly codes: readonly string[];
  /** Where set, only executions of these roots. */
  readonly roots: readonly string[] | null;
  /** Executions at once, by `code workflow`, of the workflows that have a limit. */
  readonly limits: ReadonlyMap<string, number>;
  /** Workflows that are left to others, although the code of some that are not is here too, by their code. */
  readonly except?: ReadonlyMap<string, readonly string[]>;
}

/** Losses without progress after which an execution is a suspect, and is loaded by itself. */
const suspectLosses = 2;
/** Runners that an execution may kill while it is loaded. */
const mostLoads = 5;
/** Keys of limits looked at by one claim. */
const keysAtOnce = 1000;

interface Candidate {
  readonly id: string;
  readonly reason: string | null;
  readonly losses: number;
  readonly tenant: string;
  readonly priority: number;
  readonly created_at: number;
}

/** What a claim took: `suspect` still has to be loaded, in a transaction of its own. */
export interface Claimed {
  readonly loaded: readonly ClaimedExecution[];
  readonly suspect: Taken | null;
}

/**
 * Takes pending executions for a runner: the highest priority first, then the oldest, as far as their limits allow.
 * Claim, then load (see durability.md). Of suspects one at a time is taken, and is marked as being loaded.
 */
export function* claimExecutions(claim: Claim, cursor: ClaimCursor, dialect: Dialect): Script<Claimed> {
  // shared with the commits of this runner, which would wait for every claim else; nobody can mark it dead meanwhile
  const mine = yield* first<{ dead: number }>(
    `select dead from runners where id = $1${dialect.forShare}`,
    claim.runner,
  );
  if (mine === undefined || mine.dead !== 0) return { loaded: [], suspect: null };
  const taken: Candidate[] = [];
  let suspect: Candidate | null = null;
  for (const found of yield* candidates(claim, cursor, dialect)) {
    if (found.losses < suspectLosses) taken.push(found);
    else suspect ??= found;
  }
  yield* own(claim, taken, 0, dialect);
  if (suspect !== null) yield* own(claim, [suspect], 1, dialect);
  return { loaded: yield* load(taken, dialect), suspect };
}

function* own(claim: Claim, taken: readonly Candidate[], loads: number, dialect: Dialect): Script<void> {
  if (taken.length === 0) return;
  yield* run(
    `update executions set status = 'running', reason = null, owner = $2, epoch = epoch + 1, wake_at = null,
     loads = loads + $4, started_at = coalesce(started_at, $3) where ${dialect.among('id', '$1')}`,
    JSON.stringify(taken.map(({ id }) => id)),
    claim.runner,
    claim.now,
    loads,
  );
}

/** Where the last claim stopped among many tenants, and among the keys of limits, so that none waits for ever. */
export interface ClaimCursor {
  tenant: string;
  after: string;
}

/** What a claim would take now. */
function* candidates(claim: Claim, cursor: ClaimCursor, dialect: Dialect): Script<Candidate[]> {
  const found: Candidate[] = [];
  if (claim.roots !== null) {
    found.push(...(yield* ofRoots(claim, claim.roots, dialect)));
  } else {
    const pending = yield* pendingOf(claim.codes, dialect);
    for (const code of pending.free) found.push(...(yield* free(code, claim, cursor, dialect)));
    if (pending.limited.length > 0)
      found.push(...(yield* limited({ ...claim, codes: pending.limited }, cursor, dialect)));
  }
  return inTurn(found).slice(0, claim.limit);
}

/** The highest priority first; within one priority tenants take turns, each with its oldest. */
function inTurn(found: readonly Candidate[]): readonly Candidate[] {
  const oldest = found.toSorted((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1));
  const turns = new Map<string, number>();
  const placed = oldest.map((candidate) => {
    const key = `${candidate.priority} ${candidate.tenant}`;
    const turn = turns.get(key) ?? 0;
    turns.set(key, turn + 1);
    return { candidate, turn };
  });
  placed.sort((a, b) => b.candidate.priority - a.candidate.priority || a.turn - b.turn);
  return placed.map(({ candidate }) => candidate);
}

const columns = 'id, tenant, reason, losses, priority, created_at';
// ids made by one process go on where times are the same
const order = 'order by priority desc, created_at, id';

/** The first of every tenant that has something pending. */
function* free(code: string, claim: Claim, cursor: ClaimCursor, dialect: Dialect): Script<readonly Candidate[]> {
  const { limit } = claim;
  const left = claim.except?.get(code) ?? [];
  const others = left.length === 0 ? [] : [JSON.stringify(left)];
  const unless = (parameter: string): string =>
    others.length === 0 ? '' : ` and not (${dialect.among('workflow', parameter)})`;
  const from = cursor.tenant;
  let tenants = yield* tenantsAfter(from, code, unless('$3'), others);
  // from the first tenant again
  if (tenants.length === 0 && from !== '') tenants = yield* tenantsAfter('', code, unless('$3'), others);
  cursor.tenant = tenants.length < keysAtOnce ? '' : tenants.at(-1)!;
  const found: Candidate[] = [];
  for (const tenant of tenants) {
    found.push(
      ...(yield* all<Candidate>(
        `select ${columns} from executions where status = 'pending' and limit_key is null and code = $1 and tenant = $2${unless('$4')}
         ${order} limit $3${dialect.skipLocked}`,
        code,
        tenant,
        limit,
        ...others,
      )),
    );
  }
  return found;
}

/** The tenants that have something pending, found by jumps in the index from tenant to tenant. */
function* tenantsAfter(
  after: string,
  code: string,
  unless: string,
  others: readonly string[],
): Script<readonly string[]> {
  const next = (than: string): string =>
    `select (select e.tenant from executions e where e.status = 'pending' and e.limit_key is null and e.code = $1 and e.tenant > ${than}${unless}
      order by e.tenant, e.priority desc, e.created_at limit 1)`;
  const rows = yield* all<{ tenant: string }>(
    `with recursive t(tenant) as (${next('$2')} union all select (${next('t.tenant')}) from t where t.tenant is not null)
     select tenant from t where tenant is not null limit ${keysAtOnce}`,
    code,
    after,
    ...others,
  );
  return rows.map(({ tenant }) => tenant);
}

/** What a runner that takes only its own executions may take: few, so they are looked up by their roots. */
function* ofRoots(claim: Claim, roots: readonly string[], dialect: Dialect): Script<readonly Candidate[]> {
  const rows = yield* all<Candidate & { code: string; workflow: string; limit_key: string | null }>(
    `select ${columns}, code, workflow, limit_key from executions where status = 'pending' and ${dialect.among('code', '$1')}
     and (${dialect.among('id', '$2')} or (parent_id is not null and ${dialect.among('root_id', '$2')}))
     ${order} limit $3${dialect.skipLocked}`,
    JSON.stringify(claim.codes),
    JSON.stringify(roots),
    claim.limit,
  );
  const admitted: Candidate[] = [];
  const room = new Map<string, number>();
  for (const row of rows) {
    if (isExcepted(claim, row.code, row.workflow)) continue;
    if (row.limit_key !== null) {
      const left =
        room.get(row.limit_key) ?? (yield* lockedRoomOf(claim, row.code, row.workflow, row.limit_key, dialect));
      room.set(row.limit_key, left - 1);
      if (left <= 0) continue;
    }
    admitted.push(row);
  }
  return admitted;
}

/** The keys of limits that have something pending, in turn; a key whose limit is reached costs two look-ups. */
function* limited(claim: Claim, cursor: ClaimCursor, dialect: Dialect): Script<readonly Candidate[]> {
  const found: Candidate[] = [];
  // what one version takes counts for the others
  const rooms = new Map<string, number>();
  let looked = 0;
  const from = cursor.after;
  cursor.after = '';
  for (const code of claim.codes) {
    for (let after = from; ; looked++) {
      const next = yield* first<{ limit_key: string; workflow: string }>(
        `select limit_key, workflow from executions where status = 'pending' and limit_key is not null and code = $1
         and limit_key > $2 order by limit_key limit 1`,
        code,
        after,
      );
      if (next === undefined) break;
      after = next.limit_key;
      if (isExcepted(claim, code, next.workflow)) continue;
      if (looked >= keysAtOnce) {
        cursor.after = after;
        return found;
      }
      const room =
        rooms.get(next.limit_key) ?? (yield* lockedRoomOf(claim, code, next.workflow, next.limit_key, dialect));
      rooms.set(next.limit_key, room);
      if (room <= 0) continue;
      const oldest = yield* all<Candidate>(
        `select ${columns} from executions where status = 'pending' and limit_key = $2 and code = $1
         ${order} limit $3${dialect.skipLocked}`,
        code,
        next.limit_key,
        Math.min(room, claim.limit),
      );
      rooms.set(next.limit_key, room - oldest.length);
      found.push(...oldest);
    }
  }
  return found.length === 0 && from !== '' ? yield* limited(claim, cursor, dialect) : found;
}

/** Whether a workflow is left to others. */
function isExcepted({ except }: Claim, code: string, workflow: string): boolean {
  return except?.get(code)?.includes(workflow) === true;
}

/** How many more may run under a limit: counted from what is owned, so nothing leaks. */
function* roomOf(claim: Claim, code: string, workflow: string, key: string): Script<number> {
  const limit = claim.limits.get(`${code} ${workflow}`);
  // a definition that has no limit any more
  if (limit === undefined) return Number.MAX_SAFE_INTEGER;
  const row = yield* first<{ owned: number }>(
    'select count(*) as owned from executions where limit_key = $1 and owner is not null',
    key,
  );
  return limit - (row?.owned ?? 0);
}

/**
 * The same, and until the end of the transaction nobody else takes anything under that limit: else two who count at the
 * same moment both find room for one. A limit that is reached is not locked, so that nobody waits for nothing.
 */
function* lockedRoomOf(claim: Claim, code: string, workflow: string, key: string, dialect: Dialect): Script<number> {
  const room = yield* roomOf(claim, code, workflow, key);
  if (room <= 0 || dialect.lockName === null) return room;
  yield* all(dialect.lockName, key);
  // what was committed while the lock was waited for is seen by a new statement only
  return yield* roomOf(claim, code, workflow, key);
}

function somePending(isLimited: 'null' | 'not null'): string {
  return `cast(${pendingText('c.value', isLimited)} as integer)`;
}

/** Codes that have something pending, with and without a limit: one statement, however many codes a runner has. */
function* pendingOf(codes: readonly string[], dialect: Dialect): Script<{ free: string[]; limited: string[] }> {
  const rows = yield* all<{ code: string; free: number; limited: number }>(
    `select c.value as code, ${somePending('null')} as free, ${somePending('not null')} as limited from (${dialect.strings('$1')}) c`,
    JSON.stringify(codes),
  );
  return {
    free: rows.filter(({ free: has }) => has !== 0).map(({ code }) => code),
    limited: rows.filter(({ limited: has }) => has !== 0).map(({ code }) => code),
  };
}

/** Whether a claim would take anything. */
export function* claimable(claim: Claim, cursor: ClaimCursor, dialect: Dialect): Script<boolean> {
  if (claim.roots === null) {
    const pending = yield* pendingOf(claim.codes, dialect);
    if (pending.free.some((code) => claim.except?.has(code) !== true)) return true;
    if (pending.free.length + pending.limited.length === 0) return false;
  }
  const looking = { ...dialect, skipLocked: '', lockName: null };
  return (yield* candidates({ ...claim, limit: 1 }, { ...cursor }, looking)).length > 0;
}

/**
 * Makes executions pending whose time has come; gives how many. Another runner may be about to do the same: what it holds
 * is left to it, since by the time it lets go somebody may have taken that execution, or even ended it.
 */
export function* wakeExecutions(now: number, limit: number, dialect: Dialect): Script<number> {
  return yield* run(
    `update executions set status = 'pending', reason = case when epoch = 0 then null else 'woken' end, wake_at = null where id in
     (select id from executions where status = 'waiting' and wake_at <= $1 order by wake_at limit $2${dialect.skipLocked})`,
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

/** What the rows say this runner owns. */
export function* ownedBy(runner: string): Script<readonly { readonly id: string; readonly epoch: number }[]> {
  return yield* all<{ id: string; epoch: number }>('select id, epoch from executions where owner = $1', runner);
}

/** Gives back an execution that a runner owns without knowing of it (the answer to its claim was lost). */
export function* handBack(id: string, runner: string, epoch: number): Script<void> {
  yield* run(
    `update executions set status = 'pending', reason = 'lost', owner = null where id = $1 and owner = $2 and epoch = $3`,
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
 * Makes pending what an owner left behind that is marked dead or has no row, and removes rows of the dead. A
 * transaction of its own, after the mark is committed: its snapshot must hold what the dead one last committed. One
 * that killed too many runners while it was loaded is held.
 */
export function* releaseOrphans(now: number, dialect: Dialect): Script<number> {
  const owners = (yield* all<{ owner: string }>(orphanOwnersText)).map(({ owner }) => owner);
  if (owners.length === 0) return yield* removeDead(now, dialect);
  const orphans = `${dialect.among('owner', '$2')} and owner not in (select id from runners where dead = 0)`;
  const gone = JSON.stringify(owners);
  // locked first, and judged again by a new statement: while a row was waited for, a runner may have registered and taken it
  const found = yield* all<{ id: string }>(
    `select id from executions where ${orphans.replace('$2', '$1')}${dialect.skipLocked}`,
    gone,
  );
  const among = `${dialect.among('id', '$1')} and ${orphans}`;
  const ids = JSON.stringify(found.map(({ id }) => id));
  const killers = yield* all<{ id: string }>(
    `select id from executions where ${among} and loads >= $3`,
    ids,
    gone,
    mostLoads,
  );
  const released = yield* run(
    `update executions set status = 'pending', reason = 'lost', owner = null, losses = losses + 1 where ${among}`,
    ids,
    gone,
  );
  for (const { id } of killers) yield* holdUnowned(id, 'CRASH_LOOP', now);
  return released + (yield* removeDead(now, dialect));
}

/** What else the dead leave behind; gives how many attempts at helpers were lost. */
function* removeDead(now: number, dialect: Dialect): Script<number> {
  const lost = yield* releaseHelped(now, dialect);
  yield* run('delete from batches where runner in (select id from runners where dead <> 0)');
  yield* run('delete from runners where dead <> 0');
  return lost;
}

/** Executions that wait for code which no living runner has, although this one has the workflow under another definition. */
export interface Stray {
  readonly id: string;
  readonly code: string;
  readonly workflow: string;
}

/** Pending executions of embedded workflows under codes that no living runner has; at most `limit` of each code. */
export function* strays(workflows: readonly string[], limit: number, dialect: Dialect): Script<Stray[]> {
  const living = yield* all<{ codes: string }>('select codes from runners where dead = 0');
  const known = new Set(living.flatMap(({ codes }) => JSON.parse(codes) as string[]));
  const wanted = yield* all<{ code: string; workflow: string }>(
    `select code, workflow from definition_codes where ${dialect.among('workflow', '$1')}`,
    JSON.stringify(workflows),
  );
  const found: Stray[] = [];
  for (const { code, workflow } of wanted) {
    if (known.has(code)) continue;
    const rows = yield* all<{ id: string }>(
      `select id from executions where status = 'pending' and code = $1 limit $2`,
      code,
      limit,
    );
    for (const { id } of rows) found.push({ id, code, workflow });
  }
  return found;
}

/** Gives a pending execution to another definition of its workflow. */
export function* adoptCode(id: string, from: string, to: string): Script<void> {
  yield* run(`update executions set code = $3 where id = $1 and code = $2 and status = 'pending'`, id, from, to);
}

/** Holds a pending execution that the definitions of living runners cannot go on with. */
export function* holdChanged(id: string, code: string, now: number, dialect: Dialect): Script<void> {
  const row = yield* first<{ id: string }>(
    `select id from executions where id = $1 and code = $2 and status = 'pending'${dialect.forUpdate}`,
    id,
    code,
  );
  if (row !== undefined) yield* holdUnowned(id, 'DEFINITION_CHANGED', now);
}
