import { all } from '../script.ts';
import type { Script, Tx } from '../script.ts';
import type { ClaimTx } from './claim.ts';

/*
 * Pending executions as an index has them: by build id, priority (the highest first) and group. The group is the tenant, or
 * the limit key of an execution under a limit. A claim looks at a window of groups at the highest priority, so its cost
 * depends on the number of executions that it wants, and not on the number of tenants or keys that have a backlog.
 */

/** `free`: executions without a limit, by tenant. `limited`: executions under a limit, by limit key. */
export type Kind = 'free' | 'limited';

/** The pending executions of a build at one priority. */
export interface Head {
  readonly buildId: string;
  readonly priority: number;
}

/** One tenant, or one limit key, among the pending executions of a head. */
export interface Group extends Head {
  readonly value: string;
  /** Of a limit key: the workflow of its first pending execution. */
  readonly workflow: string;
  /** Of a limit key: the executions that runners own. */
  readonly owned: number;
}

/** A condition for pending executions `e` of a kind; it is that of a partial index. */
export const pendingOf: Readonly<Record<Kind, string>> = {
  free: `e.status = 'pending' and e.limit_key is null`,
  limited: `e.status = 'pending' and e.limit_key is not null`,
};

export const groupColumn: Readonly<Record<Kind, string>> = { free: 'e.tenant', limited: 'e.limit_key' };

/** More than any priority. */
const above = 2_147_483_648;

function highest(kind: Kind, below: string): string {
  return `(select e.priority from executions e where ${pendingOf[kind]} and e.build_id = b.c0 and e.priority < cast(${below} as bigint)
    order by e.priority desc limit 1)`;
}

/** The heads of builds that have pending executions, of both kinds. */
export function* headsOf(tx: Tx, buildIds: readonly string[]): Script<Readonly<Record<Kind, readonly Head[]>>> {
  const rows = yield* all<{ build_id: string } & Record<Kind, number | null>>(
    `select b.c0 as build_id, ${highest('free', 'b.c1')} as free, ${highest('limited', 'b.c1')} as limited
     from (${tx.dialect.fields('$1', 2)}) b`,
    JSON.stringify(buildIds.map((id) => [id, above])),
  );
  const heads = (kind: Kind): Head[] =>
    rows.flatMap((row) => (row[kind] === null ? [] : [{ buildId: row.build_id, priority: row[kind] }]));
  return { free: heads('free'), limited: heads('limited') };
}

/** The next lower heads of the same builds. */
export function* headsBelow(tx: Tx, kind: Kind, heads: readonly Head[]): Script<readonly Head[]> {
  if (heads.length === 0) return [];
  const rows = yield* all<{ build_id: string; priority: number | null }>(
    `select b.c0 as build_id, ${highest(kind, 'b.c1')} as priority from (${tx.dialect.fields('$1', 2)}) b`,
    JSON.stringify(heads.map(({ buildId, priority }) => [buildId, priority])),
  );
  return rows.flatMap(({ build_id: buildId, priority }) => (priority === null ? [] : [{ buildId, priority }]));
}

/** The groups of one look. */
export interface Window {
  readonly groups: readonly Group[];
  /** The heads of which groups are left for a later look. */
  readonly more: readonly Head[];
}

/**
 * At most `size` groups of each head, from the place where the last look stopped, and around. The place is remembered, so
 * no group waits for ever.
 */
export function* windowOf(tx: ClaimTx, kind: Kind, heads: readonly Head[], size: number): Script<Window> {
  const places = tx.cursor[kind];
  const from = heads.map((head) => ({ head, after: places.get(head.buildId) ?? '' }));
  const groups = [...(yield* groupsAfter(tx, kind, from, size))];
  const found = Map.groupBy(groups, ({ buildId }) => buildId);
  const short = from.filter(({ head, after }) => after !== '' && (found.get(head.buildId)?.length ?? 0) < size);
  if (short.length > 0) {
    // the end of the groups is reached: from the first one again, up to that place
    const start = new Map(short.map(({ head, after }) => [head.buildId, after]));
    const around = yield* groupsAfter(
      tx,
      kind,
      short.map(({ head }) => ({ head, after: '' })),
      size,
    );
    groups.push(...around.filter(({ buildId, value }) => value <= start.get(buildId)!));
  }
  const more: Head[] = [];
  for (const [buildId, list] of Map.groupBy(groups, (group) => group.buildId)) {
    if (list.length < size) {
      places.delete(buildId);
    } else {
      places.set(buildId, list[size - 1]!.value);
      more.push(...heads.filter((head) => head.buildId === buildId));
    }
  }
  for (const { buildId } of heads) if (!groups.some((group) => group.buildId === buildId)) places.delete(buildId);
  return { groups, more };
}

/**
 * Groups found by jumps in the index from group to group, of all heads at once. There is no other condition: the planner
 * would read and sort all remaining rows at each jump for a condition that the index does not have.
 */
function* groupsAfter(
  tx: Tx,
  kind: Kind,
  from: readonly { readonly head: Head; readonly after: string }[],
  size: number,
): Script<readonly Group[]> {
  const column = groupColumn[kind];
  const next = (build: string, priority: string, than: string): string =>
    `(select ${column} from executions e where ${pendingOf[kind]} and e.build_id = ${build} and e.priority = ${priority}
      and ${column} > ${than} order by ${column}, e.created_at limit 1)`;
  const ofKey =
    kind === 'free'
      ? `'' as workflow, 0 as owned`
      : `(select e.workflow from executions e where ${pendingOf.limited} and e.build_id = t.build_id and e.priority = t.priority
           and e.limit_key = t.value order by e.limit_key, e.created_at limit 1) as workflow,
         (select count(*) from executions e where e.limit_key = t.value and e.owner is not null) as owned`;
  const rows = yield* all<{ build_id: string; priority: number; value: string; workflow: string; owned: number }>(
    `with recursive t(build_id, priority, value, n) as (
       select b.c0, cast(b.c1 as integer), ${next('b.c0', 'cast(b.c1 as integer)', 'b.c2')}, 1 from (${tx.dialect.fields('$1', 3)}) b
       union all select t.build_id, t.priority, ${next('t.build_id', 't.priority', 't.value')}, t.n + 1 from t
         where t.value is not null and t.n < cast($2 as integer))
     select t.build_id, t.priority, t.value, ${ofKey} from t where t.value is not null`,
    JSON.stringify(from.map(({ head: { buildId, priority }, after }) => [buildId, priority, after])),
    size,
  );
  return rows.map(({ build_id: buildId, priority, value, workflow, owned }) => {
    return { buildId, priority, value, workflow, owned };
  });
}
