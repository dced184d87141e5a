import { isEnded } from '../../../core/execution.ts';
import type { ExecutionRelease, NewExecution, NewLog, NewStep, Transition } from '../../transition.ts';
import type { Pinnings } from '../../commit/pinned-versions.ts';
import { createdEventRow, eventRow, events } from '../../tables/events.ts';
import type { EventRecord } from '../../tables/events.ts';
import { tagRows as tagsOf } from '../../tables/execution-tags.ts';
import { newExecutionRow, releasedExecutions } from '../../tables/executions.ts';
import type { ReleasedExecution } from '../../tables/executions.ts';
import { Columns } from '../../tables/table.ts';
import type { TaskExecution } from '../../tables/task-executions.ts';

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
interface HeadChange extends Partial<Pick<ExecutionRelease, ReleaseFields>> {
  readonly id: string;
  /** Whether it is to be released. */
  readonly lets: boolean;
  readonly inboxSeen: number;
  readonly input: string | null;
  readonly progressed: boolean;
  readonly loadAttempts: number | null;
  readonly inboxAcked: number | null;
}

export const headChanges: Columns<HeadChange> = new Columns<HeadChange>({
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

interface MessageKey {
  readonly executionId: string;
  readonly n: number;
}

export const messageKeys: Columns<MessageKey> = new Columns<MessageKey>({ executionId: 'text', n: 'int' });

export function taskRows(transitions: readonly Transition[]): TaskExecution[] {
  return transitions.flatMap(({ id, tasks }) => tasks.map((state) => ({ executionId: id, ...state })));
}

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

export function headRows(transitions: readonly Transition[]): HeadChange[] {
  const known = transitions.filter((one) => one.create === null && changesHead(one));
  return known.map((one) => headChange(one, one.release !== null));
}

/** The same once the releases are known; executions that the same batch made may be among them. */
export function changedHeadRows(transitions: readonly Transition[], released: ReadonlySet<Transition>): HeadChange[] {
  const changed = transitions.filter((one) => changesHead(one) && (one.create === null || released.has(one)));
  return changed.map((one) => headChange(one, released.has(one)));
}

export function stepRows(transitions: readonly Transition[]): ({ readonly executionId: string } & NewStep)[] {
  return transitions.flatMap(({ id, steps }) => steps.map((step) => ({ executionId: id, ...step })));
}

export function logRows(transitions: readonly Transition[]): ({ readonly executionId: string } & NewLog)[] {
  return transitions.flatMap(({ id, logs }) => logs.map((log) => ({ executionId: id, ...log })));
}

/** Messages that were acted on. */
export function messageRows(transitions: readonly Transition[]): MessageKey[] {
  return transitions.flatMap(({ id, effects }) => (effects?.messagesDone ?? []).map((n) => ({ executionId: id, n })));
}

function changesHead({ release, parsedInput, progressed, loadAttempts, inboxAcked }: Transition): boolean {
  return release !== null || parsedInput !== null || progressed || loadAttempts !== null || inboxAcked !== null;
}

function headChange(transition: Transition, lets: boolean): HeadChange {
  const { id, release, parsedInput, progressed, loadAttempts, inboxAcked } = transition;
  const change = { id, lets, input: parsedInput, progressed, loadAttempts, inboxAcked };
  return { ...release, ...change, inboxSeen: release?.inboxSeen ?? 0 };
}

export function eventRows(runner: string, transitions: readonly Transition[]): BatchEvent[] {
  return transitions.flatMap(({ id, create, events: list, release, effects }) => {
    const by = create !== null && !create.owned ? null : runner;
    const isLast = create === null;
    return [
      ...list.map((event) => ({ ...eventRow(id, event, by), lets: false })),
      ...(release?.events ?? []).map((event) => ({ ...eventRow(id, event, by), lets: isLast })),
      ...(effects?.children ?? []).map((child) => ({ ...createdEventRow(child), lets: false })),
    ];
  });
}

/** The events with which executions are released. */
export function lastEventRows(runner: string, released: readonly Transition[]): EventRecord[] {
  return released.flatMap(({ id, release }) => release!.events.map((event) => eventRow(id, event, runner)));
}
