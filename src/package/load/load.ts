import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../../core/errno.ts';
import { CloacinaError, PackageInvalidError } from '../../core/error.ts';
import { compileGraph } from '../../core/definition/graph.ts';
import type { PackagedWorkflow } from '../../engine/catalog.ts';
import type { Clock } from '../../engine/clock.ts';
import type { WorkflowCode } from '../../engine/workflow-code.ts';
import type { Logger } from '../../engine/logger.ts';
import { Slots } from '../../engine/slots.ts';
import type { ConditionName } from '../../store/registry/conditions.ts';
import { pinnedCount, versionsOf } from '../../store/registry/versions.ts';
import type { WantedVersion } from '../../store/registry/versions.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import type { FileSink } from '../archive/archive.ts';
import { isDigest } from '../archive/digest.ts';
import { asksForNet, checkFileAccess, checkGrants } from './grants.ts';
import type { Grants } from './grants.ts';
import { Isolate } from '../isolate/isolate.ts';
import type { IsolateExit } from '../isolate/isolate.ts';
import { canCloseNetwork, openNetworkText } from '../isolate/network.ts';
import { ProcessLimit } from '../isolate/process-limit.ts';
import type { Manifest } from '../archive/manifest.ts';
import type { PackageStorage } from '../storage/storage.ts';
import { isUnpacked, unpackPackage } from './unpack.ts';

/** A version that is proven to run: its workflows, and the isolate that runs them. */
export interface LoadedVersion {
  readonly workflows: readonly PackagedWorkflow[];
  close(): Promise<void>;
}

/** The step at which loading a version failed, and the reason. */
export class LoadFailure extends Error {
  override readonly name = 'LoadFailure';
  /** The step that failed. */
  readonly step: ConditionName;
  /** One word in CamelCase. */
  readonly reason: string;
  /** True if the same bytes would fail here again. */
  readonly isFinal: boolean;
  override readonly cause: CloacinaError;

  constructor(step: ConditionName, reason: string, isFinal: boolean, cause: CloacinaError) {
    super(cause.message);
    this.step = step;
    this.reason = reason;
    this.isFinal = isFinal;
    this.cause = cause;
  }

  static of(thrown: unknown): LoadFailure {
    return thrown instanceof LoadFailure ? thrown : failure('loaded', 'LoadFailed', thrown);
  }
}

export interface LoaderOptions {
  readonly storage: PackageStorage;
  /** The folder of unpacked packages, each in a subfolder named by its digest; other processes may share it. */
  readonly workDir: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default none. */
  readonly grants?: Grants;
  /** If false, the runner does not tell that this Node cannot close the network; default true. */
  readonly tellsOfOpenNetwork?: boolean;
  /** See `IsolateOptions`. */
  readonly isolateStallMs?: number;
  readonly isolateIdleMs?: number;
}

/** Maximum number of packages read and unpacked at once: the file of one may have 50 MB, and is in memory meanwhile. */
const readsAtOnce = 2;

/** Loads versions: from stored bytes to runnable workflows. */
export class Loader {
  readonly #options: LoaderOptions;
  readonly #processLimit = new ProcessLimit();
  readonly #reads = new Slots(readsAtOnce);

  #hasTold: boolean;

  constructor(options: LoaderOptions) {
    this.#options = options;
    this.#hasTold = options.tellsOfOpenNetwork === false;
  }

