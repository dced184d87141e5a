import { dropHalfWritten, holdUnowned } from '../executions/commands.ts';
import { retiredBuildsText } from '../runners/renewal.ts';
import { all, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** An execution that waits for a build that no living runner has. This runner has its workflow under another definition. */
export interface RetiredExecution {
  readonly id: string;
  readonly buildId: string;
  readonly workflow: string;
  /** Its tasks that are no longer pending. */
  readonly begun: readonly string[];
}

/** Build ids that one look takes executions of. */
const buildsAtOnce = 10;

/**
 * Pending executions of the workflows behind these build ids, under build ids that no living runner has: at most `limit`.
 * The number of statements does not depend on the number of definitions, and each statement enters an index of pending
 * executions at a build id: definitions are kept for ever, and so are most executions.
 */
export function* executionsOnRetiredBuilds(
  tx: Tx,
  buildIds: readonly string[],
  limit: number,
): Script<RetiredExecution[]> {
  const wanted = yield* all<{ build_id: string; workflow: string }>(
    `${retiredBuildsText(tx.dialect, '$1')} limit ${buildsAtOnce}`,
    JSON.stringify(buildIds),
  );
  if (wanted.length === 0) return [];
  const workflowOf = new Map(wanted.map(({ build_id, workflow }) => [build_id, workflow]));
  const found: { readonly id: string; readonly build_id: string }[] = [];
  for (const limited of ['null', 'not null'] as const) {
    const order = limited === 'null' ? 'tenant' : 'limit_key';
    const each = `select id from executions where status = 'pending' and limit_key is ${limited} and build_id = g.value
      order by priority desc, ${order}, created_at limit $2`;
    found.push(
      ...(yield* all<{ id: string; build_id: string }>(
        `select g.value as build_id, cast(${tx.dialect.field('j.value', 0)} as text) as id
         from (${tx.dialect.strings('$1')}) g, ${tx.dialect.rows(tx.dialect.gathered(each, 'id'), 'j')}`,
        JSON.stringify([...workflowOf.keys()]),
        limit,
      )),
    );
  }
  const some = found.slice(0, limit);
  const begun = yield* all<{ id: string; task: string }>(
    `select execution_id as id, task from task_executions
     where ${tx.dialect.among('execution_id', '$1')} and item = -1 and status <> 'pending'`,
    JSON.stringify(some.map(({ id }) => id)),
  );
  const begunOf = Map.groupBy(begun, ({ id }) => id);
  return some.map(({ id, build_id: buildId }) => {
    return { id, buildId, workflow: workflowOf.get(buildId)!, begun: (begunOf.get(id) ?? []).map(({ task }) => task) };
  });
}

/** Executions that are still pending under a build id, locked. It skips those that another transaction holds. */
function* lockedUnder(tx: Tx, ids: readonly string[], buildId: string): Script<readonly string[]> {
  const rows = yield* all<{ id: string }>(
    `select id from executions where ${tx.dialect.among('id', '$1')} and build_id = $2 and status = 'pending'${tx.dialect.lock('skip_locked')}`,
    JSON.stringify(ids),
    buildId,
  );
  return rows.map(({ id }) => id);
}

/**
 * Moves pending executions to another definition of their workflow; returns their number. The half-written items of maps
 * are removed: under the new definition a task of that name may be a different one.
 */
export function* moveToBuild(tx: Tx, ids: readonly string[], from: string, to: string): Script<number> {
  const free = yield* lockedUnder(tx, ids, from);
  const among = tx.dialect.among('id', '$1');
  yield* run(`update executions set build_id = $2 where ${among}`, JSON.stringify(free), to);
  yield* dropHalfWritten(tx, free);
  return free.length;
}

/** Holds pending executions that the definitions of living runners cannot continue; returns their number. */
export function* holdChanged(tx: Tx, ids: readonly string[], buildId: string): Script<number> {
  const free = yield* lockedUnder(tx, ids, buildId);
  for (const id of free) yield* holdUnowned(tx, id, 'DEFINITION_CHANGED');
  return free.length;
}
