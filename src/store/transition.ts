import type { CloacinaError } from '../core/error.ts';
import type { EventType } from '../core/execution/event.ts';
import type { EndedStatus, TaskStatus } from '../core/execution/states.ts';

/** An execution to be made. Values are JSON text, times epoch ms. */
export interface NewExecution {
  readonly id: string;
  readonly tenant: string;
  readonly workflow: string;
  /** The package it is pinned to, as its channel was when this was put together. */
  readonly pin: Pin | null;
  /** The version that its commit pins it to; of no account without a pin. */
  readonly pinBy: PinBy;
  /** The code that can run it: a package's digest, or `embedded/<workflow>/<fingerprint>`. */
  readonly buildId: string;
  readonly priority: number;
  readonly createdAt: number;
  /** True if the runner that commits it owns it at once; otherwise any runner may take it. */
  readonly owned: boolean;
  /** In the future: it waits until then. */
  readonly startAt: number | null;
  readonly input: string;
  /** The input as it was given, where the parsed one differs: another version's schema would parse that again. */
  readonly given: string | null;
  /** Whether the schema's own code has parsed the input; else that happens before the first task. */
  readonly inputParsed: boolean;
  readonly tags: string | null;
  readonly idempotencyKey: string | null;
  /** Of the input, to tell a repeated start from another one with the same key. */
  readonly inputHash: string | null;
  /** Executions with the same one count against one limit; null where there is no limit. */
  readonly limitKey: string | null;
  readonly rootId: string;
  /** 0 for a root, one more for each level of children. */
  readonly depth: number;
  readonly parent: { readonly id: string; readonly task: string; readonly item: number } | null;
  readonly schedule: ScheduleMark | null;
  /** How long it is kept once its root has ended, ms; null: the default of the runner that prunes. */
  readonly retention: number | null;
}

/**
 * `channel`: the version that the live channel points to at the commit. `named`: the version that the caller named. Both
 * must take new executions. `origin`: the version of the execution that it comes from, also where that takes no new ones.
 */
export type PinBy = 'channel' | 'named' | 'origin';

export interface Pin {
  readonly package: string;
  readonly version: string;
  readonly digest: string;
}

/** The slot that started an execution. */
export interface ScheduleMark {
  readonly id: string;
  readonly name: string;
  readonly slot: number;
  readonly isCatchUp: boolean;
}

/** The state of one task execution; `item` is -1 for a task that is no map, and for a map itself. */
export interface TaskState {
  readonly task: string;
  readonly item: number;
  readonly status: TaskStatus;
  /** The number of the latest attempt; never repeats. 0: none began. */
  readonly attempt: number;
  /** Attempts charged against the allowance. */
  readonly chargedAttempts: number;
  /** The epoch in which the latest attempt began. */
  readonly epoch: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly wakeAt: number | null;
  readonly output: string | null;
  readonly error: string | null;
  readonly reason: string | null;
  readonly cause: string | null;
  /** The item (JSON text) of an item of a map; else null. */
  readonly value: string | null;
}

export interface NewEvent {
  readonly seq: number;
  readonly type: EventType;
  readonly at: number;
  readonly task: string | null;
  readonly item: number | null;
  readonly attempt: number | null;
  /** JSON text. */
  readonly data: string | null;
}

export interface NewStep {
  readonly task: string;
  readonly item: number;
  readonly name: string;
  readonly output: string;
}

export interface NewLog {
  readonly task: string;
  readonly item: number;
  readonly attempt: number;
  readonly n: number;
  readonly at: number;
  readonly level: string;
  readonly message: string;
  readonly data: string | null;
}

/** The owner releases an execution: it ended, or any runner may take it later. Only if the inbox has no new message. */
export interface ExecutionRelease {
  readonly status: EndedStatus | 'pending' | 'waiting' | 'paused';
  readonly reason: string | null;
  readonly wakeAt: number | null;
  readonly endedAt: number | null;
  readonly output: string | null;
  readonly error: string | null;
  readonly errorTask: string | null;
  /** True if the execution counted against a limit: another one may have waited for its place. */
  readonly freesLimit: boolean;
  /** The task of another execution that hears of the end. */
  readonly parent: { readonly id: string; readonly task: string } | null;
  /** The value of `inbox_seq` that the owner has seen. */
  readonly inboxSeen: number;
  readonly events: readonly NewEvent[];
}

/** A task, or an item of a map; `item` is -1 for a task. */
export interface TaskKey {
  readonly task: string;
  readonly item: number;
}

/** An attempt that its owner lets any runner run that serves the queue. */
export interface NewOffer extends TaskKey {
  readonly attempt: number;
  /** The build of its execution. */
  readonly buildId: string;
  readonly queue: string;
  readonly priority: number;
  /** It is charged when it is taken, and a helper runs one such at a time. */
  readonly isPoisonSuspect: boolean;
  readonly at: number;
}

