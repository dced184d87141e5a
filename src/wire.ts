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
import type { EngineOptions } from './engine/engine-options.ts';
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
import { upsertOwned, upsertPackageSchedules } from './schedule/declared.ts';
import { embeddedOwner } from './schedule/owner.ts';
import { Schedules } from './schedule/schedules.ts';
import { workflowsOf } from './store/registry/versions.ts';
import type { ExecutionRecord, Renewal, Store } from './store/store.ts';

/** The parts of a client. */
export interface Parts {
  readonly client: EngineClientOptions;
  readonly workflows: Workflows;
  readonly registry: Registry;
  readonly schedules: Schedules;
}

/** The parts of a runner that run by themselves. */
export interface Running {
  readonly parts: Parts;
  readonly engine: Engine;
  readonly reconciler: Reconciler | null;
  readonly loop: ScheduleLoop | null;
}

/** The safety net on a database that sends notices, where each renewal of the lease also reports what is new and due. */
const noticedPollMs = 600_000;

/** Puts a client together. `onChange` is called when this process changed something that its runner should see at once. */
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
  const onDamaged = (error: CloacinaError): void => logger.warn({ error }, 'a damaged row of the database is skipped');
  const registry = new Registry({ store, storage, tenant, actor, onActivate, onChange, onDamaged });
  const workflows = new Workflows(() => allWorkflows(store, registry));
  const packaged = (name: string): Promise<readonly ResolvedWorkflow[]> => resolvePackaged(registry, name);
  const names = (): Promise<readonly string[]> => workflows.names();
  const specOf = (record: ExecutionRecord): Promise<WorkflowSpec | undefined> => definitionOf(store, record);
  const client = { store, clock, tenant, maxPayload, packaged, names, specOf, engine, watch };
  const resolve = (name: string): Promise<ResolvedWorkflow> => resolveWorkflow(client, name);
  const schedules = new Schedules({ store, tenant, clock, maxPayload, resolve, onChange, onDamaged });
  return { client, workflows, registry, schedules };
}

/** Starts all parts of a runner. If a later part does not start, the earlier ones are stopped. */
export async function run(store: Store, given: RunnerSettings): Promise<Running> {
  const settings = { ...given, logger: withoutLoss(given.logger) };
  const watch = new Watch(store, settings.clock, false);
  let reconciler: Reconciler | null = null;
  let loop: ScheduleLoop | null = null;
  const notify = (): void => {
    reconciler?.notify();
    loop?.notify();
  };
  const onEnded = (id: string, ended: EndedExecution): void => {
    watch.ended(id, ended);
    loop?.executionEnded();
  };
  const isNew = renewalReader(settings.clock);
  const clients = new TenantClients(store, settings, watch);
  const engine = await openEngine(store, settings, {
    onEnded,
    onChanged: (beyond) => {
      if (beyond) notify();
      watch.notify();
    },
    onCommitted: () => watch.changed(),
    onRenewed: (renewal) => {
      const { registry, slots } = isNew(renewal);
      if (registry) reconciler?.catchUp();
      if (registry || slots) loop?.catchUp();
      watch.catchUp();
    },
    onBuildWanted: notify,
    resolve: clients.resolve,
  });
  clients.engine = engine;
  void store.lost?.then((error) => engine.fail(error));
  try {
    const parts = wire(store, settings, engine, watch, notify);
    await writeEmbedded(store, settings);
    await engine.embed(settings.embedded);
    if (settings.registry !== null) reconciler = openReconciler(store, settings, settings.registry, engine, notify);
    if (settings.schedules && !settings.ownOnly) loop = openLoop(store, settings, engine, clients, watch);
    const running = { parts, engine, reconciler, loop };
    void store.lost?.then((error) => stopped(running, given, error));
    return running;
  } catch (error) {
    await engine.close(0);
    throw error;
  }
}

