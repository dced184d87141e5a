import { hostname } from 'node:os';
import type { AnyWorkflow } from './core/definition/definition.ts';
import { defaultDatabase } from './core/default-places.ts';
import { durationMs } from './core/duration.ts';
import type { Duration } from './core/duration.ts';
import { DefinitionInvalidError, OptionInvalidError } from './core/error.ts';
import { defaultQueue } from './core/definition/graph.ts';
import { defaultMaxPayload } from './core/json.ts';
import { anything, callable, flag, list, optionFault, queueName, record, shown, text } from './core/option-check.ts';
import type { Kind, Kinds } from './core/option-check.ts';
import { checkText } from './core/text.ts';
import { functionsOf, isWorkflow } from './core/definition/workflow.ts';
import type { LoadedWorkflow } from './engine/catalog.ts';
import { systemClock } from './engine/clock.ts';
import type { Clock } from './engine/clock.ts';
import { stderrLogger, steadyLogger } from './engine/logger.ts';
import type { Logger } from './engine/logger.ts';
import type { RunnerEvent, TaskProgress } from './engine/hooks.ts';
import { loadEmbedded } from './engine/client/start.ts';
import { envGrant } from './package/load/grants.ts';
import type { Grants } from './package/load/grants.ts';
import type { PackageEvent } from './package/load/reconciler.ts';

/** Options of `Client.open`. */
export interface ClientOptions {
  /** Location of package files, `file:./packages`; without it packages can be started, but not published. */
  readonly registry?: string;
  /** The tenant to act as; default `default`. */
  readonly tenant?: string;
  /** Maximum size of an input, an output or a step as JSON, bytes; default 1 MiB. */
  readonly maxPayload?: number;
  /** Default: warnings and errors on stderr. */
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** The name recorded in the registry log; default the host name. */
  readonly actor?: string;
}

/** Options of `Runner.open`. */
export interface RunnerOptions extends ClientOptions {
  /** Embedded workflows; with `registry` those of packages are loaded too. */
  readonly workflows?: readonly AnyWorkflow[];
  /** The displayed name of the runner; default the host name. */
  readonly name?: string;
  /** Maximum number of task functions that run at once; default 64. */
  readonly concurrency?: number;
  /** The queues whose tasks run here; default `['default']`. Tasks of other queues go to runners that serve them. */
  readonly queues?: readonly string[];
  /** Maximum number of executions owned at once; default 1,000. Further ones stay pending, for any runner. */
  readonly maxExecutions?: number;
  /** Maximum number of levels of children below a root execution; default 32. Beyond it a child task fails (TOO_MANY_CHILDREN). */
  readonly maxChildDepth?: number;
  /** Maximum number of open descendants of one root execution; default 10,000. Beyond it a child task fails (TOO_MANY_CHILDREN). */
  readonly maxOpenChildren?: number;
  /** Silence after which other runners declare this one dead and take over its executions; default 15s. */
  readonly lease?: Duration;
  /** Time for which a runner keeps its executions while its event loop is blocked; default 2m. */
  readonly stall?: Duration;
  /** Time that a task may continue after its signal aborted; default 5s. */
  readonly grace?: Duration;
  /**
   * Permissions for packages that ask for them, `{ env: ['STRIPE_KEY', 'SHOP_*'], net: true }`; default none. A version that asks
   * for more is not loaded here (PERMISSION_NOT_GRANTED). Embedded workflows see the whole environment in any case.
   */
  readonly grants?: Grants;
  /** Silence after which an isolate is ended; default 30s. */
  readonly isolateStall?: Duration;
  /** Time that ended executions are kept if their workflow sets none; null: forever. Default 30d. */
  readonly retention?: Duration | null;
  /** If true, this runner fires due schedules; default true. */
  readonly schedules?: boolean;
  /** If true, this runner executes only executions that it started itself, and their children; default false. */
  readonly ownOnly?: boolean;
  /** Called for every durable event of the executions of this runner. */
  readonly onEvent?: (event: RunnerEvent) => void;
  readonly onProgress?: (progress: TaskProgress) => void;
  /** Called when a package version was loaded, failed to load, or was unloaded. */
  readonly onPackage?: (event: PackageEvent) => void;
  /**
   * Called once if the runner stopped by itself for good: DATABASE_REPLACED, DATABASE_FLUSH_FAILED. From then on every call of it throws that
   * error, and it does not keep the process alive; end the process, or close the runner.
   */
  readonly onStopped?: (error: Error) => void;
}

/** Returns `CLOACINA_DATABASE`, or the default if it is unset or empty. */
export function databaseUrl(): string {
  const url = process.env['CLOACINA_DATABASE'];
  return url === undefined || url === '' ? defaultDatabase : url;
}

/** Options of a client with defaults filled in. */
export interface ClientSettings {
  readonly registry: string | null;
  readonly tenant: string;
  readonly maxPayload: number;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly actor: string;
}

const clientKinds: Kinds<ClientOptions> = {
  registry: text,
  tenant: anything,
  maxPayload: anything,
  logger: record,
  clock: record,
  actor: anything,
};

const runnerKinds: Kinds<RunnerOptions> = {
  ...clientKinds,
  workflows: list,
  name: text,
  concurrency: anything,
  queues: list,
  maxExecutions: anything,
  maxChildDepth: anything,
  maxOpenChildren: anything,
  lease: anything,
  stall: anything,
  grace: anything,
  grants: record,
  isolateStall: anything,
  retention: anything,
  schedules: flag,
  ownOnly: flag,
  onEvent: callable,
  onProgress: callable,
  onPackage: callable,
  onStopped: callable,
};