  /**
   * Fetches, verifies, unpacks and starts a version, and proves that its exports match its manifest. `onExit` is called
   * after every unrequested end of one of its processes. Throws LoadFailure; stops early if the signal aborts.
   */
  async load(version: WantedVersion, onExit: (exit: IsolateExit) => void, signal: AbortSignal): Promise<LoadedVersion> {
    const { manifest, dir } = await this.#read(version);
    const { clock, logger, isolateStallMs, isolateIdleMs } = this.#options;
    const { env, net } = manifest.permissions;
    if (!asksForNet(net)) this.#tellOfOpenNetwork();
    const isolate = new Isolate({
      dir,
      prepare: () => this.#restore(version, manifest, dir),
      label: `${version.name} v${version.version}`,
      workflows: manifest.workflows,
      grants: { env, net: asksForNet(net) },
      processLimit: this.#processLimit,
      clock,
      logger,
      onExit: onExit,
      ...(isolateStallMs === undefined ? {} : { isolateStallMs }),
      ...(isolateIdleMs === undefined ? {} : { idleMs: isolateIdleMs }),
    });
    const giveUp = (): void => void isolate.close();
    signal.addEventListener('abort', giveUp);
    try {
      if (signal.aborted) throw new CloacinaError('RUNNER_CLOSED', 'the runner is closing');
      await isolate.describe(version.tenant);
    } catch (error) {
      await isolate.close();
      throw failure('loaded', 'LoadFailed', error);
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
    const pin = { package: version.name, version: version.version, digest: version.digest };
    const workflows = manifest.workflows.map((spec) => {
      const codeOf = (tenant: string): WorkflowCode => isolate.code(spec.name, tenant);
      return { graph: compileGraph(spec), codeOf, buildId: version.digest, pin };
    });
    return { workflows, close: () => isolate.close() };
  }

  /** Warns once that packages which ask for no network reach it all the same. */
  #tellOfOpenNetwork(): void {
    if (this.#hasTold || canCloseNetwork()) return;
    this.#hasTold = true;
    this.#options.logger.warn({}, openNetworkText);
  }

  /** Removes the unpacked folders of versions that were deleted and that no execution is pinned to. */
  async sweep(store: Scripts): Promise<void> {
    const { workDir } = this.#options;
    const folders = await readdir(workDir).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    for (const folder of folders) {
      const digest = folder.replace('-', ':');
      // a digest that is unknown to this database may belong to another one
      if (!isDigest(digest) || !(await store.read(() => isForgotten(digest)))) continue;
      await rm(join(workDir, folder), { recursive: true, force: true });
    }
  }

  /** Returns the unpacked folder of a version, made from verified bytes. */
  async #read(version: WantedVersion): Promise<{ manifest: Manifest; dir: string }> {
    await new Promise<void>((resolve) => this.#reads.request(0, version.tenant, resolve));
    try {
      const { storage, workDir, clock } = this.#options;
      const bytes = await during('fetched', 'FetchFailed', () => storage.get(version.digest));
      // loaded with the first package: a runner without packages needs none of the libraries that read manifests
      const [{ readArchive }, { checkEngine, runningEngine }] = await Promise.all([
        import('../archive/archive.ts'),
        import('../archive/engine-range.ts'),
      ]);
      const manifest = await during('verified', 'Refused', async () => {
        const archive = await readArchive(bytes);
        checkEngine(archive.manifest, runningEngine());
        checkFileAccess(archive.manifest);
        const { env = [], net = false } = this.#options.grants ?? {};
        checkGrants(archive.manifest, { env, net });
        return archive.manifest;
      });
      // read once more, since no file is written before all of them are checked
      const extract = (sink: FileSink): Promise<unknown> => readArchive(bytes, sink);
      const unpack = (): Promise<string> => unpackPackage(workDir, version.digest, manifest.files, extract, clock);
      return { manifest, dir: await during('loaded', 'UnpackFailed', unpack) };
    } finally {
      this.#reads.release();
    }
  }

  /** Unpacks a version again if a file of it was changed or removed since it was unpacked. */
  async #restore(version: WantedVersion, { files }: Manifest, dir: string): Promise<void> {
    if (await isUnpacked(dir, files)) return;
    const { name, version: number } = version;
    this.#options.logger.warn(
      { package: name, version: number, folder: dir },
      'the unpacked files of a package were changed; they are unpacked again',
    );
    await this.#read(version);
  }
}

function* isForgotten(digest: string): Script<boolean> {
  const versions = yield* versionsOf(digest);
  if (versions.length === 0 || versions.some((record) => record.status !== 'deleted')) return false;
  return (yield* pinnedCount(null, digest)) === 0;
}

async function during<T>(name: ConditionName, reason: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw failure(name, reason, error);
  }
}

function failure(name: ConditionName, reason: string, thrown: unknown): LoadFailure {
  const error = coded(thrown);
  if (error.code === 'DIGEST_MISMATCH') return new LoadFailure('verified', 'DigestMismatch', false, error);
  if (error.code === 'ENGINE_UNSUPPORTED') return new LoadFailure(name, 'EngineUnsupported', true, error);
  if (error.code === 'PERMISSION_NOT_GRANTED') return new LoadFailure(name, 'PermissionNotGranted', true, error);
  if (error.code === 'PACKAGE_NOT_FOUND') return new LoadFailure(name, 'BytesMissing', false, error);
  return new LoadFailure(name, reason, error instanceof PackageInvalidError, error);
}

function coded(thrown: unknown): CloacinaError {
  if (thrown instanceof CloacinaError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CloacinaError('PACKAGE_LOAD_FAILED', message, { cause: thrown });
}
