import { types } from 'node:util';
import { OptionInvalidError } from '../../core/error.ts';
import { storedJson } from '../../core/json.ts';
import { checkOptions, flag, noOptions, shown, text, wholeNumber } from '../../core/option-check.ts';
import type { Kinds, NoOptions } from '../../core/option-check.ts';
import { checkSchedules } from '../../core/schedule/check-schedules.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { isChannelName } from '../../core/definition/workflow-name.ts';
import { newId } from '../../engine/id.ts';
import { touchBytes } from '../../store/registry/stored-bytes.ts';
import { channelsOf } from '../../store/registry/channels.ts';
import { packageVersion, workflowsOf } from '../../store/registry/versions.ts';
import { deleteAllSlots } from '../../store/schedules/slots.ts';
import type { ChannelRecord } from '../../store/registry/channels.ts';
import type { PackageRecord } from '../../store/registry/versions.ts';
import { unavailable } from '../../store/commit/pinned-versions.ts';
import { registryEvents, registrySerial } from '../../store/registry/log.ts';
import type { RegistryEvent } from '../../store/registry/log.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import { askedFor, checkFileAccess } from '../load/grants.ts';
import type { Asked } from '../load/grants.ts';
import type { RunningEngine } from '../archive/engine-range.ts';
import type { Manifest } from '../archive/manifest.ts';
import {
  activateVersion,
  collecting,
  deactivateChannel,
  liveChannel,
  log,
  pointChannel,
  publishVersion,
  recorded,
  rollBack,
  sameVersion,
  staleCollectMs,
  unregisterPackage,
  yankVersion,
} from './commands.ts';
import type { Activation, ActivationTarget, ActivateHook, Acting } from './commands.ts';
import { ambiguousAmong } from './names.ts';
import type { AmbiguousName } from './names.ts';
import { Lookup } from './lookup.ts';
import type { LookupOptions, RegistryWorkflow, ResolvedWorkflow } from './lookup.ts';
import { collectGarbage, verifyRegistry } from './maintenance.ts';
import type { Collected, Verification } from './maintenance.ts';
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

export interface ChannelOptions extends ActOptions {
  /** Default `live`. */
  readonly channel?: string;
  /** The act happens only if the channel has this serial still; 0: it has no head yet. */
  readonly expectedSerial?: number;
}

/** Whether names of workflows may become ambiguous. */
export interface NameOptions {
  /** True: the live channel may get workflows whose short names mean something else now; default false. */
  readonly allowAmbiguous?: boolean;
}

export interface ActivateOptions extends ChannelOptions, NameOptions {}

export interface RegisterOptions extends ActOptions, NameOptions {
  /** A channel that is pointed to the version in any case; left out, a new version is activated on `live`. */
  readonly channel?: string;
  /** False: a new version is published only; excludes `channel`. */
  readonly activate?: boolean;
}

/** Positions are numbers of acts. */
export interface ActsOptions {
  /** Default 0. */
  readonly after?: number;
  /** Default 1,000. */
  readonly limit?: number;
}

export interface GcOptions extends ActOptions {
  /** Default 24 h. */
  readonly graceMs?: number;
  /** Deletes nothing; default false. */
  readonly dryRun?: boolean;
}

const actKinds: Kinds<ActOptions> = { why: text };
const deactivateKinds: Kinds<Omit<ChannelOptions, 'channel'>> = { ...actKinds, expectedSerial: wholeNumber(0) };
const channelKinds: Kinds<ChannelOptions> = { ...deactivateKinds, channel: text };
const activateKinds: Kinds<ActivateOptions> = { ...channelKinds, allowAmbiguous: flag };
const registerKinds: Kinds<RegisterOptions> = { ...actKinds, channel: text, activate: flag, allowAmbiguous: flag };
const actsKinds: Kinds<ActsOptions> = { after: wholeNumber(0), limit: wholeNumber(1) };
const gcKinds: Kinds<GcOptions> = { ...actKinds, graceMs: wholeNumber(0, Number.MAX_SAFE_INTEGER), dryRun: flag };

export interface Published {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  /** False where these very bytes were published before. */
  readonly created: boolean;
  /** True if the version was there, and its file was missing or damaged in the storage. */
  readonly restored: boolean;
}

export interface Registered extends Published {
  /** Whether this call moved the channel. */
  readonly activated: boolean;
  /** Where the channel points after this call; null if it points nowhere. */
  readonly head: ChannelRecord | null;
  /** What the version asks for, and what the channel's version before did not. */
  readonly asks: Asked;
  /** The short names of the version's workflows that are ambiguous now, if it moved the live channel. */
  readonly ambiguous: readonly AmbiguousName[];
}

/** The head of a channel after an act. */
export interface Activated extends ChannelRecord {
  /** The short names of its workflows that are ambiguous now; none of another channel than `live`. */
  readonly ambiguous: readonly AmbiguousName[];
}

/** The verbs of the registry, for a process that loads it at the first call of one. */
export type RegistryVerbs = Pick<Registry, keyof Registry>;

