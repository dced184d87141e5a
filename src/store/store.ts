import type { DatabaseSync } from 'node:sqlite';
import type { DatabaseReplacedError } from '../core/error.ts';
import type { WorkflowSpec } from '../core/definition/spec.ts';
import type { Batch, CommitResult, NewExecution, TaskState } from './transition.ts';
import type { Claim } from './claim/claim.ts';
import type { Fork, Retry } from './executions/commands.ts';
import type { CreatedExecution, ExecutionFilter, LogRecord } from './executions/executions.ts';
import type { ClaimedExecution } from './claim/hydrate.ts';
import type { Delivery, InboxMessage } from './executions/inbox.ts';
import type { EventRecord, ExecutionRecord } from './executions/rows.ts';
import type { LeaseKept, LeaseKeeper } from './runners/lease-keeper.ts';
import type { Renew, Renewal } from './runners/renewal.ts';
import type {
  HelperResult,
  AttemptKey,
  TakenOffer,
  Help,
  Helped,
  HelperLost,
  HelpWanted,
  Take,
  HelperStarted,
} from './sharing/offers.ts';
import type { Pruned } from './executions/retention.ts';
import type { RetiredExecution } from './claim/retired-builds.ts';
import type { TaskEnd, TaskEndOutcome, TaskTransaction } from './commit/task-end.ts';
import type { KnownRunner, RunnerRecord } from './runners/runners.ts';
import type { Dialect, Notice, Script } from './script.ts';

/**
 * Everything the engine asks of a database. Every verb is one transaction: durable once it resolves, and without
 * effect where it throws. Values are JSON text, times epoch ms. All verbs throw STORE_UNAVAILABLE when the database
 * did not answer in time.
 */
export interface Store {
  /** Writes many transitions at once. Throws FencedError, RefusedDataError, UnwritableBatchError, BusyError. */
  commit(batch: Batch): Promise<CommitResult>;

  createExecutions(creates: readonly NewExecution[]): Promise<readonly CreatedExecution[]>;
  /**
   * Where a caller can have a transaction of their own: creates executions within it, by the caller's client. They exist
   * if and only if the caller commits. Throws TRANSACTION_INVALID, and errors of that client.
   */
  readonly createWithin?:
    | ((tx: object, creates: readonly NewExecution[]) => Promise<readonly CreatedExecution[]>)
    | undefined;
  /**
   * Where the database is in this process: runs a user's function as one transaction, at once. Throws what it throws, and
   * TRANSACTION_ASYNC, TRANSACTION_ENDED, STORE_UNAVAILABLE; nothing was written then.
   */
  readonly transactionSync?: (<T>(act: (turn: SyncTransaction) => T) => Promise<T>) | undefined;
  /**
   * Runs a function of a task in a transaction that ends the task with what the function gives. Throws what it throws, and
   * nothing was written then; OutcomeUnknownError where that is not known.
   */
  transactTask(task: TaskTransaction): Promise<TaskEndOutcome>;
  /** What became of such an end whose answer is lost; `open`: nothing. */
  taskEndOutcome(end: TaskEnd): Promise<TaskEndOutcome | 'open'>;
  claim(claim: Claim): Promise<readonly ClaimedExecution[]>;
  /** Whether a claim would take anything. */
  claimable(claim: Claim): Promise<boolean>;
  /** Makes executions pending whose time has come; gives how many. */
  wake(now: number): Promise<number>;
  nextWake(): Promise<number | null>;
  ownedBy(runner: string): Promise<readonly { readonly id: string; readonly epoch: number }[]>;
  releaseExecution(id: string, runner: string, epoch: number): Promise<void>;

  /** Pending executions of the embedded workflows behind these codes, whose own definition no living runner has. */
  executionsOnRetiredBuilds(codes: readonly string[], limit: number): Promise<readonly RetiredExecution[]>;
  /** Gives how many of them were still pending under that code, and free. */
  moveToBuild(ids: readonly string[], from: string, to: string): Promise<number>;
  holdChanged(ids: readonly string[], code: string): Promise<number>;

  cancel(id: string, tenant: string): Promise<Delivery>;
  pause(id: string, tenant: string): Promise<Delivery>;
  resume(id: string, tenant: string): Promise<Delivery>;
  /** `payload` is JSON text. */
  signal(id: string, tenant: string, name: string, payload: string): Promise<Delivery>;
  retry(retry: Retry): Promise<Delivery>;
  fork(fork: Fork): Promise<Delivery>;
  hasMessages(runner: string): Promise<boolean>;
  inboxOf(runner: string): Promise<readonly InboxMessage[]>;

