import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AnyWorkflow } from '../core/definition/definition.ts';
import { EngineClient } from '../engine/client/client.ts';
import type { Clock } from '../engine/clock.ts';
import type { Logger } from '../engine/logger.ts';
import { Engine } from '../engine/engine.ts';
import type { RunnerEvent } from '../engine/hooks.ts';
import type { EngineOptions } from '../engine/engine-options.ts';
import { loadEmbedded } from '../engine/client/start.ts';
import { Watch } from '../engine/client/watch.ts';
import type { Store } from '../store/store.ts';
import { ManualClock } from './clock.ts';
import { rigDatabase, rigStores } from './rig-store.ts';

/** The parts of node:test's context that tests use. */
export interface Cleanup {
  after(fn: () => Promise<void> | void): void;
}

const stacks = new WeakMap<Cleanup, (() => Promise<void> | void)[]>();

/** Runs a function after the test. The last registered function runs first (`after` alone uses the opposite order). */
export function release(t: Cleanup, act: () => Promise<void> | void): void {
  const known = stacks.get(t);
  if (known !== undefined) {
    known.push(act);
    return;
  }
  const stack = [act];
  stacks.set(t, stack);
  t.after(async () => {
    for (const last of stack.toReversed()) await last();
  });
}

/** Several connections to one new database that others can open too. */
export async function openStores(t: Cleanup, count: number, clock: Clock): Promise<Store[]> {
  const stores = await rigStores(
    rigDatabase(() => tempFolder(t)),
    count,
    clock,
  );
  for (const store of stores) release(t, () => store.close());
  return stores;
}

/** A new database for one connection: in memory on SQLite. */
export async function openOneStore(clock: Clock): Promise<Store> {
  const [store] = await rigStores(rigDatabase(), 1, clock);
  return { ...store!, shared: false };
}

/** Declares a runner dead, as another runner would after its lease. */
export async function declareDead(store: Store, id: string): Promise<void> {
  const runner = (await store.runners()).find((one) => one.id === id);
  if (runner === undefined || !(await store.markDead(id, runner.leaseUntil)))
    throw new Error(`runner ${id} is not there`);
}

/** A folder that is removed after the test. */
export function tempFolder(t: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-'));
  release(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Logged {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly details: object;
}

/** A logger that keeps its lines. */
export function keepingLogger(logged: Logged[]): Logger {
  const at =
    (level: Logged['level']) =>
    (details: object, message: string): void => {
      logged.push({ level, message, details });
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

class RigClient extends EngineClient {
  end(): void {
    this.endClient();
  }
}

export interface RigOptions<C extends Clock> extends Partial<Omit<EngineOptions, 'store' | 'clock' | 'logger'>> {
  readonly workflows?: readonly AnyWorkflow[];
  /** Default: a new database. A given store is not closed with the rig. */
  readonly store?: Store;
  readonly clock?: C;
  readonly tenant?: string;
}

/** An engine and a client of it on one store, without the layers above the engine; the test moves the clock. */
export interface Rig<C extends Clock> {
  readonly engine: Engine;
  readonly client: RigClient;
  readonly store: Store;
  readonly clock: C;
  readonly logged: readonly Logged[];
  readonly events: readonly RunnerEvent[];
  close(drainMs?: number): Promise<void>;
}

export function openRig(t: Cleanup, options?: RigOptions<ManualClock>): Promise<Rig<ManualClock>>;
export function openRig<C extends Clock>(t: Cleanup, options: RigOptions<C> & { clock: C }): Promise<Rig<C>>;
export async function openRig(t: Cleanup, options: RigOptions<Clock> = {}): Promise<Rig<Clock>> {
  const { workflows = [], clock = new ManualClock(), tenant = 'default', ...engineOptions } = options;
  const store = options.store ?? (await openOneStore(clock));
  const logged: Logged[] = [];
  const events: RunnerEvent[] = [];
  const watch = new Watch(store, clock, false);
  const ready = Promise.withResolvers<RigClient>();
  const loaded = workflows.map(loadEmbedded);
  const engine = await Engine.open({
    name: 'test',
    embedded: loaded,
    concurrency: 64,
    maxExecutions: 1000,
    maxChildDepth: 32,
    maxOpenChildren: 10_000,
    leaseMs: 15_000,
    stallMs: 120_000,
    graceMs: 5000,
    maxPayload: 1_048_576,
    ownOnly: false,
    random: () => 0.5,
    onCommitted: () => watch.changed(),
    retentionMs: 30 * 86_400_000,
    resolve: async (_, name) => (await ready.promise).resolve(name),
    onEvent: (event) => events.push(event),
    onProgress: () => undefined,
    onEnded: (id, ended) => watch.ended(id, ended),
    onChanged: () => watch.notify(),
    onBuildWanted: () => undefined,
    ...engineOptions,
    store,
    clock,
    logger: keepingLogger(logged),
  });
  await store.writeDefinitions(
    loaded.map(({ graph, buildId }) => ({ workflow: graph.spec.name, buildId, spec: graph.spec })),
  );
  const client = new RigClient({
    ...clientParts(store, clock, tenant),
    maxPayload: options.maxPayload ?? 1_048_576,
    engine,
    watch,
  });
  ready.resolve(client);
  await engine.embed();
  let closed: Promise<void> | undefined;
  const close = async (drainMs: number): Promise<void> => {
    const closing = engine.close(drainMs);
    // attempts abort and reach their grace period on this clock too
    if (clock instanceof ManualClock) for (let i = 0; i < 20; i++) await clock.advance(1000);
    await closing;
    client.end();
    if (options.store === undefined) await store.close();
  };
  const rig = { engine, client, store, clock, logged, events, close: (drainMs = 0) => (closed ??= close(drainMs)) };
  release(t, () => rig.close());
  return rig;
}

/** A client without an engine, as in a web application or the CLI. */
export function openClient(t: Cleanup, store: Store, clock: Clock, tenant = 'default'): EngineClient {
  const watch = new Watch(store, clock, true);
  const client = new RigClient({ ...clientParts(store, clock, tenant), maxPayload: 1_048_576, engine: null, watch });
  release(t, () => client.end());
  return client;
}

function clientParts(
  store: Store,
  clock: Clock,
  tenant: string,
): Pick<ConstructorParameters<typeof EngineClient>[0], 'store' | 'clock' | 'tenant' | 'packaged' | 'names' | 'specOf'> {
  return {
    store,
    clock,
    tenant,
    packaged: () => Promise.resolve([]),
    specOf: ({ buildId }) => store.definition(buildId),
    names: async () => (await store.definitions()).map(({ workflow }) => workflow),
  };
}
