import type { InboxMessage } from '../executions/inbox.ts';
import { Table } from './table.ts';

export const inboxMessages: Table<InboxMessage> = new Table<InboxMessage>('inbox_messages', ['execution_id', 'n'], {
  executionId: 'text',
  n: 'int',
  at: 'bigint',
  kind: 'text',
  name: 'text',
  payload: 'json',
});