/** The database of a runner was taken away: the parts beside its engine stop too, for good. */
function stopped({ reconciler, loop }: Running, { logger, onStopped }: RunnerSettings, error: Error): void {
  logger.error(
    { error },
    'the runner stopped because its database was deleted, moved or replaced; it does not restart on its own',
  );
  void Promise.allSettled([loop?.close(), reconciler?.close()]);
  void Promise.resolve(error)
    .then(onStopped)
    .catch((thrown: unknown) => logger.error({ error: thrown }, 'the hook onStopped threw an error'));
}

/** Sets the clock right by each renewal of the lease, and returns which parts beside the engine have something to do. */
function renewalReader(clock: Clock): (renewal: Renewal) => { readonly registry: boolean; readonly slots: boolean } {
  let seen: number | undefined;
  return ({ clockAheadMs, registry, nextSlot }) => {
    if (clock instanceof DatabaseClock && clockAheadMs !== null) clock.isAhead(clockAheadMs);
    const isNew = seen !== undefined && registry !== seen;
    seen = registry;
    return { registry: isNew, slots: nextSlot !== null && nextSlot <= clock.now() };
  };
}

/** Writes embedded definitions and their schedules, for clients and runners in other processes. */
async function writeEmbedded(store: Store, { embedded, tenant, ownOnly, logger }: RunnerSettings): Promise<void> {
  if (embedded.length === 0 || ownOnly) return;
  const specs = embedded.map(({ graph }) => graph.spec);
  checkSchedules(specs);
  await store.writeDefinitions(
    embedded.map(({ graph, buildId }) => ({ workflow: graph.spec.name, buildId, spec: graph.spec })),
  );
  const rewritten = await store.write((tx) => upsertOwned(tx, tenant, embeddedOwner, specs));
  for (const schedule of rewritten) {
    logger.warn({ schedule, tenant }, 'the damaged row of a schedule was rewritten from its definition');
  }
}

function openReconciler(
  store: Store,
  settings: RunnerSettings,
  url: string,
  engine: Engine,
  onChange: () => void,
): Reconciler {
  const { clock, logger, envGrants, isolateStallMs, onPackage } = settings;
  const storage = openStorage(url);
  return new Reconciler({
    store,
    storage,
    // beside the packages, and as trusted as they are
    workDir: join(fileURLToPath(storage.url), 'unpacked'),
    clock,
    logger,
    envGrants,
    isolateStallMs,
    ...(store.subscribe === undefined ? {} : { pollMs: noticedPollMs }),
    tenants: null,
    runnerId: () => engine.id,
    add: (workflows) => engine.catalog.add(workflows),
    remove: (digest) => engine.catalog.remove(digest),
    inUse: (digest) => engine.runs(digest),
    wants: ({ digest }) => engine.wants(digest),
    onActivate: upsertPackageSchedules,
    onChange,
    onEvent: onPackage,
  });
}

/** Resolves workflow names for each tenant among its own packages. */
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
    // a schedule may have cancelled an execution without an owner, on this process's own connection
    watch.notify();
  };
  const net = store.subscribe === undefined ? {} : { pollMs: noticedPollMs };
  return new ScheduleLoop({ store, clock, logger, maxPayload, tenants: null, resolve, notify, ...net });
}

type EngineCallbacks = Pick<
  EngineOptions,
  'onEnded' | 'onChanged' | 'onCommitted' | 'onRenewed' | 'onBuildWanted' | 'resolve'
>;

async function openEngine(store: Store, settings: RunnerSettings, callbacks: EngineCallbacks): Promise<Engine> {
  const { clock, logger, name, concurrency, queues, maxExecutions, leaseMs, stallMs, graceMs, maxPayload, ownOnly } =
    settings;
  return Engine.open({
    ...callbacks,
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
    keepsFromThread: clock instanceof DatabaseClock,
    onEvent: settings.onEvent,
    onProgress: settings.onProgress,
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
      "this client or runner was opened without a registry; pass the option registry, such as 'file:./packages'",
    ),
  );
}

/** The storage of a process without one: packages can be looked up and started, but no bytes read or written. */
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
