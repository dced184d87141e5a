import { all, first, run } from '../script.ts';
import type { Script, SqlValue, Tx } from '../script.ts';

/** One step of pruning: a transaction of limited size. */
export interface PruneStep {
  /** The time by which retention is judged, epoch ms. */
  readonly now: number;
  /** The retention of roots that have none of their own, ms; null keeps them for ever. */
  readonly retentionMs: number | null;
  /** The number of rows to remove at most. */
  readonly rows: number;
  /** The place where the step before ended; null begins a round. */
  readonly from: PrunePlace | null;
}

/**
 * The progress of a round. Roots before it are gone, or were held by others: the next round looks at them again. Null: no
 * root was removed.
 */
export interface PrunePlace {
  /** The time at which the retention of the next root was over: of roots with a retention of their own. */
  readonly expired: number | null;
  /** The end of the next root without one. */
  readonly ended: number | null;
  /** The number of families that the next step should look at. */
  readonly width: number;
}

/** The result of one step of pruning. */
export interface Pruned {
  /** The number of removed executions. */
  readonly executions: number;
  /** The place of the next step; null if there is nothing more to prune. */
  readonly next: PrunePlace | null;
}

/** Families that the first step of a round looks at. */
const firstWidth = 32;
/** The rows that an execution has at least: itself, its creation and its end. */
const leastRows = 3;

const tables = ['events', 'logs', 'steps', 'task_executions', 'execution_tags', 'inbox_messages'] as const;

/** A root whose retention is over; its row is locked. */
interface Root {
  readonly id: string;
  /** The time by which roots of its kind are ordered. */
  readonly at: number;
  readonly kind: keyof typeof kinds;
}

/** A root with its children; their rows are locked. */
interface Family {
  readonly root: string;
  /** In any order; not all of them if `isWhole` is false. */
  readonly children: readonly string[];
  readonly isWhole: boolean;
}

/**
 * Removes ended families whose retention is over, the oldest first, as many as fit into `rows`. A family that does not fit
 * by itself is removed in several steps: no query finds it from the first one on, and its root's own row goes last. Families
 * are locked: runners that prune at the same moment take others, and a family with a retry under way is skipped.
 */
export function* prune(tx: Tx, step: PruneStep): Script<Pruned> {
  const { rows } = step;
  const place = step.from ?? { expired: null, ended: null, width: firstWidth };
  const { roots, last } = yield* lockFamilies(tx, place, step);
  if (roots.length === 0) return { executions: 0, next: null };
  const families = yield* familiesOf(tx, roots, rows);
  const sizes = yield* sizesOf(tx, families, rows);
  const fitting: string[] = [];
  let [fit, size] = [0, 0];
  for (const { root, children, isWhole } of families) {
    const ids = [...children, root];
    const more = ids.reduce((sum, id) => sum + sizes.get(id)!, 0);
    if (!isWhole || size + more > rows) break;
    fitting.push(...ids);
    size += more;
    fit++;
  }
  const left = roots.slice(fit);
  const at = (of: Root['kind']): number | null => left.find(({ kind }) => kind === of)?.at ?? last[of];
  const next = { expired: at('expired'), ended: at('ended') };
  if (fit === 0) {
    const executions = yield* prunePart(tx, families[0]!, sizes, rows);
    return { executions, next: { ...next, width: 1 } };
  }
  yield* remove(tx, fitting);
  const width = Math.min(Math.ceil((fit * rows) / size), Math.ceil(rows / leastRows));
  return { executions: fitting.length, next: { ...next, width } };
}

/** Removes a part of a family, about `rows` rows of it. Returns the number of removed executions. */
function* prunePart(
  tx: Tx,
  { root, children, isWhole }: Family,
  sizes: ReadonlyMap<string, number>,
  rows: number,
): Script<number> {
  // from now on no query finds them, and their idempotency keys are free: the remaining rows are no execution
  yield* run(
    `update executions set pruned = 1, idempotency_key = null
     where (id = $1 or (root_id = $1 and parent_id is not null)) and pruned = 0`,
    root,
  );
  const fitting: string[] = [];
  let size = 0;
  const ids = isWhole ? [...children, root] : children;
  for (const id of ids) {
    size += sizes.get(id)!;
    if (size > rows) break;
    fitting.push(id);
  }
  if (fitting.length === 0) return yield* removeRows(ids[0]!, rows);
  yield* remove(tx, fitting);
  return fitting.length;
}

/** Removes executions with all their rows. */
function* remove({ dialect }: Tx, ids: readonly string[]): Script<void> {
  const list = JSON.stringify(ids);
  for (const table of tables) yield* run(`delete from ${table} where ${dialect.among('execution_id', '$1')}`, list);
  yield* run(`delete from executions where ${dialect.among('id', '$1')}`, list);
}

const keys: Readonly<Record<(typeof tables)[number], string>> = {
  events: 'execution_id, seq',
  logs: 'execution_id, task, item, attempt, n',
  steps: 'execution_id, task, item, name',
  task_executions: 'execution_id, task, item',
  execution_tags: 'tenant, name, value, created_at, execution_id',
  inbox_messages: 'execution_id, n',
};

/** Removes rows of one execution that has too many for one step; its own row last. */
function* removeRows(id: string, rows: number): Script<number> {
  let left = rows;
  for (const table of tables) {
    const key = keys[table];
    const part = `select ${key} from ${table} where execution_id = $1 limit $2`;
    left -= yield* run(`delete from ${table} where (${key}) in (${part})`, id, left);
    if (left <= 0) return 0;
  }
  yield* run('delete from executions where id = $1', id);
  return 1;
}

