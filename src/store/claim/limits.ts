import { isExcepted } from './claim.ts';
import type { Claim, ClaimTx } from './claim.ts';
import { firstsOf, locked } from './firsts.ts';
import { inFairOrder } from './turns.ts';
import type { Candidate, First } from './firsts.ts';
import { headsBelow, windowOf } from './windows.ts';
import type { Group, Head } from './windows.ts';
import { all } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** Limit keys that one look reads, of all builds together. */
const keysAtOnce = 200;
/** Looks of one claim: so many keys may be at their limits before one that has room. */
const mostLooks = 50;

/**
 * The first executions under limits that have room. A limit that is reached is not locked: no claim waits in vain. The keys
 * of a claim are locked together, in one order.
 */
export function* limited(tx: ClaimTx, claim: Claim, heads: readonly Head[]): Script<readonly Candidate[]> {
  const firsts = inFairOrder(yield* underLimits(tx, claim, heads), tx.cursor.turns).slice(0, claim.limit);
  if (firsts.length === 0) return [];
  const owned = yield* lockedCounts(tx, new Set(firsts.map(({ group }) => group.value)));
  // executions that one version takes count for the other versions
  const admitted = firsts.filter(({ group }) => admits(owned, group.value, limitOfKey(claim, group)));
  return yield* locked(tx, admitted, admitted.length);
}

/** Pending executions of keys that have room, without locks: at least as many as are wanted, if there are so many. */
function* underLimits(tx: ClaimTx, claim: Claim, heads: readonly Head[]): Script<readonly First[]> {
  const found: First[] = [];
  const except = exceptions(claim);
  let open = heads;
  for (let looks = 0; looks < mostLooks && open.length > 0 && found.length < claim.limit; looks++) {
    const top = Math.max(...open.map(({ priority }) => priority));
    const at = open.filter(({ priority }) => priority === top);
    const { groups, more } = yield* windowOf(tx, 'limited', at, Math.ceil(keysAtOnce / at.length));
    const rooms = new Map(
      groups.flatMap((group) => {
        const room = limitOfKey(claim, group) - group.owned;
        return room > 0 && !isExcepted(claim, group.buildId, group.workflow) ? [[group, room] as const] : [];
      }),
    );
    found.push(...(yield* firstsOf(tx, { kind: 'limited', rooms, except }, claim.limit - found.length)));
    const done = at.filter((head) => !more.includes(head));
    open = [...open.filter(({ priority }) => priority !== top), ...more, ...(yield* headsBelow(tx, 'limited', done))];
  }
  return found;
}

/** The workflows that a claim leaves to other runners, as `firstsOf` takes them. */
export function exceptions({ except }: Claim): string[] {
  return [...(except ?? [])].flatMap(([buildId, workflows]) => workflows.map((workflow) => `${buildId} ${workflow}`));
}

function limitOfKey(claim: Claim, { buildId, workflow }: Group): number {
  return limitOf(claim, buildId, workflow);
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
