import { messageOf } from './foreign/error-text.ts';
import { acrossCopies, nameAcrossCopies } from './process/copies.ts';
import type { ErrorCode } from './error-table.ts';

/**
 * The base of all errors that Cloacina raises: a stable `code`, a message that names a remedy, and the original
 * `cause`.
 */
export class CloacinaError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = nameAcrossCopies(new.target);
    this.code = code;
  }
}

/** One fault of an input, at a path such as `orders[3].amount`; the path is '' for the value itself. */
export interface Issue {
  readonly path: string;
  readonly message: string;
}

/** One fault of a package: a stable code, a path in the archive or manifest, and a remedy. */
export interface Problem {
  readonly code: string;
  readonly path: string;
  readonly message: string;
  readonly hint?: string;
}

export class DefinitionInvalidError extends CloacinaError {
  readonly workflow: string;
  constructor(workflow: string, message: string) {
    super('DEFINITION_INVALID', `workflow '${workflow}': ${message}`);
    this.workflow = workflow;
  }
}

export class OptionInvalidError extends CloacinaError {
  readonly option: string;
  constructor(option: string, message: string) {
    super('OPTION_INVALID', `option '${option}': ${message}`);
    this.option = option;
  }
}

export class InputInvalidError extends CloacinaError {
  readonly workflow: string;
  readonly issues: readonly Issue[];
  constructor(workflow: string, issues: readonly Issue[]) {
    const list = issues.map((issue) => `${issue.path === '' ? 'input' : `input.${issue.path}`}: ${issue.message}`);
    super('INPUT_INVALID', `the input of workflow '${workflow}' is not valid: ${list.join('; ')}`);
    this.workflow = workflow;
    this.issues = issues;
  }
}

export class NotSerializableError extends CloacinaError {
  readonly path: string;
  constructor(path: string, what: string) {
    super('NOT_SERIALIZABLE', `${path}: ${what}`);
    this.path = path;
  }
}

export class PayloadTooLargeError extends CloacinaError {
  readonly bytes: number;
  readonly limit: number;
  constructor(what: string, bytes: number, limit: number) {
    super('PAYLOAD_TOO_LARGE', `${what} has ${bytes} bytes, more than the limit of ${limit} (option maxPayload)`);
    this.bytes = bytes;
    this.limit = limit;
  }
}

export class WorkflowNotFoundError extends CloacinaError {
  readonly workflow: string;
  readonly near: readonly string[];
  constructor(workflow: string, near: readonly string[]) {
    const hint = near.length > 0 ? `; did you mean ${near.map((name) => `'${name}'`).join(' or ')}?` : '';
    super('WORKFLOW_NOT_FOUND', `there is no workflow '${workflow}'${hint}`);
    this.workflow = workflow;
    this.near = near;
  }
}

export class AmbiguousWorkflowError extends CloacinaError {
  readonly workflow: string;
  readonly candidates: readonly string[];
  constructor(workflow: string, candidates: readonly string[]) {
    super(
      'AMBIGUOUS_WORKFLOW',
      `'${workflow}' could mean ${candidates.map((name) => `'${name}'`).join(' or ')}; use the full name`,
    );
    this.workflow = workflow;
    this.candidates = candidates;
  }
}

export class ExecutionNotFoundError extends CloacinaError {
  readonly executionId: string;
  constructor(executionId: string) {
    super('EXECUTION_NOT_FOUND', `there is no execution '${executionId}'`);
    this.executionId = executionId;
  }
}

export class ExecutionEndedError extends CloacinaError {
  readonly executionId: string;
  readonly status: string;
  constructor(executionId: string, status: string) {
    super('EXECUTION_ENDED', `execution '${executionId}' has ended: ${status}`);
    this.executionId = executionId;
    this.status = status;
  }
}

/** The execution is in a state that does not allow this command. */
export class ExecutionStateError extends CloacinaError {
  readonly executionId: string;
  readonly status: string;
  constructor(executionId: string, status: string, what: string, reason?: string) {
    const why = reason ?? stateHints[what] ?? `${what} is not possible in this state`;
    super('EXECUTION_STATE', `execution '${executionId}' is ${status}: ${why}`);
    this.executionId = executionId;
    this.status = status;
  }
}

const stateHints: Readonly<Record<string, string>> = {
  resume: 'only a paused execution can be resumed; if its definition changed, retry, fork or cancel it',
  retry: 'only an execution that failed, was cancelled, or was paused by the engine can be retried',
  fork: 'its original definition is no longer stored, so it cannot be forked',
};