/** The two kinds of roots: with a retention of their own, by the time at which it is over; without one, by their end. */
const kinds = {
  expired: { at: 'r.ended_at + r.retention', isOne: 'r.retention is not null' },
  ended: { at: 'r.ended_at', isOne: 'r.retention is null' },
} as const;

interface Locked {
  readonly roots: readonly Root[];
  /** The time of the last root that was looked at, of each kind. */
  readonly last: Readonly<Record<Root['kind'], number | null>>;
}

/** Locks roots whose retention is over, with their children; skips families that another transaction works on. */
function* lockFamilies(tx: Tx, place: PrunePlace, { now, retentionMs }: PruneStep): Script<Locked> {
  const until = { expired: now, ended: retentionMs === null ? null : now - retentionMs };
  const last = { expired: place.expired, ended: place.ended };
  for (const busy: string[] = []; ;) {
    const roots: Root[] = [];
    for (const kind of ['expired', 'ended'] as const) {
      const range = { from: last[kind], to: until[kind], busy, width: place.width - roots.length };
      const found = yield* rootsOf(tx, kind, range);
      roots.push(...found);
      last[kind] = found.at(-1)?.at ?? last[kind];
    }
    if (roots.length === 0) return { roots, last };
    const free = yield* lockChildren(
      tx,
      roots.map(({ id }) => id),
    );
    if (free.size > 0) return { roots: roots.filter(({ id }) => free.has(id)), last };
    busy.push(...roots.map(({ id }) => id));
  }
}

const noLiving = `not exists (select 1 from executions c where c.root_id = r.id and c.parent_id is not null and c.ended_at is null)`;

/** Ended roots of one kind in the order of its time, locked. */
function* rootsOf(
  tx: Tx,
  kind: Root['kind'],
  range: {
    readonly from: number | null;
    readonly to: number | null;
    readonly busy: readonly string[];
    readonly width: number;
  },
): Script<readonly Root[]> {
  const { from, to, busy, width } = range;
  if (to === null || width <= 0) return [];
  const { at, isOne } = kinds[kind];
  const params: SqlValue[] = [to, JSON.stringify(busy), width];
  // a round does not walk again over the entries of removed rows at the beginning of the index
  const onwards = from === null ? '' : `and ${at} >= $${params.push(from)}`;
  const found = yield* all<Omit<Root, 'kind'>>(
    `select r.id, ${at} as at from executions r where r.ended_at is not null and r.parent_id is null and ${isOne}
     and ${at} <= $1 ${onwards} and not ${tx.dialect.among('r.id', '$2')} and ${noLiving}
     order by ${at} limit $3${tx.dialect.lock('skip_locked')}`,
    ...params,
  );
  return found.map(({ id, at: time }) => ({ id, at: time, kind }));
}

function countedByRoot(rows: string): string {
  return `select root_id as root, count(*) as count from ${rows} group by root_id`;
}

/**
 * Locks the children of locked roots; returns the roots that have no living one and none that another transaction, which may
 * revive it, holds. It does not wait: a cancel of a child locks the child before its parent.
 */
function* lockChildren({ dialect }: Tx, roots: readonly string[]): Script<ReadonlySet<string>> {
  const list = JSON.stringify(roots);
  const children = `from executions where ${dialect.among('root_id', '$1')} and parent_id is not null and pruned = 0`;
  type Counts = { readonly root: string; readonly count: number };
  const any = yield* first(`select 1 ${children} limit 1`, list);
  if (any === undefined) return new Set(roots);
  const ended = `(select id, root_id ${children} and ended_at is not null${dialect.lock('skip_locked')}) locked`;
  const locked = new Map((yield* all<Counts>(countedByRoot(ended), list)).map(({ root, count }) => [root, count]));
  // a new statement sees children that began to live before they were locked
  const whole = yield* all<Counts>(countedByRoot(`(select id, root_id ${children}) children`), list);
  const busy = new Set(whole.flatMap(({ root, count }) => (locked.get(root) === count ? [] : [root])));
  return new Set(roots.filter((root) => !busy.has(root)));
}

/** The children that roots have, up to `rows` of them; if those are not all, only the first family. */
function* familiesOf({ dialect }: Tx, of: readonly Root[], rows: number): Script<readonly Family[]> {
  const roots = of.map(({ id }) => id);
  const found = yield* all<{ id: string; root: string }>(
    `select id, root_id as root from executions where ${dialect.among('root_id', '$1')} and parent_id is not null limit $2`,
    JSON.stringify(roots),
    rows + 1,
  );
  if (found.length <= rows) {
    const children = Map.groupBy(found, ({ root }) => root);
    return roots.map((root) => ({ root, children: (children.get(root) ?? []).map(({ id }) => id), isWhole: true }));
  }
  const root = roots[0]!;
  const own = yield* all<{ id: string }>(
    'select id from executions where root_id = $1 and parent_id is not null limit $2',
    root,
    rows + 1,
  );
  return [{ root, children: own.slice(0, rows).map(({ id }) => id), isWhole: own.length <= rows }];
}

/** The number of rows of each execution, its own included; counted up to a little more than `rows` in each table. */
function* sizesOf({ dialect }: Tx, families: readonly Family[], rows: number): Script<ReadonlyMap<string, number>> {
  const counts = tables.map(
    (table) => `(select count(*) from (select 1 from ${table} where execution_id = e.id limit $2) q)`,
  );
  const ids = families.flatMap(({ root, children }) => [...children, root]);
  const found = yield* all<{ id: string; size: number }>(
    `select e.id, 1 + ${counts.join(' + ')} as size from executions e where ${dialect.among('e.id', '$1')}`,
    JSON.stringify(ids),
    rows + 1,
  );
  return new Map(found.map(({ id, size }) => [id, size]));
}
