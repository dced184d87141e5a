import { isExcepted } from './claim.ts';
import type { Claim, ClaimTx } from './claim.ts';
import { columns, firstsOfGroups, groupsAtOnce, inFairOrder, locked, order } from './fair-order.ts';
import type { Candidate } from './fair-order.ts';
import { admits, limitOf, limited, lockedCounts } from './limits.ts';
import { pendingText } from '../runners/renewal.ts';
import { lockFree } from '../dialect.ts';
import { all } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** Up to this number of tenants each gets a query of its own; more tenants share one, with fewer rows of each. */
const fewTenants = 8;

/** Looks at further tenants and keys, as long as none so far has an execution to take. */
const mostLooks = 10;

/** The executions that a claim takes now. Their rows are locked, and the names of their limits. */
export function* candidates(tx: ClaimTx, claim: Claim): Script<readonly Candidate[]> {
  if (claim.roots !== null) return yield* ofRoots(tx, claim, claim.roots);
  return yield* ofCodes(tx, claim, yield* pendingOf(tx, claim.buildIds));
}

/** True if a claim would take anything. */
export function* claimable(tx: ClaimTx, claim: Claim): Script<boolean> {
  const looking = { ...tx, dialect: lockFree(tx.dialect) };
  const one = { ...claim, limit: 1 };
  if (claim.roots !== null) return (yield* ofRoots(looking, one, claim.roots)).length > 0;
  const pending = yield* pendingOf(tx, claim.buildIds);
  if (pending.free.some((code) => claim.except?.has(code) !== true)) return true;
  if (pending.free.length + pending.limited.length === 0) return false;
  // a claim finds these rows again; if there are none, the claim continues after the tenants and keys seen here
  const { cursor } = tx;
  const copy = { tenants: new Map(cursor.tenants), keys: new Map(cursor.keys) };
  if ((yield* ofCodes({ ...looking, cursor: copy }, one, pending)).length > 0) return true;
  for (const part of ['tenants', 'keys'] as const) {
    cursor[part].clear();
    for (const [code, at] of copy[part]) cursor[part].set(code, at);
  }
  return false;
}

/** Build ids with pending executions, with and without a limit. */
interface Pending {
  readonly free: readonly string[];
  readonly limited: readonly string[];
}

function some(isLimited: 'null' | 'not null'): string {
  return `cast(${pendingText('c.value', isLimited)} as integer)`;
}

/** One statement for all build ids of a runner. */
function* pendingOf(tx: Tx, codes: readonly string[]): Script<Pending> {
  const rows = yield* all<{ build_id: string; free: number; limited: number }>(
    `select c.value as build_id, ${some('null')} as free, ${some('not null')} as limited from (${tx.dialect.strings('$1')}) c`,
    JSON.stringify(codes),
  );
  return {
    free: rows.filter(({ free: has }) => has !== 0).map(({ build_id }) => build_id),
    limited: rows.filter(({ limited: has }) => has !== 0).map(({ build_id }) => build_id),
  };
}

function* ofCodes(tx: ClaimTx, claim: Claim, pending: Pending): Script<readonly Candidate[]> {
  const found: Candidate[] = [];
  for (let looks = 0; looks < mostLooks; looks++) {
    for (const code of pending.free) found.push(...(yield* free(tx, code, claim)));
    if (pending.limited.length > 0) found.push(...(yield* limited(tx, claim, pending.limited)));
    if (found.length > 0 || tx.cursor.tenants.size + tx.cursor.keys.size === 0) break;
  }
  return inFairOrder(found).slice(0, claim.limit);
}

/** The first pending executions of every tenant. */
function* free(tx: ClaimTx, code: string, claim: Claim): Script<readonly Candidate[]> {
  const { limit } = claim;
  const left = claim.except?.get(code) ?? [];
  const others = left.length === 0 ? [] : [JSON.stringify(left)];
  const unless = (parameter: string): string =>
    others.length === 0 ? '' : ` and not (${tx.dialect.among('workflow', parameter)})`;
  const { cursor } = tx;
  const from = cursor.tenants.get(code) ?? '';
  let tenants = yield* tenantsAfter(from, code);
  // the end of the tenants is reached: from the first one again
  if (tenants.length === 0 && from !== '') tenants = yield* tenantsAfter('', code);
  cursor.tenants.delete(code);
  if (tenants.length === groupsAtOnce) cursor.tenants.set(code, tenants.at(-1)!);
  if (tenants.length > fewTenants) {
    const of = `limit_key is null and tenant = g.value${unless('$4')}`;
    const rooms = new Map(tenants.map((tenant) => [tenant, limit]));
    const firsts = yield* firstsOfGroups(tx, { of, buildId: code, others, rooms }, limit);
    return yield* locked(tx, firsts, code, limit);
  }
  const found: Candidate[] = [];
  for (const tenant of tenants) {
    found.push(
      ...(yield* all<Candidate>(
        `select ${columns} from executions where status = 'pending' and limit_key is null and build_id = $1 and tenant = $2${unless('$4')}
         ${order} limit $3${tx.dialect.lock('skip_locked')}`,
        code,
        tenant,
        limit,
        ...others,
      )),
    );
  }
  return found;
}

function nextTenant(than: string): string {
  return `select (select e.tenant from executions e where e.status = 'pending' and e.limit_key is null and e.build_id = $1 and e.tenant > ${than}
    order by e.tenant, e.priority desc, e.created_at limit 1)`;
}

/**
 * The tenants with pending executions, found by jumps in the index from tenant to tenant. There is no other condition: the
 * planner would read and sort all remaining rows at each jump for a condition that the index does not have.
 */
function* tenantsAfter(after: string, code: string): Script<readonly string[]> {
  const rows = yield* all<{ tenant: string }>(
    `with recursive t(tenant) as (${nextTenant('$2')} union all select (${nextTenant('t.tenant')}) from t where t.tenant is not null)
     select tenant from t where tenant is not null limit ${groupsAtOnce}`,
    code,
    after,
  );
  return rows.map(({ tenant }) => tenant);
}

/** The executions for a runner that takes only its own. They are few, so all are looked up by their roots. */
function* ofRoots(tx: Tx, claim: Claim, roots: readonly string[]): Script<readonly Candidate[]> {
  const rows = yield* all<Candidate & { build_id: string; workflow: string; limit_key: string | null }>(
    `select ${columns}, build_id, workflow, limit_key from executions where status = 'pending' and ${tx.dialect.among('build_id', '$1')}
     and (${tx.dialect.among('id', '$2')} or (parent_id is not null and ${tx.dialect.among('root_id', '$2')}))
     ${order} limit $3${tx.dialect.lock('skip_locked')}`,
    JSON.stringify(claim.buildIds),
    JSON.stringify(roots),
    groupsAtOnce,
  );
  const mine = rows.filter(({ build_id, workflow }) => !isExcepted(claim, build_id, workflow));
  const keys = new Set(mine.flatMap(({ limit_key: key }) => key ?? []));
  const owned = keys.size === 0 ? new Map<string, number>() : yield* lockedCounts(tx, keys);
  const admitted = inFairOrder(mine).filter(
    ({ limit_key: key, build_id, workflow }) => key === null || admits(owned, key, limitOf(claim, build_id, workflow)),
  );
  return admitted.slice(0, claim.limit);
}
