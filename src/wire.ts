import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CloacinaError } from './core/error.ts';
import { checkSchedules } from './core/schedule/schedule-spec.ts';
import type { WorkflowSpec } from './core/definition/spec.ts';
import type { EngineClientOptions } from './engine/client/client.ts';
import { DatabaseClock } from './engine/clock.ts';
import type { Clock } from './engine/clock.ts';
import type { EndedExecution } from './engine/execution/ending.ts';
import { withoutLoss } from './engine/logger.ts';
import { Engine } from './engine/engine.ts';
import { resolveWorkflow } from './engine/client/start.ts';
import type { ResolvedWorkflow } from './engine/client/start.ts';
import { Watch } from './engine/client/watch.ts';
import { Workflows } from './engine/client/workflows.ts';
import type { WorkflowEntry } from './engine/client/workflows.ts';
import type { ClientSettings, RunnerSettings } from './options.ts';
import { Reconciler } from './package/load/reconciler.ts';
import { Registry } from './package/registry/registry.ts';
import { openStorage } from './package/storage/open.ts';
import type { PackageStorage } from './package/storage/storage.ts';
import { ScheduleLoop } from './schedule/loop.ts';
import { upsertDeclared, upsertPackageSchedules } from './schedule/declared.ts';
import { embeddedOwner } from './schedule/owner.ts';
import { Schedules } from './schedule/schedules.ts';
import { workflowsOf } from './store/registry/versions.ts';
import type { ExecutionRecord, Renewal, Store } from './store/store.ts';

/** What a client is made of. */
export interface Parts {
  readonly client: EngineClientOptions;
  readonly workflows: Workflows;
  readonly registry: Registry;
  readonly schedules: Schedules;
}

/** What in a runner moves. */
export interface Running {
  readonly parts: Parts;
  readonly engine: Engine;
  readonly reconciler: Reconciler | null;
  readonly loop: ScheduleLoop | null;
}

/** Where notices come, and each renewal of the lease says what is new and due: whoever looks all the same does so seldom. */
const toldMs = 600_000;

/** Puts a client together. `onChange` is called when this process changed what runners should see at once. */
export function wire(
  store: Store,
  settings: ClientSettings,
  engine: Engine | null,
  watch: Watch,
  onChange: () => void,
): Parts {
  const { clock, tenant, maxPayload, actor, logger } = settings;
  const storage = settings.registry === null ? absentStorage : openStorage(settings.registry);
  const onActivate = upsertPackageSchedules;
  const onDamaged = (error: CloacinaError): void => logger.warn({ error }, 'a damaged row of the database is left out');
  const now = (): number => clock.now();
  const registry = new Registry({ store, storage, tenant, now, actor, onActivate, onChange, onDamaged });
  const workflows = new Workflows(() => allWorkflows(store, registry));
  const packaged = (name: string): Promise<readonly ResolvedWorkflow[]> => resolvePackaged(registry, name);
  const names = (): Promise<readonly string[]> => workflows.names();
  const specOf = (record: ExecutionRecord): Promise<WorkflowSpec | undefined> => definitionOf(store, record);
  const client = { store, clock, tenant, maxPayload, packaged, names, specOf, engine, watch };
  const resolve = (name: string): Promise<ResolvedWorkflow> => resolveWorkflow(client, name);
  const schedules = new Schedules({ store, tenant, clock, maxPayload, resolve, onChange, onDamaged });
  return { client, workflows, registry, schedules };
}

