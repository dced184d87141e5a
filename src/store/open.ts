import { resolve } from 'node:path';
import { CloacinaError } from '../core/error.ts';
import { shownUrl } from '../core/shown-url.ts';
import { RefusedBatchError } from './transition.ts';
import type { Batch, CommitResult } from './transition.ts';
import { isRefusedData } from './refused-data.ts';
import { claimable } from './claim/candidates.ts';
import * as claims from './claim/claim-executions.ts';
import * as control from './executions/commands.ts';
import { definitionOf, definitions, newestDefinition, writeDefinitions } from './executions/definitions.ts';
import * as executions from './executions/executions.ts';
import { load } from './claim/hydrate.ts';
import * as mail from './executions/inbox.ts';
import type { Migration } from './migrations/migrate.ts';
import * as offers from './sharing/offers.ts';
import { postgresPlace } from './postgres/url.ts';
import { renew } from './runners/renewal.ts';
import { prune } from './executions/retention.ts';
import * as runners from './runners/runners.ts';
import type { Driver, Notice } from './script.ts';
import { SqliteCommit } from './sqlite/commit.ts';
import { sqliteTransactions } from './sqlite/transactions.ts';
import { SqliteDriver, isBusy, storeError } from './sqlite/driver.ts';
import { BusyError } from './store.ts';
import { moveToBuild, holdChanged, executionsOnRetiredBuilds } from './claim/retired-builds.ts';
import { taskEndOutcome } from './commit/task-end.ts';
import type { Store } from './store.ts';

export interface StoreOptions {
  /** Epoch ms; default the system's clock. */
  readonly now?: () => number;
  /** How long a change may wait for a busy database before STORE_UNAVAILABLE; default 10 s. */
  readonly patienceMs?: number;
  /** How long the answer of a server is waited for, before its connection counts as dead; default 10 s, below every lease. */
  readonly deadlineMs?: number;
  /** Default: all that there are. */
  readonly migrations?: readonly Migration[];
}

/** Executions woken by one statement at most, so that the writer is not held long. */
const wakeLimit = 1000;

/**
 * Opens a database by its URL and brings it to the newest schema: `sqlite:./path/to/file.db`, `sqlite::memory:`, `postgres://host/database`.
 * Throws DATABASE_URL_INVALID, DATABASE_INVALID, DATABASE_READ_ONLY, DATABASE_TOO_NEW, DATABASE_REPLACED, STORE_UNAVAILABLE.
 */
export async function openStore(url: string, options: StoreOptions = {}): Promise<Store> {
  if (/^postgres(ql)?:/.test(url)) return openPostgres(url, options);
  const driver = await SqliteDriver.open(sqlitePath(url), options);
  const group = new SqliteCommit(driver, options.now ?? Date.now);
  const store = makeStore(driver, async (batch) => commitOnSqlite(group, batch), options.now ?? Date.now);
  return { ...store, ...sqliteTransactions(driver), lost: driver.lost };
}

/** The driver is loaded by those who need it only. */
async function openPostgres(url: string, options: StoreOptions): Promise<Store> {
  const [
    { PostgresDriver },
    { PostgresCommit },
    { createSurely },
    { postgresLease },
    { callerStarts },
    { postgresTasks },
  ] = await Promise.all([
    import('./postgres/driver.ts'),
    import('./postgres/commit/commit.ts'),
    import('./postgres/create-executions.ts'),
    import('./postgres/lease/lease-keeper.ts'),
    import('./postgres/caller-start.ts'),
    import('./postgres/task-transaction.ts'),
  ]);
  const place = postgresPlace(url);
  const driver = await PostgresDriver.open(place, options);
  const now = options.now ?? Date.now;
  const group = new PostgresCommit(driver, now);
  return {
    ...makeStore(driver, (batch) => group.commit(batch), now),
    createExecutions: (creates) => createSurely(driver, creates),
    ...postgresLease(driver, place),
    ...callerStarts(driver),
    ...postgresTasks(driver),
  };
}

/** Where a database is, as it is shown to people: the file of SQLite, the URL of a server without user and password. Throws DATABASE_URL_INVALID. */
export function databasePlace(url: string): string {
  if (/^postgres(ql)?:/.test(url)) return postgresPlace(url).shown;
  const path = sqlitePath(url);
  return path === ':memory:' ? path : resolve(path);
}

