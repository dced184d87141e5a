import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** The result of one step of pruning. */
export interface Pruned {
  /** The number of removed executions. */
  readonly executions: number;
  /** True if there is more to prune. */
  readonly more: boolean;
}

const tables = ['events', 'logs', 'steps', 'task_executions', 'execution_tags', 'inbox_messages'] as const;

/**
 * Removes one root execution whose retention is over, with its children, up to `rows` rows: the next step removes the rest,
 * the execution's own row last. `before`: the end of roots that have no retention of their own. The family is locked:
 * runners that prune at the same moment take one each, and a family with a retry under way is skipped.
 */
export function* prune(tx: Tx, before: number | null, rows: number): Script<Pruned> {
  const root = yield* lockFamily(tx, before);
  if (root === undefined) return { executions: 0, more: false };
  const family = yield* all<{ id: string }>(
    'select id from executions where root_id = $1 and parent_id is not null limit $2',
    root,
    rows,
  );
  // from the first step on no query finds them, and their idempotency keys are free: the remaining rows are no execution
  yield* run(
    `update executions set pruned = 1, idempotency_key = null
     where (id = $1 or (root_id = $1 and parent_id is not null)) and pruned = 0`,
    root,
  );
  let left = rows;
  let gone = 0;
  for (const id of [...family.map((child) => child.id), root]) {
    for (const table of tables) {
      left -= yield* clear(table, id, left);
      if (left <= 0) return { executions: gone, more: true };
    }
    yield* run('delete from executions where id = $1', id);
    gone++;
    left--;
  }
  return { executions: gone, more: true };
}

/**
 * Finds a root whose retention is over, and locks it with its children; skips families that another transaction works on.
 */
function* lockFamily(tx: Tx, before: number | null): Script<string | undefined> {
  for (const busy: string[] = []; ;) {
    const next = (yield* expired(tx, busy)) ?? (yield* endedBefore(tx, before, busy));
    if (next === undefined || (yield* lockChildren(tx, next))) return next;
    busy.push(next);
  }
}

/**
 * Locks the children of a locked root; returns false if one of them lives, or if another transaction that may revive it
 * holds it. It does not wait: a cancel of a child locks the child before its parent.
 */
function* lockChildren(tx: Tx, root: string): Script<boolean> {
  const text = 'select id from executions where root_id = $1 and parent_id is not null and pruned = 0';
  const ended = `${text} and ended_at is not null${tx.dialect.lock('skip_locked')}`;
  const locked = yield* first<{ count: number }>(`select count(*) as count from (${ended}) locked`, root);
  // a new statement sees children that began to live before they were locked
  const whole = yield* first<{ count: number }>(`select count(*) as count from (${text}) children`, root);
  return locked!.count === whole!.count;
}

const noLiving = `not exists (select 1 from executions c where c.root_id = r.id and c.parent_id is not null and c.ended_at is null)`;

function* expired(tx: Tx, busy: readonly string[]): Script<string | undefined> {
  const row = yield* first<{ id: string }>(
    `select r.id from executions r where r.ended_at is not null and r.parent_id is null and r.retention is not null
     and r.ended_at + r.retention <= $1 and not ${tx.dialect.among('r.id', '$2')} and ${noLiving}
     order by r.ended_at + r.retention limit 1${tx.dialect.lock('skip_locked')}`,
    tx.now,
    JSON.stringify(busy),
  );
  return row?.id;
}

function* endedBefore(tx: Tx, before: number | null, busy: readonly string[]): Script<string | undefined> {
  if (before === null) return undefined;
  const row = yield* first<{ id: string }>(
    `select r.id from executions r where r.ended_at is not null and r.parent_id is null and r.retention is null
     and r.ended_at <= $1 and not ${tx.dialect.among('r.id', '$2')} and ${noLiving}
     order by r.ended_at limit 1${tx.dialect.lock('skip_locked')}`,
    before,
    JSON.stringify(busy),
  );
  return row?.id;
}

const keys: Readonly<Record<(typeof tables)[number], string>> = {
  events: 'execution_id, seq',
  logs: 'execution_id, task, item, attempt, n',
  steps: 'execution_id, task, item, name',
  task_executions: 'execution_id, task, item',
  execution_tags: 'tenant, name, value, created_at, execution_id',
  inbox_messages: 'execution_id, n',
};

function* clear(table: (typeof tables)[number], id: string, limit: number): Script<number> {
  const key = keys[table];
  return yield* run(
    `delete from ${table} where (${key}) in (select ${key} from ${table} where execution_id = $1 limit $2)`,
    id,
    limit,
  );
}
