import { CloacinaError } from './core/error.ts';
import type { WorkflowSpec } from './core/definition/spec.ts';
import type { EngineClientOptions } from './engine/client/client.ts';
import { DatabaseClock, systemClock } from './engine/clock.ts';
import type { Engine } from './engine/engine.ts';
import { resolveWorkflow } from './engine/client/start.ts';
import type { ResolvedWorkflow } from './engine/client/start.ts';
import { Watch } from './engine/client/watch.ts';
import { Workflows } from './engine/client/workflows.ts';
import type { WorkflowEntry } from './engine/client/workflows.ts';
import { onDemand } from './on-demand.ts';
import type { VerbNames } from './on-demand.ts';
import { clientSettings, databaseUrl } from './options.ts';
import type { ClientOptions, ClientSettings } from './options.ts';
import { Lookup } from './package/registry/lookup.ts';
import type { Registry, RegistryVerbs } from './package/registry/registry.ts';
import type { PackageStorage } from './package/storage/storage.ts';
import type { Schedules, SchedulesVerbs } from './schedule/schedules.ts';
import { openStore } from './store/open.ts';
import type { StoreOptions } from './store/open.ts';
import { workflowsOf } from './store/registry/versions.ts';
import type { ExecutionRecord, Store } from './store/store.ts';

/** The parts of a client. */
export interface Parts {
  readonly client: EngineClientOptions;
  readonly workflows: Workflows;
  readonly registry: RegistryVerbs;
  readonly schedules: SchedulesVerbs;
}

const registryVerbs: VerbNames<Registry> = {
  publish: true,
  activate: true,
  register: true,
  rollback: true,
  yank: true,
  unyank: true,
  unregister: true,
  list: true,
  get: true,
  show: true,
  bytes: true,
  resolve: true,
  workflows: true,
  spec: true,
  events: true,
  serial: true,
  head: true,
  verify: true,
  gc: true,
};

const scheduleVerbs: VerbNames<Schedules> = {
  add: true,
  update: true,
  list: true,
  get: true,
  pause: true,
  resume: true,
  remove: true,
  preview: true,
  history: true,
  stats: true,
};

/** Opens a database and puts a client on it together. Throws the errors of `Client.open`. */
export async function openClient(url: string | undefined, options: ClientOptions): Promise<Parts> {
  const { store, settings } = await openDatabase(url, clientSettings(options), {});
  try {
    const storage = await storageOf(settings);
    return wire({ store, settings, storage, engine: null, watch: new Watch(store, settings.clock, true) });
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Opens the database; if it has its own clock, that clock replaces the system clock. */
export async function openDatabase<Settings extends ClientSettings>(
  url: string = databaseUrl(),
  given: Settings,
  options: StoreOptions,
): Promise<{ readonly store: Store; readonly settings: Settings }> {
  let settings = given;
  const store = await openStore(url, { now: () => settings.clock.now(), ...options });
  if (store.serverTime !== undefined && given.clock === systemClock) {
    const clock = new DatabaseClock();
    settings = { ...given, clock };
    const sent = systemClock.now();
    try {
      clock.isAhead((await store.serverTime()) - (sent + systemClock.now()) / 2);
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  return { store, settings };
}

/** The storage of package files. Throws REGISTRY_URL_INVALID. */
export async function storageOf({ registry }: ClientSettings): Promise<PackageStorage> {
  if (registry === null) return absentStorage;
  const { openStorage } = await import('./package/storage/open.ts');
  return openStorage(registry);
}

interface Wiring {
  readonly store: Store;
  readonly settings: ClientSettings;
  readonly storage: PackageStorage;
  readonly engine: Engine | null;
  readonly watch: Watch;
  /** Called when this process changed something that its runner should see at once. */
  readonly onChange?: () => void;
}

/** Puts a client together. The verbs of packages and schedules load their rooms at the first call of one. */
export function wire({ store, settings, storage, engine, watch, onChange = () => undefined }: Wiring): Parts {
  const { clock, tenant, maxPayload, actor, logger } = settings;
  const onDamaged = (error: CloacinaError): void => logger.warn({ error }, 'a damaged row of the database is skipped');
  const lookup = new Lookup({ store, tenant, onDamaged });
  const workflows = new Workflows(() => allWorkflows(store, lookup));
  const packaged = (name: string): Promise<readonly ResolvedWorkflow[]> => resolvePackaged(lookup, name);
  const names = (): Promise<readonly string[]> => workflows.names();
  const specOf = (record: ExecutionRecord): Promise<WorkflowSpec | undefined> => definitionOf(store, record);
  const client = { store, clock, tenant, maxPayload, packaged, names, specOf, engine, watch, onDamaged };
  const resolve = (name: string): Promise<ResolvedWorkflow> => resolveWorkflow(client, name);
  const registry = onDemand<Registry>(registryVerbs, async () => {
    const [{ Registry: Loaded }, { upsertPackageSchedules: onActivate }] = await Promise.all([
      import('./package/registry/registry.ts'),
      import('./schedule/declared.ts'),
    ]);
    return new Loaded({ store, storage, tenant, actor, onActivate, onChange, onDamaged });
  });
  const schedules = onDemand<Schedules>(scheduleVerbs, async () => {
    const { Schedules: Loaded } = await import('./schedule/schedules.ts');
    return new Loaded({ store, tenant, clock, maxPayload, resolve, onChange, onDamaged });
  });
  return { client, workflows, registry, schedules };
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

async function resolvePackaged(lookup: Lookup, name: string): Promise<readonly ResolvedWorkflow[]> {
  const found = await lookup.resolve(name);
  if (found === undefined) return [];
  return [{ spec: found.spec, buildId: found.pin.digest, pin: found.pin, code: null }];
}

async function allWorkflows(store: Store, lookup: Lookup): Promise<readonly WorkflowEntry[]> {
  const embedded = (await store.definitions()).map(({ workflow: name, spec }) => ({
    name,
    package: null,
    version: null,
    spec,
  }));
  const packaged = await lookup.workflows();
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
export const absentStorage: PackageStorage = {
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
