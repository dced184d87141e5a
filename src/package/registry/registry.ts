import { OptionInvalidError } from '../../core/error.ts';
import { storedJson } from '../../core/json.ts';
import { shown } from '../../core/option-check.ts';
import { checkSchedules } from '../../core/schedule/schedule-spec.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { newId } from '../../engine/id.ts';
import { touchBytes } from '../../store/registry/stored-bytes.ts';
import { channelsOf } from '../../store/registry/channels.ts';
import { packageVersion } from '../../store/registry/versions.ts';
import type { ChannelRecord } from '../../store/registry/channels.ts';
import type { PackageRecord } from '../../store/registry/versions.ts';
import { registryEvents, registryHead, registrySerial } from '../../store/registry/log.ts';
import type { LogHead, RegistryEvent } from '../../store/registry/log.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import { askedFor, checkFileAccess } from '../load/grants.ts';
import type { Asked } from '../load/grants.ts';
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
import type { Activation, ActivateHook, Acting } from './commands.ts';
import { Lookup } from './lookup.ts';
import type { LookupOptions, RegistryWorkflow, ResolvedWorkflow } from './lookup.ts';
import { collectGarbage } from './collect.ts';
import type { Collected } from './collect.ts';
import { verifyRegistry } from './verify.ts';
import type { Verification } from './verify.ts';
import { permissionsOf, packageView, packageItem, packageList } from './views.ts';
import type { PackageView, PackageItem, PackageVersion } from './views.ts';
import type { PackageStorage } from '../storage/storage.ts';

export interface RegistryOptions extends LookupOptions {
  /** Where the bytes lie. */
  readonly storage: PackageStorage;
  /** The actor in the log: `cli:ada`, `runner:r-1`. */
  readonly actor: string;
  /** The versions that packages must fit to be published; default those of this process. */
  readonly engine?: RunningEngine;
  /** Runs in the transaction that moves a live channel. */
  readonly onActivate?: ActivateHook;
  /** Called after an act is durable that runners of this process should see at once. */
  readonly onChange?: () => void;
}

/** Why an act is done, for the log. */
export interface ActOptions {
  readonly why?: string;
}

export interface ActivateOptions extends ActOptions {
  /** Default `live`. */
  readonly channel?: string;
  /** The act happens only if the channel has this serial still; 0: it has no head yet. */
  readonly expectedSerial?: number;
}

export interface RegisterOptions extends ActOptions {
  /** Default `live`. */
  readonly channel?: string;
  /** Whether a new version is activated; default true. */
  readonly activate?: boolean;
}

export interface Published {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  /** False where these very bytes were published before. */
  readonly created: boolean;
}

export interface Registered extends Published {
  /** Whether this call moved the channel; never with bytes that were there before. */
  readonly activated: boolean;
  /** What the version asks for, and what the channel's version before did not. */
  readonly asks: Asked;
}

/** The verbs of the registry, for a process that loads it at the first call of one. */
export type RegistryVerbs = Pick<Registry, keyof Registry>;