/** The effects of a transition beside its own tasks. */
export interface Effects {
  /** Messages that were acted on and are removed; a signal stays until a task takes it. */
  readonly messagesDone: readonly number[];
  /** Executions that its tasks start, for any runner to take. */
  readonly children: readonly NewExecution[];
  /** Children that no task waits for any longer. */
  readonly cancelChildren: readonly string[];
  /** Maps whose items that never began are cancelled. */
  readonly itemsCancelled: readonly { readonly task: string; readonly at: number }[];
  /** Maps whose stored items do not count: their rows are removed first. */
  readonly itemsDropped: readonly string[];
  /** Attempts that other runners may take. */
  readonly offers: readonly NewOffer[];
  /** Offers that are taken back, unless a helper has them: see `CommitResult.offersTaken`. */
  readonly offersWithdrawn: readonly (TaskKey & { readonly attempt: number })[];
  /** Offers that are over, with or without a helper. */
  readonly offersEnded: readonly TaskKey[];
}

/** All that one commit changes of one execution: it happens whole or not at all (except `release`, see there). */
export interface Transition {
  readonly id: string;
  readonly epoch: number;
  readonly create: NewExecution | null;
  readonly tasks: readonly TaskState[];
  readonly steps: readonly NewStep[];
  readonly logs: readonly NewLog[];
  readonly events: readonly NewEvent[];
  /** True if the crash count and the load attempts go back to 0. */
  readonly progressed: boolean;
  /** The input as its schema parsed it, if that happened just now. */
  readonly parsedInput: string | null;
  /**
   * Number of runners that died while they loaded the execution or asked its code something, including this one while that
   * goes on. Null: as before, and 0 where it `progressed`.
   */
  readonly loadAttempts: number | null;
  /** Messages up to this number were read. */
  readonly inboxAcked: number | null;
  /** Null for most transitions. */
  readonly effects: Effects | null;
  readonly release: ExecutionRelease | null;
}

export interface Batch {
  readonly runner: string;
  /** A runner writes the batches of one lane one after another, and those of several lanes at a time. */
  readonly lane: number;
  /**
   * Counts the batches of a lane. A database on which the outcome of a commit can stay unknown writes each number once,
   * so that the same batch may be sent again.
   */
  readonly n: number;
  readonly transitions: readonly Transition[];
}

export interface CommitResult {
  /** Executions that this runner does not own any more; nothing of theirs was written. */
  readonly lost: readonly string[];
  /** Written, but not released: the inbox has a message that the owner has not seen. */
  readonly kept: readonly string[];
  /** Created, but for any runner to take: the channel points to another version than the one they were made for. */
  readonly moved: readonly string[];
  /** Of the offers that were to be taken back: those that are a helper's. */
  readonly offersTaken: readonly (TaskKey & { readonly id: string })[];
}

/** The runner that commits was declared dead: nothing was written. */
export class FencedError extends Error {
  override readonly name = 'FencedError';
}

/** A commit was sent, and whether it was written is not known. The same batch (with the same number) may be sent again. */
export class OutcomeUnknownError extends Error {
  override readonly name = 'OutcomeUnknownError';
}

/** The database refuses the data of one transition and always will; nothing was written. */
export class RefusedDataError extends Error {
  override readonly name = 'RefusedDataError';
  readonly id: string;
  constructor(id: string, cause: unknown) {
    super(`the database refuses to store a change of execution '${id}'`, { cause });
    this.id = id;
  }
}

/** Executions that a batch makes cannot be pinned to their versions, which are gone or take no new ones; nothing was written. */
export class PinRefusedError extends Error {
  override readonly name = 'PinRefusedError';
  /** The reasons, by the ids of these executions. */
  readonly refused: ReadonlyMap<string, CloacinaError>;
  constructor(refused: ReadonlyMap<string, CloacinaError>) {
    super(Array.from(refused, ([id, { message }]) => `execution '${id}' cannot be started: ${message}`).join('; '));
    this.refused = refused;
  }
}

/**
 * A batch as a whole can never be written: it cannot be put into a statement, or no server takes it in time. Nothing of it
 * was written, and its number is used up. Parts of it may be written under other numbers; the cause is that of a single one.
 */
export class UnwritableBatchError extends Error {
  override readonly name = 'UnwritableBatchError';
  constructor(cause: unknown) {
    super('a batch cannot be written as a whole', { cause });
  }
}

/**
 * The database refuses the data of one change of a batch and always will, and does not name the change. Nothing of the batch
 * was written; the cause is the database's error.
 */
export class RefusedBatchError extends Error {
  override readonly name = 'RefusedBatchError';
  constructor(cause: unknown) {
    super('the database refuses the data of a batch', { cause });
  }
}

/** What a commit carries, in characters of JSON text (a UTF-16 unit is 1 to 3 bytes of UTF-8); only its last transition goes beyond. */
export const batchLimit = 8_388_608;

/** The length of a transition in characters of JSON text. */
export function sizeOf(transition: Transition): number {
  let size = 256 + (transition.create?.input.length ?? 0) + (transition.release?.output?.length ?? 0);
  size += transition.parsedInput?.length ?? 0;
  for (const { input } of transition.effects?.children ?? []) size += input.length;
  for (const { output, error, value } of transition.tasks) {
    size += (output?.length ?? 0) + (error?.length ?? 0) + (value?.length ?? 0);
  }
  for (const step of transition.steps) size += step.output.length;
  for (const log of transition.logs) size += log.message.length + (log.data?.length ?? 0);
  return size;
}
