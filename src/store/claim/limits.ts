import { isExcepted } from './claim.ts';
import type { Claim, ClaimTx } from './claim.ts';
import { firstsOfGroups, groupsAtOnce, locked } from './fair-order.ts';
import type { Candidate, Groups } from './fair-order.ts';
import { all } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** The executions that a version admits under a key, and the number of free places at the last look. */
interface Limit {
  readonly limit: number;
  readonly room: number;
}

/** By build id, the keys that have pending executions and room. */
type Open = Map<string, Map<string, Limit>>;

/** The first executions under limits that have room. A limit that is reached is not locked: no claim waits in vain. */
export function* limited(tx: ClaimTx, claim: Claim, codes: readonly string[]): Script<readonly Candidate[]> {
  const { cursor } = tx;
  const open: Open = new Map();
  for (const code of codes) {
    const from = cursor.keys.get(code) ?? '';
    let keys = yield* keysAfter(from, code);
    // the end of the keys is reached: from the first one again
    if (keys.length === 0 && from !== '') keys = yield* keysAfter('', code);
    cursor.keys.delete(code);
    if (keys.length === groupsAtOnce) cursor.keys.set(code, keys.at(-1)!.limit_key);
    const limits = new Map<string, Limit>();
    for (const { limit_key: key, workflow, owned } of keys) {
      const limit = limitOf(claim, code, workflow);
      if (!isExcepted(claim, code, workflow) && owned < limit) limits.set(key, { limit, room: limit - owned });
    }
    if (limits.size > 0) open.set(code, limits);
  }
  if (keysOf(open).size > claim.limit) yield* narrow(tx, claim, open);
  return open.size === 0 ? [] : yield* underLimits(tx, claim, open);
}

function keysOf(open: Open): Set<string> {
  const keys = new Set<string>();
  for (const limits of open.values()) for (const key of limits.keys()) keys.add(key);
  return keys;
}

/** Leaves only the keys of the executions that are first in turn: every locked key takes memory of the server. */
function* narrow(tx: Tx, claim: Claim, open: Open): Script<void> {
  for (const [code, limits] of open) {
    const firsts = yield* firstsOfGroups(tx, underKeys(code, limits), claim.limit);
    const first = new Set(firsts.slice(0, claim.limit).map(({ group_key: key }) => key));
    for (const key of limits.keys()) if (!first.has(key)) limits.delete(key);
  }
}

function* underLimits(tx: Tx, claim: Claim, open: Open): Script<readonly Candidate[]> {
  const owned = yield* lockedCounts(tx, keysOf(open));
  const found: Candidate[] = [];
  for (const [code, limits] of open) {
    const firsts = yield* firstsOfGroups(tx, underKeys(code, limits), claim.limit);
    // executions that one version takes count for the other versions
    const admitted = firsts.filter(({ group_key: key }) => admits(owned, key, limits.get(key)!.limit));
    found.push(...(yield* locked(tx, admitted, code, admitted.length)));
  }
  return found;
}

function underKeys(code: string, limits: ReadonlyMap<string, Limit>): Groups {
  const rooms = new Map(Array.from(limits, ([key, { room }]) => [key, room]));
  return { of: 'limit_key = g.value', buildId: code, others: [], rooms };
}

function nextKey(than: string): string {
  return `select (select e.limit_key from executions e where e.status = 'pending' and e.limit_key is not null and e.build_id = $1 and e.limit_key > ${than}
    order by e.limit_key, e.priority desc, e.created_at limit 1)`;
}

/** The limit keys with pending executions, found by jumps in the index from key to key. */
function* keysAfter(
  after: string,
  code: string,
): Script<readonly { readonly limit_key: string; readonly workflow: string; readonly owned: number }[]> {
  return yield* all(
    `with recursive k(limit_key) as (${nextKey('$2')} union all select (${nextKey('k.limit_key')}) from k where k.limit_key is not null)
     select limit_key, (select e.workflow from executions e where e.status = 'pending' and e.limit_key is not null and e.build_id = $1
       and e.limit_key = k.limit_key order by e.priority desc, e.created_at limit 1) as workflow,
       (select count(*) from executions e where e.limit_key = k.limit_key and e.owner is not null) as owned
     from k where limit_key is not null limit ${groupsAtOnce}`,
    code,
    after,
  );
}

/** A definition without a limit admits any number. */
export function limitOf(claim: Claim, code: string, workflow: string): number {
  return claim.limits.get(`${code} ${workflow}`) ?? Number.MAX_SAFE_INTEGER;
}

/** Takes one more under a limit, if it allows that. */
export function admits(owned: Map<string, number>, key: string, limit: number): boolean {
  const count = owned.get(key)!;
  if (count >= limit) return false;
  owned.set(key, count + 1);
  return true;
}

/**
 * The number of running executions under each key, counted from the owned ones, so no count can leak. No other claim takes
 * any under these keys before the end of the transaction: two that count at the same moment would both find room for one.
 */
export function* lockedCounts(tx: Tx, keys: ReadonlySet<string>): Script<Map<string, number>> {
  const list = JSON.stringify([...keys]);
  if (tx.dialect.lockNames !== null) yield* all(tx.dialect.lockNames, list);
  // a new statement sees the commits that happened during the wait for the locks
  const rows = yield* all<{ limit_key: string; owned: number }>(
    `select k.value as limit_key, (select count(*) from executions e where e.limit_key = k.value and e.owner is not null) as owned
     from (${tx.dialect.strings('$1')}) k`,
    list,
  );
  return new Map(rows.map(({ limit_key: key, owned }) => [key, owned]));
}
