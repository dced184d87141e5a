import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkSchedules } from './core/schedule/schedule-spec.ts';
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
import { runnerSettings } from './options.ts';
import type { RunnerOptions, RunnerSettings } from './options.ts';
import type { Reconciler, ReconcilerOptions } from './package/load/reconciler.ts';
import type { PackageStorage } from './package/storage/storage.ts';
import { ScheduleLoop } from './schedule/loop.ts';
import { upsertOwned, upsertPackageSchedules } from './schedule/declared.ts';
import { embeddedOwner } from './schedule/owner.ts';
import type { Renewal, Store } from './store/store.ts';
import { absentStorage, openDatabase, storageOf, wire } from './wire.ts';
import type { Parts } from './wire.ts';

/** The parts of a runner that run by themselves. */
export interface Running {
  readonly parts: Parts;
  readonly engine: Engine;
  readonly reconciler: Reconciler | null;
  readonly loop: ScheduleLoop | null;
}

/** The safety net on a database that sends notices, where each renewal of the lease also reports what is new and due. */
const noticedPollMs = 600_000;

/** Opens a database and starts a runner on it. Throws the errors of `Runner.open`. */
export async function openRunner(url: string | undefined, options: RunnerOptions): Promise<Running> {
  const given = runnerSettings(options);
  // a silent connection is closed before the lease expires
  const deadlineMs = Math.min(10_000, Math.ceil((given.leaseMs * 2) / 3));
  const { store, settings } = await openDatabase(url, given, { deadlineMs });
  try {
    return await run(store, settings);
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Starts all parts of a runner. If a later part does not start, the earlier ones are stopped. */
export async function run(store: Store, given: RunnerSettings): Promise<Running> {
  const settings = { ...given, logger: withoutLoss(given.logger) };
  const { storage, Reconciler: Loaded } = await packageRooms(settings);
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
    const parts = wire({ store, settings, storage, engine, watch, onChange: notify });
    await writeEmbedded(store, settings);
    await engine.embed(settings.embedded);
    if (Loaded !== null) reconciler = new Loaded(reconcilerOptions(store, settings, storage, engine, notify));
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
    'the runner stopped because its database is lost to this process; it does not restart on its own',
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

/** Opens the storage of packages, and loads the code that runs them if there is a registry. */
async function packageRooms(
  settings: RunnerSettings,
): Promise<{ readonly storage: PackageStorage; readonly Reconciler: typeof Reconciler | null }> {
  const storage = await storageOf(settings);
  return settings.registry === null
    ? { storage, Reconciler: null }
    : { storage, Reconciler: (await import('./package/load/reconciler.ts')).Reconciler };
}

function reconcilerOptions(
  store: Store,
  settings: RunnerSettings,
  storage: PackageStorage,
  engine: Engine,
  onChange: () => void,
): ReconcilerOptions {
  const { clock, logger, grants, isolateStallMs, ownOnly, onPackage } = settings;
  return {
    store,
    storage,
    // beside the packages, and as trusted as they are
    workDir: join(fileURLToPath(storage.url), 'unpacked'),
    clock,
    logger,
    grants,
    // a runner of one command: `package register` has said it
    tellsOfOpenNetwork: !ownOnly,
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
  };
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
    const [store, engine, watch] = [this.#store, this.engine, this.#watch];
    const client = this.#clients.get(tenant) ?? wire({ store, settings, storage: absentStorage, engine, watch }).client;
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
  return Engine.open({
    ...settings,
    ...callbacks,
    store,
    random: Math.random,
    keepsFromThread: settings.clock instanceof DatabaseClock,
  });
}
