import type { ClaimTx } from './claim.ts';
import { all } from '../script.ts';
import type { Script, Tx } from '../script.ts';
import { inFairOrder } from './turns.ts';
import type { Waiting } from './turns.ts';
import { groupColumn, pendingOf } from './windows.ts';
import type { Group, Kind } from './windows.ts';

/** An execution that a claim takes. */
export interface Candidate extends Waiting {
  readonly reason: string | null;
  readonly crash_count: number;
}

/**
 * Factor between the rows that are read from many groups and those that are taken: other runners may take the first of
 * them.
 */
const spare = 4;

export const columns = 'id, tenant, reason, crash_count, priority, created_at';
// ids of one process are in order where times are equal
export const order = 'order by priority desc, created_at, id';

/** A pending execution of a group. */
export interface First extends Waiting {
  readonly group: Group;
}

/** Groups of one look, and the executions of each that may be taken. */
export interface Groups {
  readonly kind: Kind;
  readonly rooms: ReadonlyMap<Group, number>;
  /** Workflows that are left out, as `build id, workflow`. */
  readonly except: readonly string[];
}

/**
 * The first in turn out of groups of one priority, a few times as many as are wanted; none is locked. The first look reads
 * a few of each group; the second reads all that may be taken of those groups whose few are all among the first.
 */
export function* firstsOf(tx: ClaimTx, groups: Groups, limit: number): Script<readonly First[]> {
  const { turns } = tx.cursor;
  const open = [...groups.rooms.keys()];
  if (open.length === 0) return [];
  const few = Math.min(limit, Math.ceil((spare * limit) / open.length) + 1);
  const found = yield* firstOfEach(tx, groups, open, few);
  const firsts = inFairOrder(found, turns).slice(0, spare * limit);
  const taken = Map.groupBy(firsts, ({ group }) => group);
  const more = open.filter(
    (group) => taken.get(group)?.length === few && few < Math.min(groups.rooms.get(group)!, limit),
  );
  if (more.length === 0) return firsts;
  const others = found.filter(({ group }) => !more.includes(group));
  return inFairOrder([...others, ...(yield* firstOfEach(tx, groups, more, limit))], turns).slice(0, spare * limit);
}

function* firstOfEach(
  tx: Tx,
  { kind, rooms, except }: Groups,
  groups: readonly Group[],
  count: number,
): Script<readonly First[]> {
  const { dialect } = tx;
  const unless = except.length === 0 ? '' : ` and not (${dialect.among(`e.build_id || ' ' || e.workflow`, '$3')})`;
  const each = `select e.id, e.tenant, e.created_at from executions e where ${pendingOf[kind]} and e.build_id = g.c1
    and e.priority = cast(g.c2 as integer) and ${groupColumn[kind]} = g.c3${unless} order by e.created_at, e.id limit $2`;
  const member = (place: number, type: string): string => `cast(${dialect.field('j.value', place)} as ${type})`;
  const found = yield* all<{ n: number; id: string; tenant: string; created_at: number }>(
    `select cast(g.c0 as integer) as n, ${member(0, 'text')} as id, ${member(1, 'text')} as tenant, ${member(2, 'bigint')} as created_at
     from (${dialect.fields('$1', 4)}) g, ${dialect.rows(dialect.gathered(each, 'id, tenant, created_at'), 'j')}`,
    JSON.stringify(groups.map(({ buildId, priority, value }, n) => [n, buildId, priority, value])),
    count,
    ...(except.length === 0 ? [] : [JSON.stringify(except)]),
  );
  return Array.from(
    Map.groupBy(found, ({ n }) => groups[n]!),
    ([group, list]) =>
      list
        .map(({ id, tenant, created_at }) => ({ id, tenant, created_at, priority: group.priority, group }))
        .toSorted((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1))
        .slice(0, rooms.get(group)),
  ).flat();
}

/**
 * The first executions of a few groups that no other transaction holds, locked: one statement for each group skips the held
 * ones, however many they are.
 */
export function* lockedOfEach(tx: Tx, { kind, rooms, except }: Groups, limit: number): Script<readonly Candidate[]> {
  const { dialect } = tx;
  const unless = except.length === 0 ? '' : ` and not (${dialect.among(`e.build_id || ' ' || e.workflow`, '$5')})`;
  const text = `select ${columns} from executions e where ${pendingOf[kind]} and e.build_id = $1 and e.priority = $2
    and ${groupColumn[kind]} = $3${unless} order by e.created_at, e.id limit $4${dialect.lock('skip_locked')}`;
  const found: Candidate[] = [];
  for (const { buildId, priority, value } of rooms.keys()) {
    const params = except.length === 0 ? [] : [JSON.stringify(except)];
    found.push(...(yield* all<Candidate>(text, buildId, priority, value, limit, ...params)));
  }
  return found;
}

/** The first `limit` of these that no other transaction holds, locked; `builds`: the build id of each. */
export function* locked(
  tx: Tx,
  firsts: readonly { readonly id: string; readonly group: Pick<Group, 'buildId'> }[],
  limit: number,
): Script<readonly Candidate[]> {
  const found: Candidate[] = [];
  for (let from = 0; from < firsts.length && found.length < limit;) {
    const some = new Map(firsts.slice(from, from + limit - found.length).map((one) => [one.id, one.group.buildId]));
    from += some.size;
    const rows = yield* all<Candidate & { build_id: string }>(
      `select ${columns}, build_id from executions where ${tx.dialect.among('id', '$1')} and status = 'pending'${tx.dialect.lock('skip_locked')}`,
      JSON.stringify([...some.keys()]),
    );
    // one that was moved to another build meanwhile is not for this claim
    found.push(...rows.filter(({ id, build_id }) => some.get(id) === build_id));
  }
  return found;
}