  /** Whether another runner offers attempts that this one could run. */
  helpWanted(wanted: HelpWanted): Promise<boolean>;
  /** Takes such attempts, at most `limit`; their owners get mail. Gives how many; which, is for `heldOffers` to say. */
  takeOffers(take: Take): Promise<number>;
  takenOffers(runner: string): Promise<readonly TakenOffer[]>;
  /** What it takes to run the attempts of an execution that a runner holds: with the states of the named tasks. */
  helpFor(id: string, runner: string, tasks: readonly string[]): Promise<Help | undefined>;
  /** Writes what was done of attempts that a runner holds; gives the places of those that were written. Throws RefusedBatchError. */
  writeHelped(runner: string, list: readonly Helped[]): Promise<readonly number[]>;
  /** What of an execution waits for another runner to take it. */
  openOffers(id: string): Promise<readonly { readonly task: string; readonly queue: string }[]>;

  registerRunner(runner: RunnerRecord): Promise<void>;
  renew(renewal: Renew): Promise<Renewal>;
  runners(): Promise<readonly KnownRunner[]>;
  /** Declares a runner dead if its lease is still that one; false where it is not, or where it is committing just now. */
  markDead(id: string, leaseUntil: number): Promise<boolean>;
  /** Makes pending what dead runners left behind; gives how many. */
  releaseOrphans(): Promise<number>;
  removeRunner(id: string): Promise<void>;
  /** Says which embedded definitions a runner has. */
  writeRunnerBuilds(id: string, codes: readonly string[]): Promise<void>;

  /** Embedded definitions by name, as the last runner that had them wrote them. */
  definitions(): Promise<readonly DefinitionRecord[]>;
  newestDefinition(workflow: string): Promise<DefinitionRecord | undefined>;
  /** Makes them the newest of their workflows and of their codes. */
  writeDefinitions(definitions: readonly DefinitionRecord[]): Promise<void>;
  /** The newest definition of a code, even where its workflow has another code by now. */
  definition(code: string): Promise<WorkflowSpec | undefined>;

  execution(id: string): Promise<ExecutionRecord | undefined>;
  /** Those of these executions that have ended. */
  ended(ids: readonly string[]): Promise<readonly ExecutionRecord[]>;
  tasks(id: string): Promise<readonly TaskState[]>;
  outputs(id: string): Promise<ReadonlyMap<string, string>>;
  step(id: string, task: string, item: number, name: string): Promise<string | undefined>;
  events(id: string, after: number, limit: number): Promise<readonly EventRecord[]>;
  list(filter: ExecutionFilter): Promise<readonly ExecutionRecord[]>;
  logs(id: string, task: string | null, skip: number, limit: number): Promise<readonly LogRecord[]>;

  /** Removes up to so many rows of ended executions whose time is over; see `store/retention`. */
  prune(before: number | null, rows: number): Promise<Pruned>;

  /** Runs the scripts of the registry and the schedules on the same database. */
  read<T>(script: (dialect: Dialect) => Script<T>): Promise<T>;
  write<T>(script: (dialect: Dialect) => Script<T>): Promise<T>;
  /** The same as `read`, for a script of one statement. */
  ask<T>(script: (dialect: Dialect) => Script<T>): Promise<T>;

  /** Whether other connections can be on this database: not on one in memory. */
  readonly shared: boolean;
  /** Whether another connection committed since the last call: cheap, for looking often. Never, where there is `subscribe`. */
  changed(): boolean;
  /**
   * Where the database says so itself: calls a function when another connection has committed, or may have; ended by what it
   * gives.
   */
  readonly subscribe?: ((listener: (notice: Notice) => void) => () => void) | undefined;
  /**
   * Where others can take the database away from under this process: resolves once they did, with DATABASE_REPLACED. From then
   * on every call throws that, and nothing was acknowledged that went into files which are gone.
   */
  readonly lost?: Promise<DatabaseReplacedError> | undefined;
  /** Keeps a lease from outside of the event loop, where the database is not in this process. */
  readonly keepLease?: ((lease: LeaseKept) => LeaseKeeper) | undefined;
  /** The clock of the database, where that may be on another machine; epoch ms. */
  readonly serverTime?: (() => Promise<number>) | undefined;
  close(): Promise<void>;
}

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
  Renew,
  Renewal,
  Retry,
  RunnerRecord,
  RetiredExecution,
  Take,
  HelperStarted,
  TaskEnd,
  TaskEndOutcome,
  TaskTransaction,
};