/** Checks the options of a client. Throws OPTION_INVALID. */
export function clientSettings(options: ClientOptions): ClientSettings {
  return settingsOf(options, clientKinds);
}

function settingsOf(options: ClientOptions, kinds: Readonly<Record<string, Kind>>): ClientSettings {
  const fault = optionFault(options, kinds);
  if (fault !== null) throw new OptionInvalidError(fault.option, fault.message);
  const { tenant = 'default', actor = hostname() } = options;
  checkText('tenant', tenant);
  checkText('actor', actor);
  return {
    registry: options.registry ?? null,
    tenant,
    maxPayload: count('maxPayload', options.maxPayload ?? defaultMaxPayload),
    logger: steadyLogger(options.logger ?? stderrLogger),
    clock: options.clock ?? systemClock,
    actor,
  };
}

/** Checked options of a runner with defaults filled in; durations in ms. */
export interface RunnerSettings extends ClientSettings {
  readonly embedded: readonly LoadedWorkflow[];
  readonly name: string;
  readonly concurrency: number;
  readonly queues: readonly string[];
  readonly maxExecutions: number;
  readonly maxChildDepth: number;
  readonly maxOpenChildren: number;
  readonly leaseMs: number;
  readonly stallMs: number;
  readonly graceMs: number;
  readonly grants: Required<Grants>;
  readonly isolateStallMs: number;
  readonly retentionMs: number | null;
  readonly schedules: boolean;
  readonly ownOnly: boolean;
  readonly onEvent: ((event: RunnerEvent) => void) | null;
  readonly onProgress: (progress: TaskProgress) => void;
  readonly onPackage: (event: PackageEvent) => void;
  readonly onStopped: (error: Error) => void;
}

/** Checks the options of a runner. Throws OPTION_INVALID, DEFINITION_INVALID. */
export function runnerSettings(options: RunnerOptions): RunnerSettings {
  return {
    ...settingsOf(options, runnerKinds),
    embedded: embeddedWorkflows(options.workflows ?? []),
    name: runnerName(options.name),
    concurrency: count('concurrency', options.concurrency ?? 64),
    queues: queueNames(options.queues ?? [defaultQueue]),
    maxExecutions: count('maxExecutions', options.maxExecutions ?? 1000),
    maxChildDepth: count('maxChildDepth', options.maxChildDepth ?? 32),
    maxOpenChildren: count('maxOpenChildren', options.maxOpenChildren ?? 10_000),
    leaseMs: atLeast('lease', options.lease ?? '15s', 1000),
    stallMs: atLeast('stall', options.stall ?? '2m', 1000),
    graceMs: atLeast('grace', options.grace ?? '5s', 0),
    grants: checkedGrants(options.grants ?? {}),
    isolateStallMs: atLeast('isolateStall', options.isolateStall ?? '30s', 100),
    retentionMs: options.retention === null ? null : atLeast('retention', options.retention ?? '30d', 0),
    schedules: options.schedules ?? true,
    ownOnly: options.ownOnly ?? false,
    onEvent: options.onEvent ?? null,
    onProgress: options.onProgress ?? ((): void => undefined),
    onPackage: options.onPackage ?? ((): void => undefined),
    onStopped: options.onStopped ?? ((): void => undefined),
  };
}

function embeddedWorkflows(workflows: readonly AnyWorkflow[]): LoadedWorkflow[] {
  const byName = new Map<string, AnyWorkflow>();
  for (const workflow of workflows) {
    if (!isWorkflow(workflow)) throw new OptionInvalidError('workflows', `${shown(workflow)} is not a workflow`);
    const other = byName.get(workflow.name);
    if (other !== undefined && other !== workflow) {
      throw new DefinitionInvalidError(workflow.name, 'one runner was given two workflows with this name');
    }
    byName.set(workflow.name, workflow);
  }
  // child workflows passed as objects are included
  for (const workflow of byName.values()) {
    for (const child of functionsOf(workflow).children.values()) {
      const other = byName.get(child.name);
      if (other === undefined) byName.set(child.name, child);
      else if (other !== child) {
        throw new DefinitionInvalidError(
          workflow.name,
          `its child '${child.name}' is not the workflow of that name that the runner has`,
        );
      }
    }
  }
  return Array.from(byName.values(), loadEmbedded);
}

const grantKinds: Kinds<Grants> = { env: list, net: flag };

function checkedGrants(grants: Grants): Required<Grants> {
  const fault = optionFault(grants, grantKinds);
  if (fault !== null) throw new OptionInvalidError(`grants.${fault.option}`, fault.message);
  const { env = [], net = false } = grants;
  for (const name of env) {
    if (!envGrant.fits(name)) throw new OptionInvalidError('grants.env', `${shown(name)} is not ${envGrant.what}`);
  }
  return { env: [...env], net };
}

function runnerName(name: string = hostname()): string {
  checkText('name', name);
  return name;
}

function queueNames(queues: readonly string[]): readonly string[] {
  if (queues.length === 0) {
    throw new OptionInvalidError('queues', `a runner needs at least one queue, such as '${defaultQueue}'`);
  }
  for (const queue of queues) {
    if (!queueName.fits(queue)) throw new OptionInvalidError('queues', `${shown(queue)} is not ${queueName.what}`);
  }
  return [...new Set(queues)];
}

function count(option: string, value: number): number {
  if (!Number.isInteger(value) || value < 1)
    throw new OptionInvalidError(option, `${value} is not a whole number of at least 1`);
  return value;
}

function atLeast(option: string, value: Duration, leastMs: number): number {
  const ms = durationMs(value, option);
  if (ms < leastMs) throw new OptionInvalidError(option, `${ms} ms is less than ${leastMs} ms`);
  return ms;
}
