import { isEnded } from '../../../core/execution/states.ts';
import type { ExecutionRelease, NewExecution, Transition } from '../../transition.ts';
import { changesHead, headChange } from '../../commit/batch-rows.ts';
import type { HeadChange } from '../../commit/batch-rows.ts';
import type { Pinnings } from '../../commit/pinned-versions.ts';
import { createdEventRow, eventRow, events } from '../../tables/events.ts';
import type { EventRecord } from '../../tables/events.ts';
import { tagRows as tagsOf } from '../../tables/execution-tags.ts';
import { newExecutionRow, releasedExecutions } from '../../tables/executions.ts';
import type { ReleasedExecution } from '../../tables/executions.ts';
import { Columns } from '../../tables/table.ts';

// The rows of a batch, table by table, with the columns that only the statement of a commit needs.

/** What the statement must know of an execution that a batch makes, beside its row. */
interface Making {
  /** The parent that must still be owned for a child to be made. */
  readonly parentOwned: string | null;
  /** The number of the version that it is pinned to. */
  readonly pinning: number | null;
  readonly given: string | null;
}

type MadeExecution = ReleasedExecution & Making;

/** An execution that a batch makes, which it may release at once. */
export const madeExecutions: Columns<MadeExecution> = releasedExecutions.and<Making>({
  parentOwned: 'text',
  pinning: ['int', 'pin'],
  given: 'json',
});

type ReleaseFields = 'status' | 'reason' | 'wakeAt' | 'endedAt' | 'output' | 'error' | 'errorTask';

/** What changes in the row of an execution. */
interface HeadRow extends HeadChange, Partial<Pick<ExecutionRelease, ReleaseFields>> {
  /** Whether it is to be released. */
  readonly lets: boolean;
  readonly inboxSeen: number;
}

export const headColumns: Columns<HeadRow> = new Columns<HeadRow>({
  id: 'text',
  lets: 'bool',
  status: 'text',
  reason: 'text',
  wakeAt: 'bigint',
  endedAt: 'bigint',
  output: 'json',
  error: 'json',
  errorTask: 'text',
  inboxSeen: 'int',
  input: 'json',
  progressed: 'bool',
  loadAttempts: 'int',
  inboxAcked: 'int',
});

/** An event, and whether it is written only with the release of its execution. */
type BatchEvent = EventRecord & { readonly lets: boolean };

export const batchEvents: Columns<BatchEvent> = events.and<{ readonly lets: boolean }>({ lets: 'bool' });

/** Executions that a batch makes: those of its transitions, and the children of others. */
export function madeRows(runner: string, transitions: readonly Transition[], pinnings: Pinnings): MadeExecution[] {
  const row = (
    create: NewExecution,
    owner: string | null,
    release: ExecutionRelease | null,
    parentOwned: string | null,
  ): MadeExecution => {
    const making = { parentOwned, pinning: pinnings.numberOf(create), given: create.given };
    return { ...newExecutionRow(create, owner), ...releasedAtOnce(release), ...making };
  };
  return transitions.flatMap(({ id, create, release, effects }) => {
    const children = (effects?.children ?? []).map((child) => row(child, null, null, create === null ? id : null));
    if (create === null) return children;
    return [row(create, create.owned ? runner : null, release, null), ...children];
  });
}

/** An execution that is made and released with one commit is written as it is then. */
function releasedAtOnce(
  release: ExecutionRelease | null,
): Pick<MadeExecution, 'reason' | 'endedAt' | 'output' | 'error' | 'errorTask'> & Partial<MadeExecution> {
  if (release === null) return { reason: null, endedAt: null, output: null, error: null, errorTask: null };
  const { status, reason, wakeAt, endedAt, output, error, errorTask } = release;
  return { status, owner: null, wakeAt, reason, endedAt: isEnded(status) ? endedAt : null, output, error, errorTask };
}

export function tagRows(transitions: readonly Transition[]): ReturnType<typeof tagsOf> {
  return transitions.flatMap(({ create, effects }) => [
    ...(create === null ? [] : tagsOf(create)),
    ...(effects?.children ?? []).flatMap(tagsOf),
  ]);
}

export function headRows(transitions: readonly Transition[]): HeadRow[] {
  return transitions.flatMap((one) => {
    const { create, release } = one;
    if (create !== null || (release === null && !changesHead(one))) return [];
    return [{ ...release, ...headChange(one), lets: release !== null, inboxSeen: release?.inboxSeen ?? 0 }];
  });
}

export function eventRows(runner: string, transitions: readonly Transition[]): BatchEvent[] {
  return transitions.flatMap(({ id, create, events: list, release, effects }) => {
    const by = create !== null && !create.owned ? null : runner;
    return [
      ...list.map((event) => letting(eventRow(id, event, by), false)),
      ...(release?.events ?? []).map((event) => letting(eventRow(id, event, by), create === null)),
      ...(effects?.children ?? []).map((child) => letting(createdEventRow(child), false)),
    ];
  });
}

function letting(event: EventRecord, lets: boolean): BatchEvent {
  return { ...event, lets };
}