/** The path in a SQLite URL; also `sqlite://...`, as other tools write it. Throws DATABASE_URL_INVALID. */
export function sqlitePath(url: string): string {
  const path = /^sqlite:(?:\/\/(?=\/|\.))?(.+)$/.exec(url)?.[1];
  if (path === undefined) {
    const hint = 'use sqlite:./path/to/file.db, sqlite::memory: or postgres://host/database';
    throw new CloacinaError(
      'DATABASE_URL_INVALID',
      `'${shownUrl(url)}' is not a database URL that this Cloacina knows; ${hint}`,
    );
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

function makeStore(
  driver: Driver,
  commit: (batch: Batch) => Promise<CommitResult>,
  now: () => number,
): Omit<Store, 'transactTask'> {
  const { dialect } = driver;
  const cursor = { tenants: new Map<string, string>(), keys: new Map<string, string>() };
  const { read, ask, write } = bound(driver);
  // the engine's own
  const ahead = bound(driver.ahead ?? driver);
  return {
    commit,
    createExecutions: (creates) => write(() => executions.createExecutions(creates, dialect)),
    claim: async (claim) => {
      const { loaded, suspect } = await ahead.write(() => claims.claimExecutions(claim, cursor, dialect), any);
      if (suspect === null) return loaded;
      // that it is being loaded is durable now: if this kills the process, the next one knows what did
      const alone = await ahead.read(() => load([suspect], dialect));
      return [...loaded, ...alone];
    },
    claimable: (claim) => ahead.ask(() => claimable(claim, cursor, dialect)),
    wake: (at) => ahead.write(() => claims.wakeExecutions(at, wakeLimit, dialect), some),
    nextWake: () => ahead.ask(() => claims.nextWake()),
    ownedBy: (runner) => ahead.ask(() => claims.ownedBy(runner)),
    taskEndOutcome: (end) => write(() => taskEndOutcome(end), nobody),
    releaseExecution: (id, runner, epoch) => ahead.write(() => claims.releaseExecution(id, runner, epoch)),
    executionsOnRetiredBuilds: (codes, limit) => ahead.read(() => executionsOnRetiredBuilds(codes, limit, dialect)),
    moveToBuild: (ids, from, to) => ahead.write(() => moveToBuild(ids, from, to, dialect), some),
    holdChanged: (ids, code) => ahead.write(() => holdChanged(ids, code, now(), dialect), any),
    cancel: (id, tenant) => write(() => control.cancelExecution(id, tenant, now(), dialect)),
    pause: (id, tenant) => write(() => control.pauseExecution(id, tenant, now(), dialect)),
    resume: (id, tenant) => write(() => control.resumeExecution(id, tenant, now(), dialect)),
    signal: (id, tenant, name, payload) => write(() => mail.sendSignal(id, tenant, name, payload, now(), dialect)),
    retry: (retry) => write(() => control.retryExecution(retry, now(), dialect)),
    fork: (fork) => write(() => control.forkExecution(fork, now(), dialect)),
    hasMessages: (runner) => ahead.ask(() => runners.hasMessages(runner)),
    inboxOf: (runner) => ahead.ask(() => mail.inboxOf(runner)),
    helpWanted: (wanted) => ahead.ask(() => offers.helpWanted(wanted, dialect)),
    takeOffers: (take) => ahead.write(() => offers.takeOffers(take, dialect), some),
    takenOffers: (runner) => ahead.ask(() => offers.takenOffers(runner)),
    helpFor: (id, runner, tasks) => ahead.read(() => offers.helpFor(id, runner, tasks, dialect)),
    writeHelped: async (runner, list) => {
      try {
        return await ahead.write(() => offers.writeHelped(runner, list, now(), dialect));
      } catch (error) {
        throw isRefusedData(error) ? new RefusedBatchError(error) : error;
      }
    },
    openOffers: (id) => ask(() => offers.openOffers(id)),
    registerRunner: (runner) => ahead.write(() => runners.registerRunner(runner, now()), any),
    renew: (renewal) => ahead.write(() => renew(renewal, now(), dialect), nobody),
    runners: () => ahead.ask(() => runners.runners()),
    markDead: (id, leaseUntil) => ahead.write(() => runners.markDead(id, leaseUntil, dialect), nobody),
    releaseOrphans: () => ahead.write(() => claims.releaseOrphans(now(), dialect), some),
    removeRunner: (id) => ahead.write(() => runners.removeRunner(id), any),
    writeRunnerBuilds: (id, codes) => ahead.write(() => runners.writeRunnerBuilds(id, codes), nobody),
    definitions: () => ask(() => definitions()),
    newestDefinition: (workflow) => ask(() => newestDefinition(workflow)),
    writeDefinitions: (list) => ahead.write(() => writeDefinitions(list, now(), dialect), nobody),
    definition: (code) => ask(() => definitionOf(code)),
    execution: (id) => ask(() => executions.execution(id)),
    ended: (ids) => ask(() => executions.endedOf(ids, dialect)),
    tasks: (id) => ask(() => executions.tasksOf(id)),
    outputs: (id) => ask(() => executions.outputsOf(id)),
    step: (id, task, item, name) => ask(() => executions.stepOf(id, task, item, name)),
    events: (id, after, limit) => ask(() => executions.eventsOf(id, after, limit)),
    list: (filter) => ask(() => executions.listExecutions(filter)),
    logs: (id, task, skip, limit) => ask(() => executions.logsOf(id, task, skip, limit)),
    prune: (before, rows) => write(() => prune(now(), before, rows, dialect), nobody),
    read: (script) => read(() => script(dialect)),
    ask: (script) => ask(() => script(dialect)),
    write: (script) => write(() => script(dialect), all),
    shared: driver.shared,
    changed: () => driver.changed(),
    ...(driver.subscribe === undefined ? {} : { subscribe: driver.subscribe.bind(driver) }),
    close: () => driver.close(),
  };
}

type Transactions = Pick<Driver, 'read' | 'ask' | 'write'>;

function bound(of: Transactions): Transactions {
  return { read: of.read.bind(of), ask: of.ask.bind(of), write: of.write.bind(of) };
}

// what others are told of a change

function nobody(): null {
  return null;
}

function all(): Notice {
  return 'all';
}

function any(): Notice {
  return 'any';
}

function some(count: number): Notice | null {
  return count > 0 ? 'work' : null;
}