/**
 * The packages of one tenant: what was published, which version each channel points to, and the log of every act.
 * Every verb throws STORE_UNAVAILABLE where the database is away.
 */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #store: Scripts;
  readonly #tenant: string;
  readonly #lookup: Lookup;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#tenant = options.tenant;
    this.#lookup = new Lookup(options);
  }

  /**
   * Makes a version exist; it runs nowhere until a channel points to it. Throws PackageInvalidError for a file that is
   * refused, ENGINE_UNSUPPORTED among them, SCHEDULE_INVALID and INPUT_INVALID for a schedule that could start nothing,
   * PACKAGE_EXISTS, PACKAGE_DELETED.
   */
  async publish(bytes: Uint8Array, options: ActOptions = {}): Promise<Published> {
    const { record, created } = await this.#publish(bytes, options, () => notActivated());
    return published(record, created);
  }

  /**
   * Points a channel to a version: new executions use it from then on. Throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE
   * for a yanked version, CONFLICT where `expectedSerial` is not the channel's. A quarantined version gets another
   * chance.
   */
  async activate(name: string, version: string, options: ActivateOptions = {}): Promise<ChannelRecord> {
    checkNames(name, version);
    const channel = options.channel ?? liveChannel;
    const expected = options.expectedSerial ?? null;
    const { head } = await this.#act(options, (acting) => activateVersion(acting, name, version, channel, expected));
    return head;
  }

  /**
   * Publishes and activates, in one transaction. The same bytes again change nothing, neither what exists nor where
   * the channel points. Throws what `publish` throws.
   */
  async register(bytes: Uint8Array, options: RegisterOptions = {}): Promise<Registered> {
    const { channel = liveChannel, activate = true } = options;
    const { record, created, activated, manifest, heads } = await this.#publish(bytes, options, (acting, fresh) =>
      activate ? pointChannel(acting, fresh, channel, null) : notActivated(),
    );
    const head = heads.find((one) => one.channel === channel);
    const before = head === undefined ? undefined : await this.#store.read(() => permissionsOf(head.digest));
    return { ...published(record, created), activated, asks: askedFor(manifest.permissions, before) };
  }

  /** Points a channel back to its previous healthy version. Throws PACKAGE_NOT_FOUND where there is none, CONFLICT. */
  async rollback(name: string, options: ActivateOptions = {}): Promise<ChannelRecord> {
    checkNames(name);
    const { channel = liveChannel, expectedSerial = null } = options;
    return this.#act(options, (acting) => rollBack(acting, name, channel, expectedSerial));
  }

  /** Executions that are pinned to the version go on, new ones are refused. Throws PACKAGE_NOT_FOUND. */
  async yank(name: string, version: string, options: ActOptions = {}): Promise<void> {
    checkNames(name, version);
    await this.#act(options, (acting) => yankVersion(acting, name, version, true));
  }

  /** Takes a yank back. Throws PACKAGE_NOT_FOUND. */
  async unyank(name: string, version: string, options: ActOptions = {}): Promise<void> {
    checkNames(name, version);
    await this.#act(options, (acting) => yankVersion(acting, name, version, false));
  }

  /**
   * Deletes one version, or a whole package with its channels. Its numbers are never used again; its bytes are
   * collected by `gc` after the grace. Throws PACKAGE_NOT_FOUND, PACKAGE_ACTIVE, PACKAGE_IN_USE.
   */
  async unregister(
    name: string,
    version?: string,
    options: ActOptions = {},
  ): Promise<{ readonly name: string; readonly removed: readonly string[] }> {
    checkNames(name, version ?? '');
    const removed = await this.#act(options, (acting) => unregisterPackage(acting, name, version ?? null));
    return { name, removed };
  }

  /** All versions of all packages, by name and age. */
  async list(): Promise<PackageItem[]> {
    return this.#store.read(() => packageList(this.#tenant));
  }

  /** One version; without a number the live one, or the newest where none is live. Throws PACKAGE_NOT_FOUND. */
  async get(name: string, version?: string): Promise<PackageVersion> {
    checkNames(name, version ?? '');
    const { manifest, ...item } = await this.#store.read(() => packageItem(this.#tenant, name, version ?? null));
    return { ...item, manifest: storedJson(manifest, `the manifest of ${name} v${item.version}`) as Manifest };
  }

  /** A package with channels, versions and the conditions of the runners. Throws PACKAGE_NOT_FOUND. */
  async show(name: string): Promise<PackageView> {
    checkNames(name);
    return this.#store.read(() => packageView(this.#tenant, name));
  }

  /** The packed file of a version. Throws PACKAGE_NOT_FOUND, DIGEST_MISMATCH. */
  async bytes(name: string, version?: string): Promise<Uint8Array> {
    const { digest } = await this.get(name, version);
    return this.#options.storage.get(digest);
  }

  /**
   * The workflow that `name` or `package/name` means now, by the live channels; undefined where no package has it.
   * Throws AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE where the version takes no new executions.
   */
  async resolve(workflow: string): Promise<ResolvedWorkflow | undefined> {
    return this.#lookup.resolve(workflow);
  }

  /** Every workflow that a live channel offers, by name; without those whose manifest is damaged, which are told of. */
  async workflows(): Promise<RegistryWorkflow[]> {
    return this.#lookup.workflows();
  }

  /** The graph of a workflow of one version, live or not; undefined if the version has none of this name. */
  async spec(digest: string, workflow: string): Promise<WorkflowSpec | undefined> {
    return this.#lookup.spec(digest, workflow);
  }

  /** What was done to the packages of this tenant: acts after number `after` (default 0), at most `limit` (1,000). */
  async events(options: { readonly after?: number; readonly limit?: number } = {}): Promise<RegistryEvent[]> {
    return this.#store.read(() => registryEvents(this.#tenant, options.after ?? 0, options.limit ?? 1000));
  }

  /** Rises with every act of any tenant: cheap, to see whether there is something new. */
  async serial(): Promise<number> {
    return this.#store.read(() => registrySerial());
  }

  /**
   * Returns the number and hash of the last event of the log, over all tenants. A head that is kept where writers of the
   * database do not write is what `verify` needs to prove that the log up to it is unchanged.
   */
  async head(): Promise<LogHead> {
    return this.#store.read(() => registryHead());
  }

  /**
   * Checks the chain of the log, the tables against the log, and every stored byte, over all tenants. Finds; changes
   * nothing. `head` is a result of `head()` that was kept elsewhere: the log must still contain it. Without it a log that
   * was computed anew passes, for the chain has no key.
   */
  async verify(options: { readonly head?: LogHead } = {}): Promise<Verification> {
    return verifyRegistry(this.#store, this.#options.storage, options.head ?? null);
  }

  /**
   * Deletes bytes that no version needs and nobody touched for `graceMs` (default 24 h): of deleted versions, and
   * what a crash left behind while publishing. `dryRun` only says which.
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
    then: (acting: Acting, record: PackageRecord) => Script<{ readonly moved: boolean }>,
  ): Promise<PublishedRecord> {
    if (!(bytes instanceof Uint8Array))
      throw new OptionInvalidError('bytes', `${shown(bytes)} is not a package file; pass its bytes`);
    // the libraries that read manifests take most of the load time, and only these verbs need them
    const [{ readArchive }, { checkEngine, runningEngine }] = await Promise.all([
      import('../archive/archive.ts'),
      import('../archive/engine-range.ts'),
    ]);
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
      const { record, created } = yield* publishVersion(acting, wanted, JSON.stringify(manifest));
      const activated = created && (yield* then(acting, record)).moved;
      return { record, created, activated, manifest, heads };
    });
  }

  /** Runs one act as a transaction and tells who waits for it. */
  async #act<T>(options: ActOptions, script: (acting: Acting) => Script<T>): Promise<T> {
    const result = await this.#record(options, script);
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
}

interface PublishedRecord {
  readonly record: PackageRecord;
  readonly created: boolean;
  readonly activated: boolean;
  readonly manifest: Manifest;
  /** Where the channels of the package pointed before. */
  readonly heads: readonly ChannelRecord[];
}

/** For callers that no compiler checks: a name, and perhaps a version. Throws OPTION_INVALID. */
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
