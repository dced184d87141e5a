import type { DatabaseSync } from 'node:sqlite';
import type { DatabaseLostError } from '../core/error.ts';
import type { WorkflowSpec } from '../core/definition/spec.ts';
import type { Batch, CommitResult, NewExecution, TaskState } from './transition.ts';
import type { Claim } from './claim/claim.ts';
import type { Fork, Retry } from './executions/commands.ts';
import type { Repin } from './executions/repin.ts';
import type { CreatedExecution } from './executions/create.ts';
import type { ExecutionFilter, LogKey, LogRecord } from './executions/executions.ts';
import type { ClaimedExecution } from './claim/hydrate.ts';
import type { Delivery, InboxMessage } from './executions/inbox.ts';
import type { EventRecord } from './tables/events.ts';
import type { ExecutionRecord } from './tables/executions.ts';
import type { LeaseKept, LeaseKeeper } from './runners/lease-keeper.ts';
import type { ClockReading, Renew, Renewal } from './runners/renewal.ts';
import type {
  HelperResult,
  AttemptKey,
  TakenOffer,
  Help,
  HelperLost,
  HelpWanted,
  Take,
  HelperStarted,
} from './sharing/offers.ts';
import type { Helped } from './sharing/helped.ts';
import type { Pruned, PrunePlace, PruneStep } from './executions/retention.ts';
import type { PrunedSlots, SlotPruneStep } from './schedules/slot-retention.ts';
import type { RetiredExecution } from './claim/retired-builds.ts';
import type { TaskEnd, TaskEndOutcome, TaskTransaction } from './commit/task-end.ts';
import type { KnownRunner, RunnerRecord } from './runners/runners.ts';
import type { Notice, Script, Tx } from './script.ts';

// The database as its users see it: capabilities, each for one purpose. Every verb is one transaction: durable once it
// resolves, and without effect where it throws. Values are JSON text, times epoch ms. All verbs throw STORE_UNAVAILABLE when
// the database did not answer in time. `verbs.ts` has the script of each; the rest is the driver's own.

/** New executions and the progress of running ones. */
export interface Commits {
  /** The number of batches of one runner that may be on their way at a time. */
  readonly commitLanes: number;
  /** Writes many transitions at once. Throws FencedError, RefusedDataError, UnwritableBatchError, BusyError. */
  commit(batch: Batch): Promise<CommitResult>;
  createExecutions(creates: readonly NewExecution[]): Promise<readonly CreatedExecution[]>;
  /**
   * Creates executions within a transaction of the caller, by the caller's client; only if the database allows that. They
   * exist if and only if the caller commits. Throws TRANSACTION_INVALID, and errors of that client.
   */
  readonly createWithin?:
    | ((tx: object, creates: readonly NewExecution[]) => Promise<readonly CreatedExecution[]>)
    | undefined;
  /**
   * Runs a user's function as one transaction, at once; only if the database is in this process. Throws the function's
   * error, and TRANSACTION_ASYNC, TRANSACTION_ENDED, STORE_UNAVAILABLE; nothing was written then.
   */
  readonly transactionSync?: (<T>(act: (turn: SyncTransaction) => T) => Promise<T>) | undefined;
  /**
   * Runs a function of a task in a transaction that ends the task with the function's value. Throws the function's error,
   * and nothing was written then; OutcomeUnknownError where that is not known.
   */
  transactTask(task: TaskTransaction): Promise<TaskEndOutcome>;
  /** The outcome of such an end whose answer is lost; `open`: nothing was written. */
  taskEndOutcome(end: TaskEnd): Promise<TaskEndOutcome | 'open'>;
}

