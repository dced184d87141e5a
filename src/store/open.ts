import { CloacinaError } from '../core/error.ts';
import type { Batch, CommitResult } from './batch.ts';
import { definitions, writeDefinitions } from './definitions.ts';
import * as executions from './executions.ts';
import * as mail from './mail.ts';
import * as runners from './runners.ts';
import type { Driver } from './sql.ts';
import { SqliteCommit } from './sqlite-commit.ts';
import { SqliteDriver, isBusy, storeError } from './sqlite.ts';
import { BusyError } from './store.ts';
import type { Store } from './store.ts';

export interface StoreOptions {
  /** Epoch ms; default the system's clock. */
  readonly now?: () => number;
  /** How long a change may wait for a busy database before STORE_UNAVAILABLE; default 10 s. */
  readonly patienceMs?: number;
}

/** Executions woken by one statement at most, so that the writer is not held long. */
const wakeLimit = 1000;

/**
 * Opens a database by its URL and brings it to the newest schema: `sqlite:./path/to/file.db`, `sqlite::memory:`.
 * Throws DATABASE_URL_INVALID, DATABASE_INVALID, DATABASE_READ_ONLY, DATABASE_TOO_NEW, STORE_UNAVAILABLE.
 */
export async function openStore(url: string, options: StoreOptions = {}): Promise<Store> {
  const driver = await SqliteDriver.open(sqlitePath(url), options);
  const group = new SqliteCommit(driver);
  return makeStore(driver, async (batch) => commitOnSqlite(group, batch), options.now ?? Date.now);
}

/** The path in a SQLite URL; also `sqlite://...`, as other tools write it. Throws DATABASE_URL_INVALID. */
export function sqlitePath(url: string): string {
  const path = /^sqlite:(?:\/\/(?=\/|\.))?(.+)$/.exec(url)?.[1];
  if (path === undefined) {
    const hint = 'use sqlite:./path/to/file.db or sqlite::memory:';
    throw new CloacinaError('DATABASE_URL_INVALID', `'${url}' is not a database URL that this Cloacina knows; ${hint}`);
  }
  return path;
}

function commitOnSqlite(group: SqliteCommit, batch: Batch): CommitResult {
  try {
    return group.commit(batch);
  } catch (error) {
    if (isBusy(error)) throw new BusyError('the database is held by another process', { cause: error });
    throw storeError(error, 'the database refused a commit');
  }
}

function makeStore(driver: Driver, commit: (batch: Batch) => Promise<CommitResult>, now: () => number): Store {
  const { dialect } = driver;
  const { read, write } = { read: driver.read.bind(driver), write: driver.write.bind(driver) };
  return {
    commit,
    createExecutions: (creates) => write(() => executions.createExecutions(creates)),
    claim: (claim) => write(() => executions.claimExecutions(claim, dialect)),
    hasPending: (codes, roots) => read(() => executions.hasPending(codes, roots, dialect)),
    wake: (at) => write(() => executions.wakeExecutions(at, wakeLimit)),
    nextWake: () => read(() => executions.nextWake()),
    ownedBy: (runner) => read(() => executions.ownedBy(runner)),
    handBack: (id, runner, epoch) => write(() => executions.handBack(id, runner, epoch)),
    cancel: (id, tenant) => write(() => mail.cancelExecution(id, tenant, now(), dialect)),
    hasMail: (runner) => read(() => runners.hasMail(runner)),
    mailFor: (runner) => read(() => mail.mailFor(runner)),
    registerRunner: (runner) => write(() => runners.registerRunner(runner, now())),
    renewRunner: (id, leaseUntil) => write(() => runners.renewRunner(id, now(), leaseUntil)),
    runners: () => read(() => runners.runners()),
    markDead: (id, leaseUntil) => write(() => runners.markDead(id, leaseUntil)),
    releaseOrphans: () => write(() => runners.releaseOrphans()),
    removeRunner: (id) => write(() => runners.removeRunner(id)),
    definitions: () => read(() => definitions()),
    writeDefinitions: (list) => write(() => writeDefinitions(list, now())),
    execution: (id) => read(() => executions.execution(id)),
    tasks: (id) => read(() => executions.tasksOf(id)),
    outputs: (id) => read(() => executions.outputsOf(id)),
    step: (id, task, item, name) => read(() => executions.stepOf(id, task, item, name)),
    events: (id, after, limit) => read(() => executions.eventsOf(id, after, limit)),
    list: (filter) => read(() => executions.listExecutions(filter, dialect)),
    read: (script) => read(() => script(dialect)),
    write: (script) => write(() => script(dialect)),
    changed: () => driver.changed(),
    close: () => driver.close(),
  };
}