/** Starts all that a runner runs. What was started is stopped again where a later part does not start. */
export async function run(store: Store, given: RunnerSettings): Promise<Running> {
  const settings = { ...given, logger: withoutLoss(given.logger) };
  const watch = new Watch(store, settings.clock, false);
  const wakers: (() => void)[] = [];
  const wake = (): void => wakers.forEach((waken) => waken());
  let loop: ScheduleLoop | null = null;
  const onEnded = (id: string, ended: EndedExecution): void => {
    watch.ended(id, ended);
    loop?.executionEnded();
  };
  const look = (): Promise<void> => watch.lookAtAll();
  const news = newsOf(settings.clock, wake, () => loop?.wake());
  const clients = new TenantClients(store, settings, watch);
  const engine = await openEngine(store, settings, {
    onEnded,
    wake,
    look,
    committed: () => watch.changed(),
    renewed: (renewal) => {
      news(renewal);
      void look(); // a notice may have been lost: whoever waits is looked at now and then all the same
    },
    resolve: clients.resolve,
  });
  clients.engine = engine;
  void store.lost?.then((error) => engine.fail(error));
  try {
    const parts = wire(store, settings, engine, watch, wake);
    await writeEmbedded(store, settings);
    await engine.embed(settings.embedded);
    const reconciler =
      settings.registry === null ? null : openReconciler(store, settings, settings.registry, engine, wake);
    if (reconciler !== null) wakers.push(() => reconciler.wake());
    loop = settings.schedules && !settings.ownOnly ? openLoop(store, settings, engine, clients, watch) : null;
    if (loop !== null) {
      wakers.push(() => loop?.wake());
      loop.wake();
    }
    const running = { parts, engine, reconciler, loop };
    void store.lost?.then((error) => stopped(running, given, error));
    return running;
  } catch (error) {
    await engine.close(0);
    throw error;
  }
}

/** The database was taken away from under a runner: what is beside its engine stops too, for good. It is said once. */
function stopped({ reconciler, loop }: Running, { logger, onStopped }: RunnerSettings, error: Error): void {
  logger.error(
    { error },
    'the runner has stopped, since its database was taken away; it does not begin again by itself',
  );
  void Promise.allSettled([loop?.close(), reconciler?.close()]);
  void Promise.resolve(error)
    .then(onStopped)
    .catch((thrown: unknown) => logger.error({ error: thrown }, 'the hook onStopped threw an error'));
}

/** What each renewal of the lease says beside what the engine looks at: whose clock counts, and what is new or due. */
function newsOf(clock: Clock, wake: () => void, fire: () => void): (renewal: Renewal) => void {
  let seen: number | undefined;
  return ({ clockAheadMs, registry, nextSlot }) => {
    if (clock instanceof DatabaseClock && clockAheadMs !== null) clock.isAhead(clockAheadMs);
    if (seen !== undefined && registry !== seen) wake();
    seen = registry;
    if (nextSlot !== null && nextSlot <= clock.now()) fire();
  };
}

/** Embedded definitions and their schedules, for whoever looks at the database. */
async function writeEmbedded(
  store: Store,
  { embedded, clock, tenant, ownOnly, logger }: RunnerSettings,
): Promise<void> {
  if (embedded.length === 0 || ownOnly) return;
  const specs = embedded.map(({ graph }) => graph.spec);
  checkSchedules(specs);
  await store.writeDefinitions(
    embedded.map(({ graph, buildId }) => ({ workflow: graph.spec.name, buildId, spec: graph.spec })),
  );
  const rewritten = await store.write((dialect) => upsertDeclared(tenant, embeddedOwner, specs, clock.now(), dialect));
  for (const schedule of rewritten) {
    logger.warn({ schedule, tenant }, 'the row of a schedule was damaged, and was written anew from its definition');
  }
}

function openReconciler(
  store: Store,
  settings: RunnerSettings,
  url: string,
  engine: Engine,
  wake: () => void,
): Reconciler {
  const { clock, logger, envGrants, isolateStallMs, onPackage } = settings;
  const storage = openStorage(url);
  const reconciler = new Reconciler({
    store,
    storage,
    // beside the packages, and as trusted as they are
    workDir: join(fileURLToPath(storage.url), 'unpacked'),
    clock,
    logger,
    envGrants,
    isolateStallMs,
    ...(store.subscribe === undefined ? {} : { lookMs: toldMs }),
    tenants: null,
    runnerId: () => engine.id,
    add: (workflows) => engine.catalog.add(workflows),
    remove: (digest) => engine.catalog.remove(digest),
    inUse: (digest) => engine.runs(digest),
    wants: ({ digest }) => engine.wants(digest),
    onActivate: upsertPackageSchedules,
    onChange: wake,
    onEvent: onPackage,
  });
  reconciler.wake();
  return reconciler;
}

/** What names mean to each tenant: its workflows are looked up among its own packages. */
class TenantClients {
  readonly #store: Store;
  readonly #settings: RunnerSettings;
  readonly #watch: Watch;
  readonly #clients = new Map<string, EngineClientOptions>();
  engine: Engine | null = null;

