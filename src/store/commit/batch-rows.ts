import type { NewLog, NewStep, TaskKey, Transition } from '../transition.ts';
import type { Given } from '../tables/bulk.ts';
import type { NewOfferRow } from '../tables/offers.ts';
import { Columns } from '../tables/table.ts';
import type { TaskExecution } from '../tables/task-executions.ts';

// The rows that the transitions of a batch write, and columns that only a commit needs.

type OfExecution<T> = { readonly executionId: string } & T;

/** A row of a task, a step or a log belongs to its execution. */
function ofExecution<T>(executionId: string, one: T): OfExecution<T> {
  return { executionId, ...one };
}

export function taskRows(transitions: readonly Transition[]): TaskExecution[] {
  return transitions.flatMap(({ id, tasks }) => tasks.map((state) => ofExecution(id, state)));
}

export function stepRows(transitions: readonly Transition[]): OfExecution<NewStep>[] {
  return transitions.flatMap(({ id, steps }) => steps.map((step) => ofExecution(id, step)));
}

export function logRows(transitions: readonly Transition[]): OfExecution<NewLog>[] {
  return transitions.flatMap(({ id, logs }) => logs.map((log) => ofExecution(id, log)));
}

type MessageKey = OfExecution<{ readonly n: number }>;
export const messageKeys: Columns<MessageKey> = new Columns<MessageKey>({ executionId: 'text', n: 'int' });

/** Messages that were acted on. */
export function messageRows(transitions: readonly Transition[]): MessageKey[] {
  return transitions.flatMap(({ id, effects }) => (effects?.messagesDone ?? []).map((n) => ofExecution(id, { n })));
}

export type OfferKeyRow = OfExecution<TaskKey>;
export const offerKeys: Columns<OfferKeyRow> = new Columns<OfferKeyRow>({
  executionId: 'text',
  task: 'text',
  item: 'int',
});

export function offerRows(transitions: readonly Transition[]): NewOfferRow[] {
  return transitions.flatMap(({ id, epoch, effects }) =>
    (effects?.offers ?? []).map((offer) => ofExecution(id, Object.assign({ epoch }, offer))),
  );
}

export function endedOfferRows(transitions: readonly Transition[]): OfferKeyRow[] {
  return transitions.flatMap(({ id, effects }) => (effects?.offersEnded ?? []).map((key) => ofExecution(id, key)));
}

export function withdrawnOfferRows(transitions: readonly Transition[]): OfferKeyRow[] {
  return transitions.flatMap(({ id, effects }) => (effects?.offersWithdrawn ?? []).map((key) => ofExecution(id, key)));
}

/** What a transition changes in the row of its execution, beside a release. */
export interface HeadChange {
  readonly id: string;
  readonly input: string | null;
  readonly progressed: boolean;
  readonly loadAttempts: number | null;
  readonly inboxAcked: number | null;
}

export const headChanges: Columns<HeadChange> = new Columns<HeadChange>({
  id: 'text',
  input: 'json',
  progressed: 'bool',
  loadAttempts: 'int',
  inboxAcked: 'int',
});

export function headChange({ id, parsedInput, progressed, loadAttempts, inboxAcked }: Transition): HeadChange {
  return { id, input: parsedInput, progressed, loadAttempts, inboxAcked };
}

export function changesHead({ parsedInput, progressed, loadAttempts, inboxAcked }: Transition): boolean {
  return parsedInput !== null || progressed || loadAttempts !== null || inboxAcked !== null;
}

/** The values that a `HeadChange` gives columns of the execution `o`. */
export function changedColumns(given: Given): Readonly<Record<string, string>> {
  const [input, progressed] = [given('input'), given('progressed')];
  return {
    input: `coalesce(${input}, o.input)`,
    input_parsed: `case when ${input} is null then o.input_parsed else 1 end`,
    crash_count: `case when ${progressed} then 0 else o.crash_count end`,
    load_attempts: `coalesce(${given('load_attempts')}, case when ${progressed} then 0 else o.load_attempts end)`,
    inbox_acked: `coalesce(${given('inbox_acked')}, o.inbox_acked)`,
  };
}
