import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { workflow } from '../../src/core/definition/workflow.ts';
import { EngineClient } from '../../src/engine/client/client.ts';
import { systemClock } from '../../src/engine/clock.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Watch } from '../../src/engine/client/watch.ts';
import { packArchive } from '../../src/package/archive/archive.ts';
import { Reconciler } from '../../src/package/load/reconciler.ts';
import { Registry } from '../../src/package/registry/registry.ts';
import { openStorage } from '../../src/package/storage/open.ts';
import { openStore } from '../../src/store/open.ts';
import type { Store } from '../../src/store/store.ts';
import { sampleManifest } from '../../src/testing/sample-package.ts';

const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** Executions in progress at any time. */
const lanes = 16;
/** A pause of each lane between two executions, because the database, and its cache in memory, grows slowly. */
const pauseMs = 20;

export interface Swapped {
  readonly executions: number;
  /** Versions that ran executions. */
  readonly versions: number;
  /** Resident memory of this process, MB: after a quarter of the swaps, and at the end. */
  readonly rssStartMb: number;
  readonly rssEndMb: number;
  /** The same for live objects on the heap. */
  readonly heapStartMb: number;
  readonly heapEndMb: number;
  /** Versions loaded at the end. */
  readonly loaded: number;
}

/**
 * Registers one version of a package after the other while executions run. Fails if a start fails, an execution does
 * not complete, or a task of an execution runs on another version than its pinned one.
 */
export async function swapUnderLoad(swaps: number): Promise<Swapped> {
  const folder = await mkdtemp(join(tmpdir(), 'swap-'));
  const store = await openStore(`sqlite:${join(folder, 'db.sqlite')}`);
  const storage = openStorage(pathToFileURL(join(folder, 'packages')).href);
  const clock = systemClock;
  const watch = new Watch(store, clock, false);
  const engine = await Engine.open({
    store,
    clock,
    logger: quiet,
    name: 'swap',
    embedded: [],
    concurrency: 64,
    maxExecutions: 1000,
    maxChildDepth: 32,
    maxOpenChildren: 10_000,
    leaseMs: 15_000,
    stallMs: 120_000,
    graceMs: 5000,
    maxPayload: 1_000_000,
    ownOnly: false,
    random: Math.random,
    retentionMs: null,
    resolve: (_, name) => Promise.reject(new Error(name)),
    onCommitted: () => watch.changed(),
    onEvent: null,
    onProgress: () => undefined,
    onEnded: (id, ended) => watch.ended(id, ended),
    onChanged: () => undefined,
    onBuildWanted: () => undefined,
  });
  const onChange = (): void => reconciler.notify();
  const reconciler: Reconciler = new Reconciler({
    store,
    storage,
    tenants: null,
    runnerId: () => engine.id,
    clock,
    logger: quiet,
    workDir: join(folder, 'work'),
    add: (workflows) => engine.catalog.add(workflows),
    remove: (digest) => engine.catalog.remove(digest),
    inUse: (digest) => engine.runs(digest),
    onChange,
  });
  const registry = new Registry({ store, storage, tenant: 'default', actor: 'test', onChange });
  const client = new EngineClient({
    store,
    clock,
    tenant: 'default',
    maxPayload: 1_000_000,
    packaged: async (name) => {
      const found = await registry.resolve(name);
      return found === undefined
        ? []
        : [{ spec: found.spec, buildId: found.pin.digest, pin: found.pin, code: null, refusal: null }];
    },
    names: async () => [],
    engine,
    specOf: () => Promise.resolve(undefined),
    watch,
  });
  const load = new Load(client, store);
  try {
    await registry.register(await versionBytes(0));
    load.begin();
    let start = memory();
    for (let swap = 1; swap <= swaps; swap++) {
      const { digest } = await registry.register(await versionBytes(swap));
      await until('the new version is loaded', () => reconciler.loaded.some((version) => version.digest === digest));
      await load.more();
      if (swap === Math.ceil(swaps / 4)) start = memory();
    }
    await load.end();
    await until('the old versions are unloaded', () => {
      reconciler.notify();
      return reconciler.loaded.length === 1;
    });
    await reconciler.settled();
    const { executions, versions } = load;
    const end = memory();
    return {
      executions,
      versions: versions.size,
      rssStartMb: start.rssMb,
      rssEndMb: end.rssMb,
      heapStartMb: start.heapMb,
      heapEndMb: end.heapMb,
      loaded: reconciler.loaded.length,
    };
  } finally {
    await load.stop();
    await engine.close(0);
    await reconciler.close();
    await store.close();
    await rm(folder, { recursive: true, maxRetries: 5 });
  }
}

/** Executions without a pause, each checked at its end. */
class Load {
  readonly versions = new Set<string>();
  executions = 0;
  readonly #client: EngineClient;
  readonly #store: Store;
  #isEnding = false;
  #lanes: readonly Promise<void>[] = [];
  #failure: unknown;

  constructor(client: EngineClient, store: Store) {
    this.#client = client;
    this.#store = store;
  }

  begin(): void {
    this.#lanes = Array.from({ length: lanes }, () => this.#lane());
  }

  /** Waits until every lane could have ended an execution that began before. */
  async more(): Promise<void> {
    const enough = this.executions + 2 * lanes;
    await until('executions end', () => this.executions >= enough || this.#failure !== undefined);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async stop(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#lanes);
  }

  async end(): Promise<void> {
    await this.stop();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #lane(): Promise<void> {
    try {
      while (!this.#isEnding) await this.#one();
    } catch (error) {
      this.#failure ??= error;
      this.#isEnding = true;
    }
  }

  async #one(): Promise<void> {
    const { executionId, output, outputs } = await this.#client.execute('etl', {});
    const record = await this.#store.execution(executionId);
    const version = record!.pin!.version;
    assert.deepEqual([output, ...Object.values(outputs)], [version, version, version, version]);
    this.versions.add(version);
    this.executions++;
    await sleep(pauseMs);
  }
}

async function versionBytes(number: number): Promise<Uint8Array> {
  const version = `1.0.${number}`;
  const etl = workflow('etl');
  const a = etl.task('a', () => version);
  const b = etl.task('b', { needs: { a } }, ({ needs }) => needs.a);
  const c = etl.task('c', { needs: { b } }, ({ needs }) => needs.b);
  etl.returns(c);
  const code = `import { workflow } from 'cloacina';
export const etl = workflow('etl');
const a = etl.task('a', () => '${version}');
const b = etl.task('b', { needs: { a } }, () => '${version}');
const c = etl.task('c', { needs: { b } }, () => '${version}');
etl.returns(c);
`;
  const manifest = { ...sampleManifest('demo', version), workflows: [etl.spec] };
  return (await packArchive(manifest, new Map([['code/index.mjs', Buffer.from(code)]]))).bytes;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/**
 * After a garbage collection. V8's young generation is left out of the resident memory: it doubles in steps (26, 51, 84
 * MB) with the allocations of executions, without a swap too, and nothing in it is live.
 */
function memory(): { rssMb: number; heapMb: number } {
  collectGarbage();
  const { rss, heapUsed, external } = process.memoryUsage();
  const young = getHeapSpaceStatistics().find((space) => space.space_name === 'new_space');
  const keptMb = (rss - (young?.physical_space_size ?? 0)) / 2 ** 20;
  return { rssMb: Math.round(keptMb), heapMb: Math.round((heapUsed + external) / 2 ** 20) };
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const start = performance.now();
  while (!isSo()) {
    if (performance.now() - start > 30_000) assert.fail(`it did not happen within 30 s: ${what}`);
    await sleep(5);
  }
}
