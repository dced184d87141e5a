import { AmbiguousWorkflowError, CloacinaError, OptionInvalidError } from '../../core/error.ts';
import { storedJson } from '../../core/json.ts';
import { shown } from '../../core/option-check.ts';
import { checkSchedules } from '../../core/schedule/schedule-spec.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { newId } from '../../engine/id.ts';
import type { Pin } from '../../store/transition.ts';
import { touchBytes } from '../../store/registry/stored-bytes.ts';
import { channelsOf, findWorkflow, liveWorkflows } from '../../store/registry/channels.ts';
import { packageVersion, workflowsOf } from '../../store/registry/versions.ts';
import type { ChannelRecord, LiveWorkflow } from '../../store/registry/channels.ts';
import type { PackageRecord } from '../../store/registry/versions.ts';
import { unavailable } from '../../store/commit/pinned-versions.ts';
import { registryEvents, registrySerial } from '../../store/registry/log.ts';
import type { RegistryEvent } from '../../store/registry/log.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import { readArchive } from '../archive/archive.ts';
import { askedFor, checkFileAccess } from '../load/grants.ts';
import type { Asked } from '../load/grants.ts';
import { checkEngine, runningEngine } from '../archive/engine-range.ts';
import type { RunningEngine } from '../archive/engine-range.ts';
import type { Manifest } from '../archive/manifest.ts';
import {
  activateVersion,
  collecting,
  liveChannel,
  pointChannel,
  publishVersion,
  recorded,
  rollBack,
  sameVersion,
  staleCollectMs,
  unregisterPackage,
  yankVersion,
} from './commands.ts';
import type { Activation, ActivateHook, CommandContext } from './commands.ts';
import { collectGarbage, verifyRegistry } from './maintenance.ts';
import type { Collected, Verification } from './maintenance.ts';
import { permissionsOf, packageView, packageItem, packageList } from './views.ts';
import type { PackageView, PackageItem, PackageVersion } from './views.ts';
import type { PackageStorage } from '../storage/storage.ts';

export interface RegistryOptions {
  readonly store: Scripts;
  /** Where the bytes lie. */
  readonly storage: PackageStorage;
  readonly tenant: string;
  /** The actor in the log: `cli:ada`, `runner:r-1`. */
  readonly actor: string;
  /** The versions that packages must support to be published; default those of this process. */
  readonly engine?: RunningEngine;
  /** Runs in the transaction that moves a live channel. */
  readonly onActivate?: ActivateHook;
  /** Called for a damaged row that is left out of a list. */
  readonly onDamaged?: (error: CloacinaError) => void;
  /** Called after a durable command that runners of this process should see at once. */
  readonly onChange?: () => void;
}

/** The reason of a command, for the log. */
export interface ActOptions {
  readonly why?: string;
}

export interface ActivateOptions extends ActOptions {
  /** Default `live`. */
  readonly channel?: string;
  /** The command requires that the channel still has this serial; 0: it has no head yet. */
  readonly expectedSerial?: number;
}

export interface RegisterOptions extends ActOptions {
  /** Default `live`. */
  readonly channel?: string;
  /** If true, a new version is activated; default true. */
  readonly activate?: boolean;
}

export interface Published {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  /** False if the same bytes were published before. */
  readonly created: boolean;
}

export interface Registered extends Published {
  /** True if this call moved the channel; never for bytes that were published before. */
  readonly activated: boolean;
  /** The permissions of the version, and those that the channel's previous version did not ask for. */
  readonly asks: Asked;
}

/** A workflow as a new execution would use it now. */
export interface ResolvedWorkflow {
  readonly workflow: string;
  readonly pin: Pin;
  readonly spec: WorkflowSpec;
}

export interface RegistryWorkflow {
  readonly name: string;
  readonly package: string;
  readonly version: string;
  readonly digest: string;
  readonly spec: WorkflowSpec;
}

/** Maximum number of graphs cached by digest; they never change, so this only bounds the memory. */
const maxSpecs = 256;

