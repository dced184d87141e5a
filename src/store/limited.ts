import { isExcepted } from './claim.ts';
import type { Claim, ClaimCursor } from './claim.ts';
import { firstsOf, groupsAtOnce, locked } from './firsts.ts';
import type { Candidate } from './firsts.ts';
import { all } from './sql.ts';
import type { Dialect, Script } from './sql.ts';

/** What is first under the limits that have room. A limit that is reached is not locked, so that nobody waits for nothing. */
export function* limited(
  claim: Claim,
  codes: readonly string[],
  cursor: ClaimCursor,
  dialect: Dialect,
): Script<readonly Candidate[]> {
  const limits = new Map<string, number>();
  const groups = new Map<string, Map<string, number>>();
  for (const code of codes) {
    const from = cursor.keys.get(code) ?? '';
    let keys = yield* keysAfter(from, code);
    // from the first key again
    if (keys.length === 0 && from !== '') keys = yield* keysAfter('', code);
    cursor.keys.delete(code);
    if (keys.length === groupsAtOnce) cursor.keys.set(code, keys.at(-1)!.limit_key);
    const rooms = new Map<string, number>();
    for (const { limit_key: key, workflow, owned } of keys) {
      const limit = limitOf(claim, code, workflow);
      if (isExcepted(claim, code, workflow) || owned >= limit) continue;
      limits.set(key, limit);
      rooms.set(key, Math.min(limit - owned, claim.limit));
    }
    if (rooms.size > 0) groups.set(code, rooms);
  }
  if (limits.size === 0) return [];
  if (limits.size > claim.limit) yield* narrow(claim, groups, limits, dialect);
  return yield* underLimits(claim, groups, limits, dialect);
}

/** Leaves only the keys that have the first in turn: every key that is locked takes room in the server's memory. */
function* narrow(
  claim: Claim,
  groups: ReadonlyMap<string, Map<string, number>>,
  limits: Map<string, number>,
  dialect: Dialect,
): Script<void> {
  const kept = new Set<string>();
  for (const [code, rooms] of groups) {
    const firsts = yield* firstsOf({ of: ofKey, code, others: [], rooms }, claim.limit, dialect);
    const first = new Set(firsts.slice(0, claim.limit).map(({ group_key: key }) => key));
    for (const key of rooms.keys()) if (!first.has(key)) rooms.delete(key);
    for (const key of first) kept.add(key);
  }
  for (const key of limits.keys()) if (!kept.has(key)) limits.delete(key);
}

const ofKey = 'limit_key = g.value';

function* underLimits(
  claim: Claim,
  groups: ReadonlyMap<string, ReadonlyMap<string, number>>,
  limits: ReadonlyMap<string, number>,
  dialect: Dialect,
): Script<readonly Candidate[]> {
  const left = yield* lockedRooms(limits, dialect);
  const found: Candidate[] = [];
  for (const [code, rooms] of groups) {
    const firsts = yield* firstsOf({ of: ofKey, code, others: [], rooms }, claim.limit, dialect);
    // what one version takes counts for the others
    const admitted = firsts.filter(({ group_key: key }) => admits(left, key));
    found.push(...(yield* locked(admitted, code, admitted.length, dialect)));
  }
  return found;
}

function nextKey(than: string): string {
  return `select (select e.limit_key from executions e where e.status = 'pending' and e.limit_key is not null and e.code = $1 and e.limit_key > ${than}
    order by e.limit_key, e.priority desc, e.created_at limit 1)`;
}

/** The keys of limits that have something pending, found by jumps in the index from key to key. */
function* keysAfter(
  after: string,
  code: string,
): Script<readonly { readonly limit_key: string; readonly workflow: string; readonly owned: number }[]> {
  return yield* all(
    `with recursive k(limit_key) as (${nextKey('$2')} union all select (${nextKey('k.limit_key')}) from k where k.limit_key is not null)
     select limit_key, (select e.workflow from executions e where e.status = 'pending' and e.limit_key is not null and e.code = $1
       and e.limit_key = k.limit_key order by e.priority desc, e.created_at limit 1) as workflow,
       (select count(*) from executions e where e.limit_key = k.limit_key and e.owner is not null) as owned
     from k where limit_key is not null limit ${groupsAtOnce}`,
    code,
    after,
  );
}

/** A definition that has no limit any more admits any number. */
export function limitOf(claim: Claim, code: string, workflow: string): number {
  return claim.limits.get(`${code} ${workflow}`) ?? Number.MAX_SAFE_INTEGER;
}

/** Takes one of the room that a limit has left, if there is any. */
export function admits(rooms: Map<string, number>, key: string): boolean {
  const room = rooms.get(key) ?? 0;
  rooms.set(key, room - 1);
  return room > 0;
}

/**
 * How many more may run under each limit: counted from what is owned, so nothing leaks. Until the end of the transaction
 * nobody else takes anything under them: else two who count at the same moment both find room for one.
 */
export function* lockedRooms(limits: ReadonlyMap<string, number>, dialect: Dialect): Script<Map<string, number>> {
  const keys = JSON.stringify([...limits.keys()]);
  if (dialect.lockNames !== null) yield* all(dialect.lockNames, keys);
  // what was committed while a lock was waited for is seen by a new statement only
  const rows = yield* all<{ limit_key: string; owned: number }>(
    `select k.value as limit_key, (select count(*) from executions e where e.limit_key = k.value and e.owner is not null) as owned
     from (${dialect.strings('$1')}) k`,
    keys,
  );
  return new Map(rows.map(({ limit_key: key, owned }) => [key, limits.get(key)! - owned]));
}