/** No task of the execution waits, or will wait, for a signal of this name. */
export class SignalUnknownError extends CloacinaError {
  readonly signal: string;
  readonly near: readonly string[];
  constructor(workflow: string, signal: string, near: readonly string[], known: readonly string[]) {
    const list = known.map((name) => `'${name}'`).join(', ');
    const there = known.length === 0 ? 'it waits for no signal' : `it waits for ${list}`;
    super('SIGNAL_UNKNOWN', `no task of workflow '${workflow}' waits for the signal '${signal}'; ${there}`);
    this.signal = signal;
    this.near = near;
  }
}

export class SignalInvalidError extends CloacinaError {
  readonly signal: string;
  readonly issues: readonly Issue[];
  constructor(signal: string, issues: readonly Issue[]) {
    const list = issues.map((issue) => `${issue.path === '' ? 'payload' : `payload.${issue.path}`}: ${issue.message}`);
    super('SIGNAL_INVALID', `the payload of signal '${signal}' is not valid: ${list.join('; ')}`);
    this.signal = signal;
    this.issues = issues;
  }
}

export class TaskNotFoundError extends CloacinaError {
  readonly workflow: string;
  readonly task: string;
  readonly near: readonly string[];
  constructor(workflow: string, task: string, near: readonly string[]) {
    const hint = near.length > 0 ? `; did you mean ${near.map((name) => `'${name}'`).join(' or ')}?` : '';
    super('TASK_NOT_FOUND', `workflow '${workflow}' has no task '${task}'${hint}`);
    this.workflow = workflow;
    this.task = task;
    this.near = near;
  }
}

export class IdempotencyConflictError extends CloacinaError {
  readonly idempotencyKey: string;
  readonly executionId: string;
  constructor(idempotencyKey: string, executionId: string) {
    super(
      'IDEMPOTENCY_CONFLICT',
      `the idempotency key '${idempotencyKey}' has already started execution '${executionId}' with another input`,
    );
    this.idempotencyKey = idempotencyKey;
    this.executionId = executionId;
  }
}

/** The database took no change in time. It may take one later, so waiting calls go on waiting. */
export class StoreUnavailableError extends CloacinaError {
  constructor(
    message: string,
    cause?: unknown,
    code: 'STORE_UNAVAILABLE' | 'DATABASE_READ_ONLY' = 'STORE_UNAVAILABLE',
  ) {
    super(code, message, { cause });
  }
}

/**
 * The database refuses writes: a file or disk is read-only, the server is a standby, or its user lacks a privilege. It
 * may take them later, after a failover for example.
 */
export class DatabaseReadOnlyError extends StoreUnavailableError {
  constructor(message: string, cause?: unknown) {
    super(message, cause, 'DATABASE_READ_ONLY');
  }
}