/**
 * The packages of one tenant: published versions, channels, and the log of every command. Every method throws
 * STORE_UNAVAILABLE if the database is unreachable.
 */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #store: Scripts;
  readonly #tenant: string;
  readonly #specs = new Map<string, ReadonlyMap<string, WorkflowSpec>>();

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#tenant = options.tenant;
  }

  /**
   * Publishes a version; it runs nowhere until a channel points to it. Throws PackageInvalidError for a refused file,
   * ENGINE_UNSUPPORTED among them, SCHEDULE_INVALID and INPUT_INVALID for a schedule that could start nothing,
   * PACKAGE_EXISTS, PACKAGE_DELETED.
   */
  async publish(bytes: Uint8Array, options: ActOptions = {}): Promise<Published> {
    const { record, created } = await this.#publish(bytes, options, () => notActivated());
    return published(record, created);
  }

  /**
   * Points a channel to a version: new executions use it from then on. Lifts a quarantine of the version. Throws
   * PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE for a yanked version, CONFLICT if `expectedSerial` is not the channel's.
   */
  async activate(name: string, version: string, options: ActivateOptions = {}): Promise<ChannelRecord> {
    checkNames(name, version);
    const channel = options.channel ?? liveChannel;
    const expected = options.expectedSerial ?? null;
    const { head } = await this.#command(options, (context) =>
      activateVersion(context, name, version, channel, expected),
    );
    return head;
  }

  /**
   * Publishes and activates, in one transaction. The same bytes again change nothing, neither versions nor channels.
   * Throws the errors of `publish`.
   */
  async register(bytes: Uint8Array, options: RegisterOptions = {}): Promise<Registered> {
    const { channel = liveChannel, activate = true } = options;
    const { record, created, activated, manifest, heads } = await this.#publish(bytes, options, (context, fresh) =>
      activate ? pointChannel(context, fresh, channel, null) : notActivated(),
    );
    const head = heads.find((one) => one.channel === channel);
    const before = head === undefined ? undefined : await this.#store.read(() => permissionsOf(head.digest));
    return { ...published(record, created), activated, asks: askedFor(manifest.permissions, before) };
  }

  /** Points a channel back to its previous healthy version. Throws PACKAGE_NOT_FOUND if there is none, CONFLICT. */
  async rollback(name: string, options: ActivateOptions = {}): Promise<ChannelRecord> {
    checkNames(name);
    const { channel = liveChannel, expectedSerial = null } = options;
    return this.#command(options, (context) => rollBack(context, name, channel, expectedSerial));
  }

  /** Stops new executions of a version; pinned executions continue. Throws PACKAGE_NOT_FOUND. */
  async yank(name: string, version: string, options: ActOptions = {}): Promise<void> {
    checkNames(name, version);
    await this.#command(options, (context) => yankVersion(context, name, version, true));
  }

  /** Reverts a yank. Throws PACKAGE_NOT_FOUND. */
  async unyank(name: string, version: string, options: ActOptions = {}): Promise<void> {
    checkNames(name, version);
    await this.#command(options, (context) => yankVersion(context, name, version, false));
  }

  /**
   * Deletes one version, or a whole package with its channels. Its version numbers are never used again; its bytes are
   * collected by `gc` after the grace period. Throws PACKAGE_NOT_FOUND, PACKAGE_ACTIVE, PACKAGE_IN_USE.
   */
  async unregister(
    name: string,
    version?: string,
    options: ActOptions = {},
  ): Promise<{ readonly name: string; readonly removed: readonly string[] }> {
    checkNames(name, version ?? '');
    const removed = await this.#command(options, (context) => unregisterPackage(context, name, version ?? null));
    return { name, removed };
  }

  /** Returns all versions of all packages, by name and age. */
  async list(): Promise<PackageItem[]> {
    return this.#store.read(() => packageList(this.#tenant));
  }

  /** Returns one version; without a number the live one, or the newest if none is live. Throws PACKAGE_NOT_FOUND. */
  async get(name: string, version?: string): Promise<PackageVersion> {
    checkNames(name, version ?? '');
    const { manifest, ...item } = await this.#store.read(() => packageItem(this.#tenant, name, version ?? null));
    return { ...item, manifest: storedJson(manifest, `the manifest of ${name} v${item.version}`) as Manifest };
  }

  /** Returns a package with channels, versions and the conditions of the runners. Throws PACKAGE_NOT_FOUND. */
  async show(name: string): Promise<PackageView> {
    checkNames(name);
    return this.#store.read(() => packageView(this.#tenant, name));
  }

  /** Returns the packed file of a version. Throws PACKAGE_NOT_FOUND, DIGEST_MISMATCH. */
  async bytes(name: string, version?: string): Promise<Uint8Array> {
    const { digest } = await this.get(name, version);
    return this.#options.storage.get(digest);
  }

  /**
   * Resolves `name` or `package/name` to a workflow by the live channels; undefined if no package has it. Throws
   * AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE if the version takes no new executions.
   */
  async resolve(workflow: string): Promise<ResolvedWorkflow | undefined> {
    // a package's name may contain a slash (its scope), a workflow's never does
    const slash = workflow.lastIndexOf('/');
    const name = workflow.slice(slash + 1);
    const packageName = slash === -1 ? null : workflow.slice(0, slash);
    const found = await this.#store.ask(() => findWorkflow(this.#tenant, name, packageName));
    const [live] = found;
    if (live === undefined) return undefined;
    if (found.length > 1)
      throw new AmbiguousWorkflowError(
        name,
        found.map((one) => `${one.package}/${one.workflow}`),
      );
    const { package: owner, version, digest, status } = live;
    if (status === 'yanked' || status === 'quarantined') throw unavailable(owner, version, status);
    const spec = await this.#specOf(live);
    return { workflow: name, pin: { package: owner, version, digest }, spec };
  }

  /**
   * Returns every workflow of the live channels, by name; workflows with a damaged manifest are left out and reported.
   */
  async workflows(): Promise<RegistryWorkflow[]> {
    const found = await this.#store.read(() => liveWorkflows(this.#tenant));
    const workflows: RegistryWorkflow[] = [];
    for (const live of found) {
      const { workflow: name, package: owner, version, digest } = live;
      try {
        workflows.push({ name, package: owner, version, digest, spec: await this.#specOf(live) });
      } catch (error) {
        if (!(error instanceof CloacinaError) || error.code !== 'ROW_DAMAGED') throw error;
        this.#options.onDamaged?.(error);
      }
    }
    return workflows;
  }

  /** Returns the graph of a workflow of one version, live or not; undefined if the version has no such workflow. */
  async spec(digest: string, workflow: string): Promise<WorkflowSpec | undefined> {
    return (await this.#specsOf(digest)).get(workflow);
  }

  /** Returns the log of this tenant: events after number `after` (default 0), at most `limit` (1,000). */
  async events(options: { readonly after?: number; readonly limit?: number } = {}): Promise<RegistryEvent[]> {
    return this.#store.read(() => registryEvents(this.#tenant, options.after ?? 0, options.limit ?? 1000));
  }

  /** Returns a number that rises with every command of any tenant: a cheap test for changes. */
  async serial(): Promise<number> {
    return this.#store.read(() => registrySerial());
  }

  /** Checks the chain of the log, the tables against the log, and every stored byte. Changes nothing. */
  async verify(): Promise<Verification> {
    return verifyRegistry(this.#store, this.#options.storage);
  }

  /**
   * Deletes bytes that no version needs and that were not used for `graceMs` (default 24 h): those of deleted versions,
   * and leftovers of a crash during a publish. `dryRun` only lists them.
   */
  async gc(
    options: ActOptions & { readonly graceMs?: number; readonly dryRun?: boolean } = {},
  ): Promise<readonly Collected[]> {
    const { storage } = this.#options;
    return collectGarbage(this.#store, storage, (script) => this.#record(options, script), options);
  }

  async #publish(
    bytes: Uint8Array,
    options: ActOptions,
    then: (context: CommandContext, record: PackageRecord) => Script<{ readonly moved: boolean }>,
  ): Promise<PublishedRecord> {
    if (!(bytes instanceof Uint8Array))
      throw new OptionInvalidError('bytes', `${shown(bytes)} is not a package file; pass its bytes`);
    const { manifest, digest } = await readArchive(bytes);
    const { name, version } = manifest.package;
    const { storage, engine } = this.#options;
    checkEngine(manifest, engine ?? runningEngine());
    checkFileAccess(manifest);
    checkSchedules(manifest.workflows);
    const tenantOf = this.#tenant;
    const { existing, heads } = await this.#store.read(function* () {
      return { existing: yield* packageVersion(tenantOf, name, version), heads: yield* channelsOf(tenantOf, name) };
    });
    if (existing !== undefined) sameVersion(existing, digest); // refused before a byte is written
    const may = await this.#store.write((tx) => touchBytes(tx, digest, staleCollectMs));
    if (!may) throw collecting(name, version);
    await storage.put(digest, bytes);
    return this.#act(options, function* (acting) {
      const { tenant, now: registeredAt } = acting;
      const fresh = { tenant, name, version, digest, registeredAt, bytes: bytes.length };
      const wanted: PackageRecord = { ...fresh, id: newId(registeredAt), status: 'published', health: null };
      const { record, created } = yield* publishVersion(context, wanted, JSON.stringify(manifest));
      const activated = created && (yield* then(context, record)).moved;
      return { record, created, activated, manifest, heads };
    });
  }

  /** Runs one command as a transaction and notifies the runners of this process. */
  async #command<T>(options: ActOptions, script: (context: CommandContext) => Script<T>): Promise<T> {
    const result = await this.#transaction(options, script);
    this.#options.onChange?.();
    return result;
  }

  async #record<T>(options: ActOptions, script: (acting: Acting) => Script<T>): Promise<T> {
    const { tenant, actor, onActivate } = this.#options;
    const { why = null } = options;
    return this.#store.write((tx) =>
      recorded(tx, (events) => script({ ...tx, tenant, actor, why, onActivate, events })),
    );
  }

  async #specOf(live: LiveWorkflow): Promise<WorkflowSpec> {
    const spec = (await this.#specsOf(live.digest)).get(live.workflow);
    if (spec !== undefined) return spec;
    const what = `the manifest of ${live.package} v${live.version}`;
    throw new CloacinaError('ROW_DAMAGED', `${what} is damaged in the database: it has no workflow '${live.workflow}'`);
  }

  async #specsOf(digest: string): Promise<ReadonlyMap<string, WorkflowSpec>> {
    const known = this.#specs.get(digest);
    if (known !== undefined) return known;
    const specs = await this.#store.read(() => workflowsOf(digest));
    const byName = new Map(specs.map((spec) => [spec.name, spec]));
    if (this.#specs.size >= maxSpecs) this.#specs.delete(this.#specs.keys().next().value!);
    this.#specs.set(digest, byName);
    return byName;
  }
}

interface PublishedRecord {
  readonly record: PackageRecord;
  readonly created: boolean;
  readonly activated: boolean;
  readonly manifest: Manifest;
  /** The heads of the package's channels before the command. */
  readonly heads: readonly ChannelRecord[];
}

/** Checks the arguments of callers without a compiler: a name, and perhaps a version. Throws OPTION_INVALID. */
function checkNames(...given: readonly string[]): void {
  given.forEach((value, at) => {
    if (typeof value === 'string') return;
    const option = at === 0 ? 'name' : 'version';
    throw new OptionInvalidError(option, `${shown(value)} is not a valid ${option} of a package`);
  });
}

// oxlint-disable-next-line require-yield -- a script without a statement
function* notActivated(): Script<Pick<Activation, 'moved'>> {
  return { moved: false };
}

function published({ id, name, version, digest }: PackageRecord, created: boolean): Published {
  return { id, name, version, digest, created };
}
