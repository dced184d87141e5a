import type { TaskState } from '../transition.ts';
import { executionsOf, tasksOfAll } from '../executions/executions.ts';
import { inboxOfAll } from '../executions/inbox.ts';
import type { InboxMessage } from '../executions/inbox.ts';
import type { ExecutionRecord } from '../tables/executions.ts';
import type { Script, Tx } from '../script.ts';

/** An execution that a runner has just claimed, with all data that it needs to continue. */
export interface ClaimedExecution {
  readonly execution: ExecutionRecord;
  readonly tasks: readonly TaskState[];
  /** Messages that are unread, and signals that no task has waited for yet. */
  readonly inbox: readonly InboxMessage[];
  /** The number of the last event. */
  readonly seq: number;
  /**
   * The reason for which it was pending: null if it never ran, else `lost`, `released`, `woken`, `resumed` or `retried`.
   */
  readonly pendingReason: string | null;
}

/** A claimed execution, and the reason for which it was pending. */
export interface ClaimedRow {
  readonly id: string;
  readonly reason: string | null;
}

/**
 * Owned executions with their tasks, their messages and the number of their last event. The number of statements does not
 * depend on the number of executions.
 */
export function* load(tx: Tx, taken: readonly ClaimedRow[]): Script<ClaimedExecution[]> {
  if (taken.length === 0) return [];
  const ids = JSON.stringify(taken.map(({ id }) => id));
  const found = new Map((yield* executionsOf(tx, ids)).map((one) => [one.record.id, one]));
  // one that was never taken has neither, but where it was forked
  const fresh = [...found.values()].every(({ record: { epoch, forked } }) => epoch === 1 && forked === null);
  const tasks = fresh ? new Map<string, TaskState[]>() : yield* tasksOfAll(tx, ids);
  const hasMessages = [...found.values()].some(({ record }) => record.inboxSeq > 0);
  const messages = Map.groupBy(hasMessages ? yield* inboxOfAll(tx, ids) : [], ({ executionId }) => executionId);
  return taken.flatMap(({ id, reason }) => {
    const one = found.get(id);
    if (one === undefined) return [];
    const { record: execution, seq } = one;
    return [{ execution, tasks: tasks.get(id) ?? [], inbox: messages.get(id) ?? [], seq, pendingReason: reason }];
  });
}