/** Ownership of executions: claims, timers, releases, and executions under definitions that no runner has. */
export interface Claims {
  claim(claim: Claim): Promise<readonly ClaimedExecution[]>;
  /** True if a claim would take anything. */
  claimable(claim: Claim): Promise<boolean>;
  /** Makes executions pending whose time has come; returns their number. */
  wake(now: number): Promise<number>;
  nextWake(): Promise<number | null>;
  ownedBy(runner: string): Promise<readonly { readonly id: string; readonly epoch: number }[]>;
  releaseExecution(id: string, runner: string, epoch: number): Promise<void>;
  /** Makes pending the executions of dead runners; returns their number. */
  releaseOrphans(): Promise<number>;
  /** Pending executions of the embedded workflows behind these build ids, whose own definition no living runner has. */
  executionsOnRetiredBuilds(buildIds: readonly string[], limit: number): Promise<readonly RetiredExecution[]>;
  /** Returns how many of them were still pending under that build id, and not locked. */
  moveToBuild(ids: readonly string[], from: string, to: string): Promise<number>;
  holdChanged(ids: readonly string[], buildId: string): Promise<number>;
}

/** Requests to executions, and the messages that their owners read. */
export interface Inbox {
  cancel(id: string, tenant: string): Promise<Delivery>;
  pause(id: string, tenant: string): Promise<Delivery>;
  resume(id: string, tenant: string): Promise<Delivery>;
  /** `payload` is JSON text. */
  signal(id: string, tenant: string, name: string, payload: string): Promise<Delivery>;
  retry(retry: Retry): Promise<Delivery>;
  fork(fork: Fork): Promise<Delivery>;
  hasMessages(runner: string): Promise<boolean>;
  inboxOf(runner: string): Promise<readonly InboxMessage[]>;
}

/** Attempts that one runner offers and another runs. */
export interface Sharing {
  /** True if another runner offers attempts that this one could run. */
  helpWanted(wanted: HelpWanted): Promise<boolean>;
  /** Takes such attempts, at most `limit`; their owners get messages. Returns their number; `takenOffers` lists them. */
  takeOffers(take: Take): Promise<number>;
  takenOffers(runner: string): Promise<readonly TakenOffer[]>;
  /** The data for the attempts of an execution that a runner holds: with the states of the named tasks. */
  helpFor(id: string, runner: string, tasks: readonly string[]): Promise<Help | undefined>;
  /** Writes the work on attempts that a runner holds; returns the indexes of those that were written. Throws RefusedBatchError. */
  writeHelped(runner: string, list: readonly Helped[]): Promise<readonly number[]>;
  /** The tasks of an execution that wait for another runner to take them. */
  openOffers(id: string): Promise<readonly { readonly task: string; readonly queue: string }[]>;
}

/** The runners of a database, their leases and their deaths. */
export interface Runners {
  registerRunner(runner: RunnerRecord): Promise<void>;
  renew(renewal: Renew): Promise<Renewal>;
  runners(): Promise<readonly KnownRunner[]>;
  /** Declares a runner dead if its lease is still that one; false if it is not, or if the runner is committing just now. */
  markDead(id: string, leaseUntil: number): Promise<boolean>;
  removeRunner(id: string): Promise<void>;
  /** Keeps a lease from outside of the event loop, where the database is not in this process. */
  readonly keepLease?: ((lease: LeaseKept) => LeaseKeeper) | undefined;
  /** Reads the clock of the database, where that may be on another machine. */
  readonly readClock?: (() => Promise<ClockReading>) | undefined;
}

/** Embedded definitions. */
export interface Definitions {
  /** The newest of each workflow, as the last runner that had it wrote it. */
  definitions(): Promise<readonly DefinitionRecord[]>;
  newestDefinition(workflow: string): Promise<DefinitionRecord | undefined>;
  /** Makes them the newest of their workflows and of their build ids. */
  writeDefinitions(definitions: readonly DefinitionRecord[]): Promise<void>;
  /** The newest definition of a build id, even where its workflow has another build id by now. */
  definition(buildId: string): Promise<WorkflowSpec | undefined>;
}

