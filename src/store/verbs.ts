import * as claims from './claim/claim-executions.ts';
import { claimable } from './claim/candidates.ts';
import type { ClaimTx } from './claim/claim.ts';
import { Turns } from './claim/turns.ts';
import { load } from './claim/hydrate.ts';
import { executionsOnRetiredBuilds, holdChanged, moveToBuild } from './claim/retired-builds.ts';
import { taskEndOutcome } from './commit/task-end.ts';
import { createExecutions } from './executions/create.ts';
import * as commands from './executions/commands.ts';
import * as definitions from './executions/definitions.ts';
import * as executions from './executions/executions.ts';
import { inboxOf, sendSignal } from './executions/inbox.ts';
import { prune } from './executions/retention.ts';
import { pruneSlots } from './schedules/slot-retention.ts';
import { renew } from './runners/renewal.ts';
import * as runners from './runners/runners.ts';
import type { Driver, Notice, Script } from './script.ts';
import { writeHelped } from './sharing/helped.ts';
import * as offers from './sharing/offers.ts';
import type { Claims, Commits, Definitions, Inbox, Reads, Retention, Runners, Sharing } from './store.ts';

/** One verb of the store. Its arguments and its result are plain data, so that it can run in another thread by its name. */
export interface Verb<Args extends readonly unknown[], T> {
  readonly does: 'reads' | 'writes';
  /** True for the engine's own verbs: they run ahead of calls that wait for a connection. */
  readonly ahead: boolean;
  run(on: Runs, ...args: Args): Promise<T>;
}

type VerbScript<Args extends readonly unknown[], T> = (tx: ClaimTx, ...args: Args) => Script<T>;

/** The three ways to run a script, as a driver has them, with the transaction that each run begins. */
export interface Runs {
  ask<T>(script: (tx: ClaimTx) => Script<T>): Promise<T>;
  read<T>(script: (tx: ClaimTx) => Script<T>): Promise<T>;
  write<T>(script: (tx: ClaimTx) => Script<T>, notice?: (result: T) => Notice | null): Promise<T>;
}

/** Reads by one statement. */
function asks<Args extends readonly unknown[], T>(script: VerbScript<Args, T>): Verb<Args, T> {
  return { does: 'reads', ahead: false, run: (on, ...args) => on.ask((tx) => script(tx, ...args)) };
}

/** Reads by several statements, on one snapshot. */
function reads<Args extends readonly unknown[], T>(script: VerbScript<Args, T>): Verb<Args, T> {
  return { does: 'reads', ahead: false, run: (on, ...args) => on.read((tx) => script(tx, ...args)) };
}

/** Writes; other connections get a notice, by default that there may be work for them. */
function writes<Args extends readonly unknown[], T>(
  script: VerbScript<Args, T>,
  notice?: (result: T) => Notice | null,
): Verb<Args, T> {
  return { does: 'writes', ahead: false, run: (on, ...args) => on.write((tx) => script(tx, ...args), notice) };
}

function ahead<Args extends readonly unknown[], T>(verb: Verb<Args, T>): Verb<Args, T> {
  return { ...verb, ahead: true };
}

/** A script that needs nothing of its transaction. */
function plain<Args extends readonly unknown[], T>(script: (...args: Args) => Script<T>): VerbScript<Args, T> {
  return (_tx, ...args) => script(...args);
}

// The notice that a change sends.

/** No connection waits for this change. */
const unnoticed = (): null => null;
/** Only viewers have something new to see. */
const seen = (): Notice => 'any';
/** There is work, also for runners that have not loaded its version yet. */
const everything = (): Notice => 'all';
/** There is work, if any row was changed. */
const workIfAny = (count: number): Notice | null => (count > 0 ? 'work' : null);

/** Executions woken by one statement at most, so that the writer is not held long. */
const wakeLimit = 1000;

/** The capabilities that are scripts, without the members that each database has in its own way. */
export type Scripted = Pick<Commits, 'createExecutions' | 'taskEndOutcome'> &
  Claims &
  Inbox &
  Sharing &
  Omit<Runners, 'keepLease' | 'readClock'> &
  Definitions &
  Reads &
  Retention;

type Table<Capability> = {
  readonly [Name in keyof Capability]: Capability[Name] extends (...args: infer Args) => Promise<infer T>
    ? Verb<Args, T>
    : never;
};

const claimVerbs: Table<Claims> = {
  claim: { does: 'writes', ahead: true, run: claimAndLoad },
  claimable: ahead(asks(claimable)),
  wake: ahead(writes((tx, at) => claims.wakeExecutions(tx, at, wakeLimit), workIfAny)),
  nextWake: ahead(asks(plain(claims.nextWake))),
  ownedBy: ahead(asks(plain(claims.ownedBy))),
  releaseExecution: ahead(writes(plain(claims.releaseExecution))),
  releaseOrphans: ahead(writes(claims.releaseOrphans, workIfAny)),
  executionsOnRetiredBuilds: ahead(reads(executionsOnRetiredBuilds)),
  moveToBuild: ahead(writes(moveToBuild, workIfAny)),
  holdChanged: ahead(writes(holdChanged, seen)),
};

