import type { Dialect } from '../script.ts';
import type { BulkTexts, Given } from '../tables/bulk.ts';
import { events } from '../tables/events.ts';
import { executionTags } from '../tables/execution-tags.ts';
import { newExecutions } from '../tables/executions.ts';
import { inboxMessages } from '../tables/inbox-messages.ts';
import { logs } from '../tables/logs.ts';
import { offerOverwrite, offers } from '../tables/offers.ts';
import { steps } from '../tables/steps.ts';
import { Columns } from '../tables/table.ts';
import { taskExecutions, taskOverwrite } from '../tables/task-executions.ts';
import type { ExecutionRelease } from '../transition.ts';
import { changedColumns, headChanges, messageKeys, offerKeys } from './batch-rows.ts';
import type { HeadChange } from './batch-rows.ts';
import type { ToldParent } from './release.ts';

type Released = Pick<ExecutionRelease, 'status' | 'reason' | 'wakeAt' | 'endedAt' | 'output' | 'error' | 'errorTask'>;

/** A release, with what else changes in the row. */
export const releases: Columns<HeadChange & Released> = headChanges.and<Released>({
  status: 'text',
  reason: 'text',
  wakeAt: 'bigint',
  endedAt: 'bigint',
  output: 'json',
  error: 'json',
  errorTask: 'text',
});

export const toldParents: Columns<ToldParent> = new Columns<ToldParent>({ id: 'text', inboxSeq: 'int', woken: 'bool' });

interface ExecutionKey {
  readonly executionId: string;
}

export const executionKeys: Columns<ExecutionKey> = new Columns<ExecutionKey>({ executionId: 'text' });

/** The statements of a commit for many rows, by what they write. */
export interface CommitTexts {
  readonly executions: string;
  /** Leaves out the executions whose idempotency key is taken. */
  readonly executionsWithKeys: string;
  readonly tags: string;
  readonly tasks: string;
  readonly steps: string;
  readonly logs: string;
  readonly events: string;
  readonly messages: string;
  readonly messagesDone: string;
  /** The messages of executions that have ended, all but signals. */
  readonly messagesOfEnded: string;
  readonly offers: string;
  readonly offersEnded: string;
  /** Returns the offers that no helper has. */
  readonly offersWithdrawn: string;
  readonly headChanges: string;
  readonly releases: string;
  readonly toldParents: string;
}

export const unlessKeyIsTaken =
  'on conflict (tenant, workflow, idempotency_key) where idempotency_key is not null do nothing';

const known = new Map<BulkTexts, CommitTexts>();

/** Composed once: the same string is found faster among the prepared statements. */
export function commitTexts({ bulk }: Dialect): CommitTexts {
  let texts = known.get(bulk);
  if (texts === undefined) {
    texts = composed(bulk);
    known.set(bulk, texts);
  }
  return texts;
}

function composed({ insert, remove, update }: BulkTexts): CommitTexts {
  return {
    executions: insert(newExecutions),
    executionsWithKeys: insert(newExecutions, unlessKeyIsTaken),
    tags: insert(executionTags),
    tasks: insert(taskExecutions, taskOverwrite),
    steps: insert(steps),
    logs: insert(logs),
    events: insert(events),
    messages: insert(inboxMessages),
    messagesDone: remove(inboxMessages, messageKeys),
    messagesOfEnded: remove(inboxMessages, executionKeys, { and: `kind <> 'signal'` }),
    offers: insert(offers, offerOverwrite),
    offersEnded: remove(offers, offerKeys),
    offersWithdrawn: remove(offers, offerKeys, { and: 'helper is null', returning: true }),
    headChanges: update(headChanges, changedColumns),
    releases: update(releases, releasedColumns),
    toldParents: update(toldParents, toldColumns),
  };
}

function releasedColumns(given: Given): Readonly<Record<string, string>> {
  const names = ['status', 'reason', 'wake_at', 'ended_at', 'output', 'error', 'error_task'];
  const released = Object.fromEntries(names.map((name) => [name, given(name)]));
  return { ...changedColumns(given), ...released, owner: 'null' };
}

function toldColumns(given: Given): Readonly<Record<string, string>> {
  const woken = given('woken');
  return {
    inbox_seq: given('inbox_seq'),
    status: `case when ${woken} then 'pending' else o.status end`,
    reason: `case when ${woken} then 'woken' else o.reason end`,
    wake_at: `case when ${woken} then null else o.wake_at end`,
  };
}
