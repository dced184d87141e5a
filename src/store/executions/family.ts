import { all } from '../script.ts';
import type { Script, Tx } from '../script.ts';

// A cancel of an execution without an owner goes on to its children, and to theirs; the parent of each hears of its end. A
// commit locks the rows of its executions, and of the parents that hear of an end, in the order of their ids. A cancel does
// the same: it finds and locks its rows before it changes the first of them, or the two would wait in a circle.

/**
 * Executions with all rows that their cancel changes: open descendants, as far as the ones above have no owner, and
 * parents.
 */
export function* familyOf(tx: Tx, ids: readonly string[]): Script<readonly string[]> {
  const given = tx.dialect.among('id', '$1');
  // from parent to children by the index of parents, also without statistics of the table: `offset 0` keeps it a loop
  const rows = yield* all<{ id: string }>(
    `with recursive f(id, owner) as (select id, owner from executions where ${given}
       union all select e.id, e.owner from f cross join lateral
         (select id, owner from executions where parent_id = f.id and ended_at is null offset 0) e where f.owner is null)
     select id from f union select parent_id from executions where ${given} and parent_id is not null`,
    JSON.stringify(ids),
  );
  return rows.map(({ id }) => id);
}

/** Locks all rows that a cancel of these changes. There is nothing to do if a transaction that writes is alone anyway. */
export function* lockFamily(tx: Tx, ids: readonly string[]): Script<void> {
  if (tx.dialect.lock('update') === '' || ids.length === 0) return;
  yield* all(
    `select id from executions where ${tx.dialect.among('id', '$1')} order by id${tx.dialect.lock('update')}`,
    JSON.stringify(yield* familyOf(tx, ids)),
  );
}