async function claimAndLoad(on: Runs, claim: Parameters<Claims['claim']>[0]): ReturnType<Claims['claim']> {
  const { loaded, suspect } = await on.write((tx) => claims.claimExecutions(tx, claim), seen);
  if (suspect === null) return loaded;
  // the mark of a load is durable now: if this load kills the process, the next runner knows the cause
  return [...loaded, ...(await on.read((tx) => load(tx, [suspect])))];
}

const inboxVerbs: Table<Inbox> = {
  cancel: writes(commands.cancelExecution),
  pause: writes(commands.pauseExecution),
  resume: writes(commands.resumeExecution),
  signal: writes(sendSignal),
  retry: writes(commands.retryExecution, everything),
  fork: writes(commands.forkExecution, everything),
  hasMessages: ahead(asks(plain(runners.hasMessages))),
  inboxOf: ahead(asks(plain(inboxOf))),
};

const sharingVerbs: Table<Sharing> = {
  helpWanted: ahead(asks(offers.helpWanted)),
  takeOffers: ahead(writes(offers.takeOffers, workIfAny)),
  takenOffers: ahead(asks(plain(offers.takenOffers))),
  helpFor: ahead(reads(offers.helpFor)),
  writeHelped: ahead(writes(writeHelped)),
  openOffers: asks(plain(offers.openOffers)),
};

const runnerVerbs: Table<Omit<Runners, 'keepLease' | 'readClock'>> = {
  registerRunner: ahead(writes(runners.registerRunner, seen)),
  renew: ahead(writes(renew, unnoticed)),
  runners: ahead(asks(plain(runners.runners))),
  markDead: ahead(writes(runners.markDead, unnoticed)),
  removeRunner: ahead(writes(plain(runners.removeRunner), seen)),
};

const definitionVerbs: Table<Definitions> = {
  definitions: asks(plain(definitions.definitions)),
  newestDefinition: asks(plain(definitions.newestDefinition)),
  writeDefinitions: ahead(writes(definitions.writeDefinitions, unnoticed)),
  definition: asks(plain(definitions.definitionOf)),
};

const readVerbs: Table<Reads & Retention> = {
  execution: asks(plain(executions.execution)),
  ended: asks(executions.endedOf),
  known: asks(executions.knownOf),
  openDescendants: ahead(asks(plain(executions.openDescendants))),
  tasks: asks(plain(executions.tasksOf)),
  outputs: asks(plain(executions.outputsOf)),
  step: asks(plain(executions.stepOf)),
  events: asks(plain(executions.eventsOf)),
  list: asks(plain(executions.listExecutions)),
  logs: asks(plain(executions.logsOf)),
  logPage: asks(plain(executions.logPageOf)),
  prune: writes(prune, unnoticed),
  pruneSlots: writes(pruneSlots, unnoticed),
  newestId: asks(plain(executions.newestId)),
};

/** Every verb that is a script, by its name. */
export const verbs: Table<Scripted> = {
  createExecutions: writes(createExecutions),
  // a read, in a transaction that waits for the lost one to end
  taskEndOutcome: { ...writes(plain(taskEndOutcome), unnoticed), does: 'reads' },
  ...claimVerbs,
  ...inboxVerbs,
  ...sharingVerbs,
  ...runnerVerbs,
  ...definitionVerbs,
  ...readVerbs,
};

/** The verbs on a driver; `now` is the clock of its transactions, epoch ms. */
export function verbsOn(driver: Driver, now: () => number): Scripted & { readonly runs: Runs } {
  const cursor = { free: new Map<string, string>(), limited: new Map<string, string>(), turns: new Turns() };
  const begin = (): ClaimTx => ({ dialect: driver.dialect, now: now(), cursor });
  const runsOn = (part: Pick<Driver, 'ask' | 'read' | 'write'>): Runs => ({
    ask: (script) => part.ask(() => script(begin())),
    read: (script) => part.read(() => script(begin())),
    write: (script, notice) => part.write(() => script(begin()), notice),
  });
  const [runs, first] = [runsOn(driver), runsOn(driver.ahead ?? driver)];
  const call = (verb: Verb<readonly unknown[], unknown>) => {
    return (...args: readonly unknown[]): Promise<unknown> => verb.run(verb.ahead ? first : runs, ...args);
  };
  const calls = Object.entries<Verb<readonly never[], unknown>>(verbs).map(([name, verb]) => [name, call(verb)]);
  return { ...(Object.fromEntries(calls) as Scripted), runs };
}
