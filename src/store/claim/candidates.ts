import { isExcepted } from './claim.ts';
import type { Claim, ClaimTx } from './claim.ts';
import { columns, firstsOf, locked, lockedOfEach, order } from './firsts.ts';
import { inFairOrder } from './turns.ts';
import type { Candidate } from './firsts.ts';
import { admits, exceptions, limitOf, limited, lockedCounts } from './limits.ts';
import { headsBelow, headsOf, windowOf } from './windows.ts';
import type { Head } from './windows.ts';
import { lockFree } from '../dialect.ts';
import { all } from '../script.ts';
import type { Script } from '../script.ts';

/** Tenants that one look reads at least, of all builds together: within them the oldest execution comes first. */
const leastTenants = 200;
/** Up to this number of tenants each gets a statement of its own; more tenants share one, with fewer rows of each. */
const fewTenants = 8;
/** Looks of one claim: further tenants, and lower priorities. */
const mostLooks = 20;
/** Executions of own roots that one claim examines. */
const mostOfRoots = 1000;

/** The executions that a claim takes now. Their rows are locked, and the names of their limits. */
export function* candidates(tx: ClaimTx, claim: Claim): Script<readonly Candidate[]> {
  if (claim.roots !== null) return yield* ofRoots(tx, claim, claim.roots);
  const heads = yield* headsOf(tx, claim.buildIds);
  const free = heads.free.length === 0 ? [] : yield* withoutLimit(tx, claim, heads.free);
  const under = heads.limited.length === 0 ? [] : yield* limited(tx, claim, heads.limited);
  const taken = inFairOrder([...free, ...under], tx.cursor.turns).slice(0, claim.limit);
  tx.cursor.turns.took(taken);
  return taken;
}

/** True if a claim would take anything. */
export function* claimable(tx: ClaimTx, claim: Claim): Script<boolean> {
  const { cursor } = tx;
  if (claim.roots === null) {
    const heads = yield* headsOf(tx, claim.buildIds);
    if (heads.free.some(({ buildId }) => claim.except?.has(buildId) !== true)) return true;
    if (heads.free.length + heads.limited.length === 0) return false;
  }
  // a claim finds these rows again; if there are none, the claim continues after the tenants and keys seen here
  const copy = { free: new Map(cursor.free), limited: new Map(cursor.limited), turns: cursor.turns.copy() };
  const looking = { ...tx, dialect: lockFree(tx.dialect), cursor: copy };
  if ((yield* candidates(looking, { ...claim, limit: 1 })).length > 0) return true;
  for (const kind of ['free', 'limited'] as const) {
    cursor[kind].clear();
    for (const [buildId, at] of copy[kind]) cursor[kind].set(buildId, at);
  }
  return false;
}

/** The first pending executions without a limit: the highest priority first, then tenants in turn. */
function* withoutLimit(tx: ClaimTx, claim: Claim, heads: readonly Head[]): Script<readonly Candidate[]> {
  const found = new Map<string, Candidate>();
  const except = exceptions(claim);
  let open = heads;
  for (let looks = 0; looks < mostLooks && open.length > 0 && found.size < claim.limit; looks++) {
    const wanted = claim.limit - found.size;
    const top = Math.max(...open.map(({ priority }) => priority));
    const at = open.filter(({ priority }) => priority === top);
    const size = Math.ceil(Math.max(leastTenants, 2 * wanted) / at.length);
    const { groups, more } = yield* windowOf(tx, 'free', at, size);
    const rooms = new Map(groups.map((group) => [group, wanted]));
    const of = { kind: 'free', rooms, except } as const;
    const some =
      groups.length <= fewTenants
        ? yield* lockedOfEach(tx, of, wanted)
        : yield* locked(tx, yield* firstsOf(tx, of, wanted), wanted);
    for (const one of some) found.set(one.id, one);
    const done = at.filter((head) => !more.includes(head));
    const below = found.size < claim.limit ? yield* headsBelow(tx, 'free', done) : [];
    open = [...open.filter(({ priority }) => priority !== top), ...more, ...below];
  }
  return [...found.values()];
}

/** The executions for a runner that takes only its own. They are few, so all are looked up by their roots. */
function* ofRoots(tx: ClaimTx, claim: Claim, roots: readonly string[]): Script<readonly Candidate[]> {
  const rows = yield* all<Candidate & { build_id: string; workflow: string; limit_key: string | null }>(
    `select ${columns}, build_id, workflow, limit_key from executions where status = 'pending' and ${tx.dialect.among('build_id', '$1')}
     and (${tx.dialect.among('id', '$2')} or (parent_id is not null and ${tx.dialect.among('root_id', '$2')}))
     ${order} limit $3${tx.dialect.lock('skip_locked')}`,
    JSON.stringify(claim.buildIds),
    JSON.stringify(roots),
    mostOfRoots,
  );
  const mine = rows.filter(({ build_id, workflow }) => !isExcepted(claim, build_id, workflow));
  const keys = new Set(mine.flatMap(({ limit_key: key }) => key ?? []));
  const owned = keys.size === 0 ? new Map<string, number>() : yield* lockedCounts(tx, keys);
  const admitted = inFairOrder(mine, tx.cursor.turns).filter(
    ({ limit_key: key, build_id, workflow }) => key === null || admits(owned, key, limitOf(claim, build_id, workflow)),
  );
  return admitted.slice(0, claim.limit);
}
