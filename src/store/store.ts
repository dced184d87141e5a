import type { WorkflowSpec } from '../core/spec.ts';
import type { Batch, CommitResult, NewExecution, TaskState } from './batch.ts';
import type { Claim, ClaimedExecution, Created, ExecutionFilter } from './executions.ts';
import type { Delivery, Mail } from './mail.ts';
import type { EventRecord, ExecutionRecord } from './rows.ts';
import type { RunnerRecord } from './runners.ts';
import type { Dialect, Script } from './sql.ts';

/**
 * Everything the engine asks of a database. Every verb is one transaction: durable once it resolves, and without
 * effect where it throws. Values are JSON text, times epoch ms. All verbs throw STORE_UNAVAILABLE when the database
 * did not answer in time.
 */
export interface Store {
  /** Writes many transitions at once. Throws FencedError, RefusedDataError, BusyError. */
  commit(batch: Batch): Promise<CommitResult>;

  createExecutions(creates: readonly NewExecution[]): Promise<readonly Created[]>;
  claim(claim: Claim): Promise<readonly ClaimedExecution[]>;
  hasPending(codes: readonly string[], roots: readonly string[] | null): Promise<boolean>;
  /** Makes executions pending whose time has come; gives how many. */
  wake(now: number): Promise<number>;
  nextWake(): Promise<number | null>;
  ownedBy(runner: string): Promise<readonly { readonly id: string; readonly epoch: number }[]>;
  handBack(id: string, runner: string, epoch: number): Promise<void>;

  cancel(id: string, tenant: string): Promise<Delivery>;
  hasMail(runner: string): Promise<boolean>;
  mailFor(runner: string): Promise<readonly Mail[]>;

  registerRunner(runner: RunnerRecord): Promise<void>;
  /** False where the runner was declared dead. */
  renewRunner(id: string, leaseUntil: number): Promise<boolean>;
  runners(): Promise<readonly RunnerRecord[]>;
  /** Declares a runner dead if its lease is still that one; false where it is not. */
  markDead(id: string, leaseUntil: number): Promise<boolean>;
  /** Makes pending what dead runners left behind; gives how many. */
  releaseOrphans(): Promise<number>;
  removeRunner(id: string): Promise<void>;

  /** Embedded definitions by name, as the last runner that had them wrote them. */
  definitions(): Promise<readonly DefinitionRecord[]>;
  writeDefinitions(definitions: readonly DefinitionRecord[]): Promise<void>;

  execution(id: string): Promise<ExecutionRecord | undefined>;
  tasks(id: string): Promise<readonly TaskState[]>;
  outputs(id: string): Promise<ReadonlyMap<string, string>>;
  step(id: string, task: string, item: number, name: string): Promise<string | undefined>;
  events(id: string, after: number, limit: number): Promise<readonly EventRecord[]>;
  list(filter: ExecutionFilter): Promise<readonly ExecutionRecord[]>;

  /** Runs the scripts of the registry and the schedules on the same database. */
  read<T>(script: (dialect: Dialect) => Script<T>): Promise<T>;
  write<T>(script: (dialect: Dialect) => Script<T>): Promise<T>;

  /** Whether another connection committed since the last call: cheap, for looking often. */
  changed(): boolean;
  close(): Promise<void>;
}

export interface DefinitionRecord {
  readonly workflow: string;
  /** `embedded/<workflow>/<fingerprint>`. */
  readonly code: string;
  readonly spec: WorkflowSpec;
}

/** The database was held by another process at that moment: the same batch may be tried again. */
export class BusyError extends Error {
  override readonly name = 'BusyError';
}

export type {
  Claim,
  ClaimedExecution,
  Created,
  Delivery,
  EventRecord,
  ExecutionFilter,
  ExecutionRecord,
  Mail,
  RunnerRecord,
};