/**
 * The packages of one tenant: what was published, which version each channel points to, and the log of every act.
 * Every verb throws STORE_UNAVAILABLE where the database is away, REGISTRY_UNAVAILABLE where the files of packages are.
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
    checkOptions(options, actKinds);
    const { published } = await this.#publish(bytes, options, () => notActivated());
    return published;
  }

  /**
   * Points a channel to a version: new executions use it from then on. Throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE
   * for a yanked version, WORKFLOW_NAME_TAKEN without `allowAmbiguous`, CONFLICT where `expectedSerial` is not the
   * channel's. A quarantined version gets another chance.
   */
  async activate(name: string, version: string, options: ActivateOptions = {}): Promise<Activated> {
    checkNames(name, version);
    checkOptions(options, activateKinds);
    const target = targetOf(options);
    return this.#act(options, function* (acting) {
      const { head } = yield* activateVersion(acting, name, version, target);
      return yield* withAmbiguous(acting, head);
    });
  }

  /**
   * Publishes and activates, in one transaction. The same bytes again do not move the channel `live`; a channel that is
   * named is moved in any case. Throws what `publish` throws, WORKFLOW_NAME_TAKEN without `allowAmbiguous`, and
   * PACKAGE_UNAVAILABLE for a named channel and a version that takes no new executions.
   */
  async register(bytes: Uint8Array, options: RegisterOptions = {}): Promise<Registered> {
    checkOptions(options, registerKinds);
    const { activate = true } = options;
    const isNamed = options.channel !== undefined;
    if (!activate && isNamed) {
      throw new OptionInvalidError(
        'activate',
        `false excludes the option channel ('${options.channel}'); pass one of them`,
      );
    }
    const target = targetOf(options);
    const { published, manifest, heads, act } = await this.#publish(
      bytes,
      options,
      function* (acting, record, created) {
        const points = activate && (created || isNamed);
        const { moved } = points ? yield* pointRegistered(acting, record, target) : yield* notActivated();
        const all = yield* channelsOf(acting.tenant, record.name);
        const head = all.find((one) => one.channel === target.channel) ?? null;
        const ambiguous = moved && head !== null ? yield* ambiguousOf(acting, head) : [];
        return { moved, head, ambiguous };
      },
    );
    const { moved: activated, head, ambiguous } = act;
    const previous = heads.find((one) => one.channel === target.channel);
    const before = previous === undefined ? undefined : await this.#store.read(() => permissionsOf(previous.digest));
    return { ...published, activated, head, asks: askedFor(manifest.permissions, before), ambiguous };
  }

  /**
   * Removes a channel; the versions of the package stay. Without the channel `live` the package takes executions by version
   * only, and its schedules are disabled. Returns its last head. Throws PACKAGE_NOT_FOUND, CONFLICT.
   */
  async deactivate(
    name: string,
    channel: string,
    options: Omit<ChannelOptions, 'channel'> = {},
  ): Promise<ChannelRecord> {
    checkNames(name);
    checkOptions(options, deactivateKinds);
    const { expectedSerial } = targetOf({ ...options, channel });
    return this.#act(options, (acting) => deactivateChannel(acting, name, channel, expectedSerial));
  }

  /**
   * Points a channel back to its previous healthy version, also where that makes names ambiguous. Throws PACKAGE_NOT_FOUND
   * where there is none, CONFLICT.
   */
  async rollback(name: string, options: ChannelOptions = {}): Promise<Activated> {
    checkNames(name);
    checkOptions(options, channelKinds);
    const { channel, expectedSerial } = targetOf(options);
    return this.#act(options, function* (acting) {
      return yield* withAmbiguous(acting, yield* rollBack(acting, name, channel, expectedSerial));
    });
  }

  /** Executions that are pinned to the version go on, new ones are refused. Throws PACKAGE_NOT_FOUND. */
  async yank(name: string, version: string, options: ActOptions = {}): Promise<void> {
    checkNames(name, version);
    checkOptions(options, actKinds);
    await this.#act(options, (acting) => yankVersion(acting, name, version, true));
  }

  /** Takes a yank back; returns the short names that this made ambiguous. Throws PACKAGE_NOT_FOUND. */
  async unyank(
    name: string,
    version: string,
    options: ActOptions = {},
  ): Promise<{ readonly ambiguous: readonly AmbiguousName[] }> {
    checkNames(name, version);
    checkOptions(options, actKinds);
    return this.#act(options, function* (acting) {
      yield* yankVersion(acting, name, version, false);
      const head = (yield* channelsOf(acting.tenant, name)).find((one) => one.channel === liveChannel);
      return { ambiguous: head?.version === version ? (yield* withAmbiguous(acting, head)).ambiguous : [] };
    });
  }

  /**
   * Deletes one version, or a whole package with its channels and schedules. Its numbers are never used again; its bytes are
   * collected by `gc` after the grace. Throws PACKAGE_NOT_FOUND, PACKAGE_ACTIVE, PACKAGE_IN_USE.
   */
  async unregister(
    name: string,
    version?: string,
    options: ActOptions = {},
  ): Promise<{ readonly name: string; readonly removed: readonly string[] }> {
    checkNames(name, version ?? '');
    checkOptions(options, actKinds);
    const { versions, schedules } = await this.#act(options, (acting) =>
      unregisterPackage(acting, name, version ?? null),
    );
    for (const id of schedules) await deleteAllSlots(this.#store, id);
    return { name, removed: versions };
  }

  /** All versions of all packages, by name and age. */
  async list(options: NoOptions = {}): Promise<PackageItem[]> {
    checkOptions(options, noOptions);
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

  /** The packed file of a version. Throws PACKAGE_NOT_FOUND, PACKAGE_BYTES_MISSING, DIGEST_MISMATCH. */
  async bytes(name: string, version?: string): Promise<Uint8Array> {
    const { digest } = await this.get(name, version);
    return this.#options.storage.get(digest);
  }

  /**
   * The workflow that `name`, `package/name` or `package@1.0.0/name` (a version, a digest or a channel) means now;
   * undefined where no package has it. A version that takes no new executions makes no name ambiguous. Throws
   * AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE where it is the only one that has the name, PACKAGE_NOT_FOUND.
   */
  async resolve(workflow: string): Promise<ResolvedWorkflow | undefined> {
    if (typeof workflow !== 'string') {
      throw new OptionInvalidError('workflow', `${shown(workflow)} is not the name of a workflow`);
    }
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
  async events(options: ActsOptions = {}): Promise<RegistryEvent[]> {
    checkOptions(options, actsKinds);
    return this.#store.read(() => registryEvents(this.#tenant, options.after ?? 0, options.limit ?? 1000));
  }

  /** Rises with every act of any tenant: cheap, to see whether there is something new. */
  async serial(): Promise<number> {
    return this.#store.read(() => registrySerial());
  }

  /** Checks the chain of the log, the tables against the log, and every stored byte. Finds; changes nothing. */
  async verify(): Promise<Verification> {
    return verifyRegistry(this.#store, this.#options.storage);
  }

  /**
   * Deletes bytes that no version needs and nobody touched for `graceMs` (default 24 h): of deleted versions, and
   * what a crash left behind while publishing. `dryRun` only says which.
   */
  async gc(options: GcOptions = {}): Promise<readonly Collected[]> {
    checkOptions(options, gcKinds);
    const { storage } = this.#options;
    return collectGarbage(this.#store, storage, (script) => this.#record(options, script), options);
  }

  async #publish<T>(
    bytes: Uint8Array,
    options: ActOptions,
    then: (acting: Acting, record: PackageRecord, created: boolean) => Script<T>,
  ): Promise<PublishedRecord<T>> {
    if (!types.isUint8Array(bytes))
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
    const written = await storage.put(digest, bytes);
    const restored = written && existing !== undefined;
    return this.#act(options, function* (acting) {
      const { tenant, now: registeredAt } = acting;
      const fresh = { tenant, name, version, digest, registeredAt, bytes: bytes.length };
      const wanted: PackageRecord = { ...fresh, id: newId(registeredAt), status: 'published', health: null };
      const { record, created } = yield* publishVersion(acting, wanted, JSON.stringify(manifest));
      // the serial of the log rises, so that runners that wait for the bytes try again at once
      if (restored) log(acting, 'restore', { package: name, version, after: { digest } });
      const act = yield* then(acting, record, created);
      return { published: { id: record.id, name, version, digest, created, restored }, manifest, heads, act };
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

interface PublishedRecord<T> {
  readonly published: Published;
  readonly act: T;
  readonly manifest: Manifest;
  /** Where the channels of the package pointed before. */
  readonly heads: readonly ChannelRecord[];
}

function targetOf({
  channel = liveChannel,
  expectedSerial,
  allowAmbiguous = false,
}: ActivateOptions): ActivationTarget {
  if (isChannelName(channel)) return { channel, expectedSerial: expectedSerial ?? null, allowAmbiguous };
  const rule = "1 to 100 letters, digits, '.', '-' and '_', the first a letter";
  throw new OptionInvalidError('channel', `${shown(channel)} is not the name of a channel: ${rule}`);
}

function* withAmbiguous(acting: Acting, head: ChannelRecord): Script<Activated> {
  return { ...head, ambiguous: yield* ambiguousOf(acting, head) };
}

function* ambiguousOf(
  acting: Acting,
  { channel, digest }: Pick<ChannelRecord, 'channel' | 'digest'>,
): Script<AmbiguousName[]> {
  if (channel !== liveChannel) return [];
  const names = (yield* workflowsOf(digest)).map((spec) => spec.name);
  return yield* ambiguousAmong(acting, acting.tenant, names);
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

/** Points a channel to a version that was there before, or is new; its row is locked. Throws PACKAGE_UNAVAILABLE. */
function* pointRegistered(acting: Acting, record: PackageRecord, target: ActivationTarget): Script<Activation> {
  const { name, version, status } = record;
  if (status === 'yanked' || status === 'quarantined') throw unavailable(name, version, status);
  return yield* pointChannel(acting, record, target);
}
