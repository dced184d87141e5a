import { Table } from './table.ts';

/**
 * Requests and news for the owner of an execution. Persisted words. `child_ended`: a child has ended; `forked`: a fork was made.
 * `helper_started`: a helper has begun attempts; `helper_result`: how they ended; `helper_lost`: the helper died.
 */
export type InboxMessageKind =
  | 'cancel'
  | 'pause'
  | 'resume'
  | 'signal'
  | 'child_ended'
  | 'forked'
  | 'helper_started'
  | 'helper_result'
  | 'helper_lost';

/** A message, numbered within its execution from 1. `payload` is JSON text. */
export interface InboxMessage {
  readonly executionId: string;
  readonly n: number;
  readonly at: number;
  readonly kind: InboxMessageKind;
  /** The name of a signal, or the task that waits for an ended child. */
  readonly name: string | null;
  readonly payload: string | null;
}

export const inboxMessages: Table<InboxMessage> = new Table<InboxMessage>('inbox_messages', ['execution_id', 'n'], {
  executionId: 'text',
  n: 'int',
  at: 'bigint',
  kind: 'text',
  name: 'text',
  payload: 'json',
});
