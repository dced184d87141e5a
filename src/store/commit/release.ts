import { isEnded } from '../../core/execution/states.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import { wakesUp } from '../executions/inbox.ts';
import type { InboxMessage } from '../executions/inbox.ts';
import type { Transition } from '../transition.ts';

/** The row of an execution, locked, as it is before the releases of a batch. */
export interface Head {
  readonly id: string;
  readonly epoch: number;
  readonly inbox_seq: number;
  readonly owner: string | null;
  readonly status: ExecutionStatus;
}

/** A parent whose inbox has grown. */
export interface ToldParent {
  readonly id: string;
  readonly inboxSeq: number;
  /** It waited without an owner and is pending now. */
  readonly woken: boolean;
}

export interface Releases {
  readonly released: readonly Transition[];
  /** Executions that stay with their owner, because their inbox has a message that it has not seen. */
  readonly kept: readonly string[];
  /** Messages to parents. */
  readonly messages: readonly InboxMessage[];
  readonly told: readonly ToldParent[];
}

/**
 * Decides which executions of a batch are released and which parents hear of an end, in the order of the transitions: a
 * parent whose release comes after the end of its child is kept, and a parent whose release came before is woken. `heads`
 * includes the parents; an execution that the batch has created has none.
 */
export function decideReleases(transitions: readonly Transition[], heads: ReadonlyMap<string, Head>): Releases {
  const changed = new Map<string, Head>();
  const headOf = (id: string): Head | undefined => changed.get(id) ?? heads.get(id);
  const released: Transition[] = [];
  const kept: string[] = [];
  const messages: InboxMessage[] = [];
  const told = new Map<string, ToldParent>();
  for (const transition of transitions) {
    const { id, release } = transition;
    if (release === null) continue;
    const head = headOf(id);
    if ((head?.inbox_seq ?? 0) !== release.inboxSeen) {
      kept.push(id);
      continue;
    }
    released.push(transition);
    if (head !== undefined) changed.set(id, { ...head, owner: null, status: release.status });
    const { parent: link, endedAt } = release;
    const parent = link === null ? undefined : headOf(link.id);
    if (link === null || endedAt === null || parent === undefined || isEnded(parent.status)) continue;
    const n = parent.inbox_seq + 1;
    const payload = JSON.stringify(id);
    messages.push({ executionId: parent.id, n, at: endedAt, kind: 'child_ended', name: link.task, payload });
    const wakes = wakesUp(parent);
    changed.set(parent.id, { ...parent, inbox_seq: n, status: wakes ? 'pending' : parent.status });
    told.set(parent.id, { id: parent.id, inboxSeq: n, woken: wakes || told.get(parent.id)?.woken === true });
  }
  return { released, kept, messages, told: [...told.values()] };
}