  constructor(store: Store, settings: RunnerSettings, watch: Watch) {
    this.#store = store;
    this.#settings = settings;
    this.#watch = watch;
  }

  readonly resolve = (tenant: string, workflow: string): Promise<ResolvedWorkflow> => {
    const settings = { ...this.#settings, registry: null, tenant };
    const client =
      this.#clients.get(tenant) ?? wire(this.#store, settings, this.engine, this.#watch, () => undefined).client;
    this.#clients.set(tenant, client);
    return resolveWorkflow(client, workflow);
  };
}

/** Fires the schedules of all tenants. */
function openLoop(
  store: Store,
  settings: RunnerSettings,
  engine: Engine,
  clients: TenantClients,
  watch: Watch,
): ScheduleLoop {
  const { clock, logger, maxPayload } = settings;
  const { resolve } = clients;
  const notify = (): void => {
    engine.notify();
    // a schedule may have cancelled what nobody owned, on this process's own connection
    void watch.lookAtAll();
  };
  const told = store.subscribe === undefined ? {} : { sleepMs: toldMs };
  return new ScheduleLoop({ store, clock, logger, maxPayload, tenants: null, resolve, notify, ...told });
}

interface Told {
  readonly onEnded: (id: string, ended: EndedExecution) => void;
  /** The registry or the schedules may have changed. */
  readonly wake: () => void;
  /** Looks at what is waited for. */
  readonly look: () => Promise<void>;
  readonly committed: () => void;
  readonly renewed: (renewal: Renewal) => void;
  readonly resolve: (tenant: string, workflow: string) => Promise<ResolvedWorkflow>;
}

async function openEngine(store: Store, settings: RunnerSettings, told: Told): Promise<Engine> {
  const { onEnded, wake, look, resolve } = told;
  const { clock, logger, name, concurrency, queues, maxExecutions, leaseMs, stallMs, graceMs, maxPayload, ownOnly } =
    settings;
  return Engine.open({
    store,
    clock,
    logger,
    name,
    concurrency,
    queues,
    maxExecutions,
    leaseMs,
    stallMs,
    graceMs,
    maxPayload,
    ownOnly,
    random: Math.random,
    retentionMs: settings.retentionMs,
    resolve,
    onCommitted: told.committed,
    onRenewed: told.renewed,
    keepsFromThread: clock instanceof DatabaseClock,
    onEvent: settings.onEvent,
    onProgress: settings.onProgress,
    onEnded,
    onChanged: (beyond) => {
      if (beyond) wake();
      void look();
    },
    onBuildWanted: wake,
  });
}

/** The definition that an execution was started with: of its package version, or as some runner embedded it. */
async function definitionOf(
  store: Store,
  { pin, buildId, workflow }: ExecutionRecord,
): Promise<WorkflowSpec | undefined> {
  if (pin === null) return store.definition(buildId);
  const workflows = await store.read(() => workflowsOf(pin.digest));
  return workflows.find(({ name }) => name === workflow);
}

async function resolvePackaged(registry: Registry, name: string): Promise<readonly ResolvedWorkflow[]> {
  const found = await registry.resolve(name);
  if (found === undefined) return [];
  return [{ spec: found.spec, buildId: found.pin.digest, pin: found.pin, code: null }];
}

async function allWorkflows(store: Store, registry: Registry): Promise<readonly WorkflowEntry[]> {
  const embedded = (await store.definitions()).map(({ workflow: name, spec }) => ({
    name,
    package: null,
    version: null,
    spec,
  }));
  const packaged = await registry.workflows();
  return [
    ...embedded,
    ...packaged.map(({ name, package: from, version, spec }) => ({ name, package: from, version, spec })),
  ];
}

function absent(): Promise<never> {
  return Promise.reject(
    new CloacinaError(
      'REGISTRY_ABSENT',
      "this was opened without a registry; give the option registry, such as 'file:./packages'",
    ),
  );
}

/** Stands where no storage was given: packages can be looked up and started, but no bytes read or written. */
const absentStorage: PackageStorage = {
  url: 'none',
  put: absent,
  get: absent,
  has: absent,
  delete: absent,
  // oxlint-disable-next-line require-yield -- it lists nothing because it cannot be read
  async *list() {
    await absent();
  },
};