/** Reads of executions. */
export interface Reads {
  execution(id: string): Promise<ExecutionRecord | undefined>;
  /** Those of these executions that have ended. */
  ended(ids: readonly string[]): Promise<readonly ExecutionRecord[]>;
  /** Those of these ids that executions have; a pruned execution has none. */
  known(ids: readonly string[]): Promise<readonly string[]>;
  /** The number of open descendants of a root, counted up to `limit`. */
  openDescendants(rootId: string, limit: number): Promise<number>;
  tasks(id: string): Promise<readonly TaskState[]>;
  outputs(id: string): Promise<ReadonlyMap<string, string>>;
  step(id: string, task: string, item: number, name: string): Promise<string | undefined>;
  events(id: string, after: number, limit: number): Promise<readonly EventRecord[]>;
  list(filter: ExecutionFilter): Promise<readonly ExecutionRecord[]>;
  logs(id: string, task: string | null, skip: number, limit: number): Promise<readonly LogRecord[]>;
  /** The same lines in the order of their keys, page by page. */
  logPage(id: string, task: string | null, after: LogKey | null, limit: number): Promise<readonly LogRecord[]>;
}

/** The removal of ended executions and of old slots. */
export interface Retention {
  /** Removes some ended executions whose retention is over; see `executions/retention.ts`. */
  prune(step: PruneStep): Promise<Pruned>;
  /** Removes some slots of schedules; see `schedules/slot-retention.ts`. */
  pruneSlots(step: SlotPruneStep): Promise<PrunedSlots>;
  /** The id of the newest execution, which contains the time of its creation. */
  newestId(): Promise<string | null>;
}

/** Transactions of the registry and the schedules: scripts that compose functions of the store. */
export interface Scripts {
  read<T>(script: (tx: Tx) => Script<T>): Promise<T>;
  write<T>(script: (tx: Tx) => Script<T>): Promise<T>;
  /** The same as `read`, for a script of one statement. */
  ask<T>(script: (tx: Tx) => Script<T>): Promise<T>;
}

/** The connection itself, and the changes that other connections commit. */
export interface Connection {
  /** True if other connections can be on this database: not on one in memory. */
  readonly shared: boolean;
  /**
   * True if another connection committed since the last call; cheap enough for frequent polls. Always false if there is
   * `subscribe`.
   */
  changed(): boolean;
  /**
   * Calls a function when another connection has committed, or may have, until a call of the returned function; only if the
   * database sends notices.
   */
  readonly subscribe?: ((listener: (notice: Notice) => void) => () => void) | undefined;
  /**
   * Resolves with DATABASE_REPLACED once the files of the database were replaced under this process, and with
   * DATABASE_FLUSH_FAILED once the system failed to flush a commit; only if it has files. From then on every call throws
   * that, and nothing was acknowledged that may not be on disk.
   */
  readonly lost?: Promise<DatabaseLostError> | undefined;
  close(): Promise<void>;
}

/** A database with all its capabilities. */
export type Store = Commits &
  Claims &
  Inbox &
  Sharing &
  Runners &
  Definitions &
  Reads &
  Retention &
  Scripts &
  Connection;

/** A transaction of a user's function, on our own connection. */
export interface SyncTransaction {
  readonly db: DatabaseSync;
  readonly create: (create: NewExecution) => CreatedExecution;
}

export interface DefinitionRecord {
  readonly workflow: string;
  /** `embedded/<workflow>/<fingerprint>`. */
  readonly buildId: string;
  readonly spec: WorkflowSpec;
}

/** The database was held by another process at that moment: the same batch may be tried again. */
export class BusyError extends Error {
  override readonly name = 'BusyError';
}

export type {
  HelperResult,
  AttemptKey,
  Claim,
  ClockReading,
  ClaimedExecution,
  CreatedExecution,
  Delivery,
  EventRecord,
  ExecutionFilter,
  Fork,
  TakenOffer,
  Help,
  Helped,
  HelperLost,
  HelpWanted,
  KnownRunner,
  LogRecord,
  ExecutionRecord,
  LeaseKept,
  LeaseKeeper,
  InboxMessage,
  Notice,
  Pruned,
  PrunePlace,
  PruneStep,
  Renew,
  Renewal,
  Repin,
  Retry,
  RunnerRecord,
  RetiredExecution,
  Take,
  HelperStarted,
  TaskEnd,
  TaskEndOutcome,
  TaskTransaction,
};