/** The database refuses what it was given, and would refuse it again; the cause is its own error. */
export class StoreRefusedError extends CloacinaError {
  /** `what`: what was asked of the database; its answer follows. */
  constructor(what: string, cause: unknown) {
    super('STORE_REFUSED', `${what}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * The database was lost under this process: nothing is acknowledged any more, and the client or runner that throws this
 * error rejects every later call.
 */
export abstract class DatabaseLostError extends CloacinaError {}

/** The system failed to flush a commit of a SQLite database to disk; the cause is its error. */
export class DatabaseFlushError extends DatabaseLostError {
  constructor(message: string, cause: unknown) {
    super('DATABASE_FLUSH_FAILED', message, { cause });
  }
}

/**
 * The file of a SQLite database, its log or its folder was deleted, moved or replaced while it was open.
 */
export class DatabaseReplacedError extends DatabaseLostError {
  readonly database: string;
  /** The file that is missing or replaced. */
  readonly file: string;
  /** Number of transactions that this client or runner acknowledged before. */
  readonly acknowledged: number;
  /** Last time the file was in place, ISO 8601. */
  readonly lastSeen: string;
  constructor(
    message: string,
    detail: Readonly<Pick<DatabaseReplacedError, 'database' | 'file' | 'acknowledged' | 'lastSeen'>>,
  ) {
    super('DATABASE_REPLACED', message);
    this.database = detail.database;
    this.file = detail.file;
    this.acknowledged = detail.acknowledged;
    this.lastSeen = detail.lastSeen;
  }
}

export class ConflictError extends CloacinaError {
  constructor(message: string) {
    super('CONFLICT', message);
  }
}

export class PackageExistsError extends CloacinaError {
  readonly packageName: string;
  readonly version: string;
  constructor(packageName: string, version: string) {
    super(
      'PACKAGE_EXISTS',
      `package ${packageName} v${version} already exists with other bytes; a version is immutable: raise the version number`,
    );
    this.packageName = packageName;
    this.version = version;
  }
}

export class PackageNotFoundError extends CloacinaError {
  readonly packageName: string;
  readonly version: string | undefined;
  constructor(packageName: string, version?: string) {
    super('PACKAGE_NOT_FOUND', `there is no package ${packageName}${version === undefined ? '' : ` v${version}`}`);
    this.packageName = packageName;
    this.version = version;
  }
}

export class PackageInUseError extends CloacinaError {
  readonly packageName: string;
  readonly version: string;
  readonly activeCount: number;
  constructor(packageName: string, version: string, activeCount: number) {
    const pinned =
      activeCount === 1 ? '1 execution that has not ended is' : `${activeCount} executions that have not ended are`;
    super('PACKAGE_IN_USE', `${pinned} pinned to package ${packageName} v${version}; wait for them or cancel them`);
    this.packageName = packageName;
    this.version = version;
    this.activeCount = activeCount;
  }
}

/** The codes of a refused package file; `docs/errors.md` explains each. */
export type PackageFault =
  | 'ARCHIVE_CORRUPT'
  | 'ARCHIVE_TOO_LARGE'
  | 'ARCHIVE_ENTRY_REFUSED'
  | 'ARCHIVE_NOT_CANONICAL'
  | 'MANIFEST_MISSING'
  | 'MANIFEST_INVALID'
  | 'FORMAT_UNSUPPORTED'
  | 'ENGINE_UNSUPPORTED'
  | 'FILE_HASH_MISMATCH';

/** A package file was refused; nothing of it was written or run. */
export class PackageInvalidError extends CloacinaError {
  readonly problems: readonly Problem[];
  /** The archive entry or manifest path at fault, if there is one. */
  readonly path: string | undefined;
  readonly reason: string | undefined;
  constructor(
    code: PackageFault,
    message: string,
    detail: { path?: string; reason?: string; problems?: readonly Problem[]; cause?: unknown } = {},
  ) {
    super(code, message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.path = detail.path;
    this.reason = detail.reason;
    this.problems = detail.problems ?? [{ code, path: detail.path ?? '', message }];
  }
}

export class DigestMismatchError extends CloacinaError {
  readonly expected: string;
  readonly actual: string;
  constructor(what: string, expected: string, actual: string) {
    super('DIGEST_MISMATCH', `${what}: the bytes have digest ${actual}, expected ${expected}; they were not run`);
    this.expected = expected;
    this.actual = actual;
  }
}

/** A schedule that can never work as written; `field` is the option at fault. */
export class ScheduleInvalidError extends CloacinaError {
  readonly field: string;
  constructor(field: string, message: string) {
    super('SCHEDULE_INVALID', `${field}: ${message}`);
    this.field = field;
  }
}

export class ScheduleNotFoundError extends CloacinaError {
  readonly schedule: string;
  constructor(schedule: string) {
    super('SCHEDULE_NOT_FOUND', `there is no schedule '${schedule}'`);
    this.schedule = schedule;
  }
}

export class ScheduleExistsError extends CloacinaError {
  readonly schedule: string;
  constructor(schedule: string) {
    super('SCHEDULE_EXISTS', `schedule '${schedule}' exists with other settings; change it with update`);
    this.schedule = schedule;
  }
}

/** Thrown by a task's function to fail the task at once, regardless of remaining attempts. */
export class NonRetryableError extends Error {
  override readonly name = 'NonRetryableError';
}

/** Thrown by a task's function to choose the delay before the next attempt: a duration ("30s") or milliseconds. */
export class RetryAfterError extends Error {
  override readonly name = 'RetryAfterError';
  readonly delay: string | number;
  constructor(delay: string | number, message = `try again after ${delay}`, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.delay = delay;
  }
}

acrossCopies({
  CloacinaError,
  DefinitionInvalidError,
  OptionInvalidError,
  InputInvalidError,
  NotSerializableError,
  PayloadTooLargeError,
  WorkflowNotFoundError,
  AmbiguousWorkflowError,
  ExecutionNotFoundError,
  ExecutionEndedError,
  ExecutionStateError,
  SignalUnknownError,
  SignalInvalidError,
  TaskNotFoundError,
  IdempotencyConflictError,
  StoreUnavailableError,
  DatabaseReadOnlyError,
  StoreRefusedError,
  DatabaseLostError,
  DatabaseFlushError,
  DatabaseReplacedError,
  ConflictError,
  PackageExistsError,
  PackageNotFoundError,
  PackageInUseError,
  PackageInvalidError,
  DigestMismatchError,
  ScheduleInvalidError,
  ScheduleNotFoundError,
  ScheduleExistsError,
  NonRetryableError,
  RetryAfterError,
});

/** Returns the fields of an error for JSON output: code, message, and the fields of its class. */
export function errorDocument(error: CloacinaError): { code: string; message: string; [field: string]: unknown } {
  const fields = Object.fromEntries(Object.entries(error).filter(([key]) => key !== 'name'));
  return { ...fields, code: error.code, message: error.message };
}
