import { all } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** A pending execution, with the values that decide its turn. */
export interface Waiting {
  readonly id: string;
  readonly tenant: string;
  readonly priority: number;
  readonly created_at: number;
}

/** An execution that a claim takes. */
export interface Candidate extends Waiting {
  readonly reason: string | null;
  readonly crash_count: number;
}

/** Tenants, and limit keys, that one claim looks at. */
export const groupsAtOnce = 1000;
/**
 * Factor between the rows that are read from many groups and those that are taken: other runners may take the first of
 * them.
 */
const spare = 4;

export const columns = 'id, tenant, reason, crash_count, priority, created_at';
// ids of one process are in order where times are equal
export const order = 'order by priority desc, created_at, id';

/** The highest priority first; within one priority tenants take turns, each with its oldest. */
export function inFairOrder<One extends Waiting>(found: readonly One[]): readonly One[] {
  const oldest = found.toSorted((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1));
  const turns = new Map<string, number>();
  const placed = oldest.map((one) => {
    const key = `${one.priority} ${one.tenant}`;
    const turn = turns.get(key) ?? 0;
    turns.set(key, turn + 1);
    return { one, turn };
  });
  placed.sort((a, b) => b.one.priority - a.one.priority || a.turn - b.turn);
  return placed.map(({ one }) => one);
}

/** Many groups of pending executions: those of a tenant, or under a key. */
export interface Groups {
  /**
   * The condition for an execution of group `g.value`; `$1` is the build id, `$4` the value in `others`, if there is one.
   */
  readonly of: string;
  readonly buildId: string;
  readonly others: readonly string[];
  /** The most that may be taken of each group. */
  readonly rooms: ReadonlyMap<string, number>;
}

/** An execution among the first of its group. */
export interface First extends Waiting {
  readonly group_key: string;
}

/**
 * The first in turn out of many groups, a few times as many as are wanted; none is locked. The first look reads a few of
 * each group; the second reads all that may be taken of those groups whose few are all among the first.
 */
export function* firstsOfGroups(tx: Tx, groups: Groups, limit: number): Script<readonly First[]> {
  const keys = [...groups.rooms.keys()];
  const few = Math.min(limit, Math.ceil((spare * limit) / keys.length) + 1);
  const found = yield* firstOfEach(tx, groups, keys, few);
  const firsts = inFairOrder(found).slice(0, spare * limit);
  const taken = Map.groupBy(firsts, ({ group_key: key }) => key);
  const more = keys.filter((key) => taken.get(key)?.length === few && few < Math.min(groups.rooms.get(key)!, limit));
  if (more.length === 0) return firsts;
  const others = found.filter(({ group_key: key }) => !more.includes(key));
  return inFairOrder([...others, ...(yield* firstOfEach(tx, groups, more, limit))]).slice(0, spare * limit);
}

function* firstOfEach(
  tx: Tx,
  { of, buildId, others, rooms }: Groups,
  keys: readonly string[],
  count: number,
): Script<readonly First[]> {
  const each = `select id, tenant, priority, created_at from executions where status = 'pending' and build_id = $1 and ${of} ${order} limit $3`;
  const member = (place: number, type: string): string => `cast(${tx.dialect.field('j.value', place)} as ${type})`;
  const found = yield* all<First>(
    `select g.value as group_key, ${member(0, 'text')} as id, ${member(1, 'text')} as tenant, ${member(2, 'integer')} as priority,
     ${member(3, 'bigint')} as created_at
     from (${tx.dialect.strings('$2')}) g, ${tx.dialect.rows(tx.dialect.gathered(each, 'id, tenant, priority, created_at'), 'j')}`,
    buildId,
    JSON.stringify(keys),
    count,
    ...others,
  );
  return Array.from(
    Map.groupBy(found, ({ group_key: key }) => key),
    ([key, list]) =>
      list
        .toSorted((a, b) => b.priority - a.priority || a.created_at - b.created_at || (a.id < b.id ? -1 : 1))
        .slice(0, rooms.get(key)),
  ).flat();
}

/** The first `limit` of these that no other transaction holds, locked. */
export function* locked(
  tx: Tx,
  firsts: readonly { readonly id: string }[],
  code: string,
  limit: number,
): Script<readonly Candidate[]> {
  const found: Candidate[] = [];
  for (let from = 0; from < firsts.length && found.length < limit;) {
    const some = firsts.slice(from, from + limit - found.length);
    from += some.length;
    found.push(
      ...(yield* all<Candidate>(
        `select ${columns} from executions where ${tx.dialect.among('id', '$1')} and build_id = $2 and status = 'pending'${tx.dialect.lock('skip_locked')}`,
        JSON.stringify(some.map(({ id }) => id)),
        code,
      )),
    );
  }
  return found;
}
