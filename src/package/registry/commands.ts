import {
  CloacinaError,
  ConflictError,
  PackageExistsError,
  PackageInUseError,
  PackageNotFoundError,
} from '../../core/error.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { isCollecting, touchBytes } from '../../store/registry/stored-bytes.ts';
import {
  channelsOf,
  lockChannel,
  lockChannels,
  removeChannels,
  unwant,
  writeChannel,
  writeLiveWorkflows,
} from '../../store/registry/channels.ts';
import {
  insertPackage,
  holdVersions,
  lockVersion,
  lockVersions,
  packageVersion,
  packageVersions,
  pinnedCount,
  setPackageHealth,
  setPackageStatus,
  workflowsOf,
} from '../../store/registry/versions.ts';
import type { ChannelRecord } from '../../store/registry/channels.ts';
import type { PackageRecord } from '../../store/registry/versions.ts';
import { unavailable } from '../../store/commit/pinned-versions.ts';
import { appendRegistryEvents, channelHistory } from '../../store/registry/log.ts';
import type { NewRegistryEvent, RegistryAct } from '../../store/registry/log.ts';
import type { Script, Tx } from '../../store/script.ts';

/*
 * The order in which acts lock, so that no two of them ever wait for each other in a circle:
 *
 * 1. versions, the oldest first (as in every transaction that locks one, see `pinned-versions.ts`), of all tenants if it changes them;
 * 2. stored bytes, by digest;
 * 3. channels, by tenant, package and name, together with their rows of `channel_workflows`;
 * 4. schedules and executions;
 * 5. the head of the log, which all acts of all tenants share: an act gathers its events and ends with them (`recorded`).
 *
 * The conditions of versions at a runner (`package_conditions`) have no place in the order: only that runner writes them.
 */

/** The channel that executions follow. */
export const liveChannel = 'live';

/** The age after which the mark of a collector does not count: it died between its mark and its deletion. */
export const staleCollectMs: number = 10 * 60_000;

/**
 * Runs in the transaction that moves the live channel of a package, with the workflows of its new head; with none if the
 * package is unregistered. It writes packaged schedules.
 */
export type ActivateHook = (
  tx: Tx,
  tenant: string,
  packageName: string,
  workflows: readonly WorkflowSpec[],
) => Script<void>;

/** The transaction of an act, with its actor and reason. Every act below is one transaction that ends with its events. */
export interface Acting extends Tx {
  readonly tenant: string;
  readonly actor: string;
  readonly why: string | null;
  readonly onActivate: ActivateHook | undefined;
  /** Its events so far; the transaction ends with them. */
  readonly events: NewRegistryEvent[];
}

/** Runs an act, and appends its events to the log as the last statements. */
export function* recorded<T>(tx: Tx, act: (events: NewRegistryEvent[]) => Script<T>): Script<T> {
  const events: NewRegistryEvent[] = [];
  const result = yield* act(events);
  yield* appendRegistryEvents(tx, events);
  return result;
}

/**
 * Makes a version exist whose bytes are stored already. The same bytes again: the existing version, `created` false. Throws
 * PACKAGE_EXISTS, PACKAGE_DELETED, and CONFLICT if the bytes are being collected at this moment.
 */
export function* publishVersion(
  acting: Acting,
  record: PackageRecord,
  manifest: string,
): Script<{ readonly record: PackageRecord; readonly created: boolean }> {
  const { name, version, digest } = record;
  const existing = yield* lockVersion(acting, acting.tenant, name, version);
  if (existing !== undefined) return { record: sameVersion(existing, digest), created: false };
  if (!(yield* insertPackage(record, manifest))) return yield* publishVersion(acting, record, manifest);
  if (yield* isCollecting(acting, digest)) throw collecting(name, version);
  log(acting, 'publish', { package: name, version, after: { digest, bytes: record.bytes } });
  return { record, created: true };
}

/** The existing version, if it has the bytes to be published. Throws PACKAGE_EXISTS, PACKAGE_DELETED. */
export function sameVersion(existing: PackageRecord, digest: string): PackageRecord {
  const { name, version } = existing;
  if (existing.status === 'deleted') {
    const message = `package ${name} v${version} was deleted, and a deleted version number cannot be reused: raise the version number`;
    throw new CloacinaError('PACKAGE_DELETED', message);
  }
  if (existing.digest !== digest) throw new PackageExistsError(name, version);
  return existing;
}

/** The error of a publish that met the deletion of the same bytes. */
export function collecting(name: string, version: string): ConflictError {
  return new ConflictError(`the bytes of package ${name} v${version} are being deleted; publish it again`);
}

export interface Activation {
  readonly head: ChannelRecord;
  /** False if the channel pointed there already. */
  readonly moved: boolean;
}

/**
 * Points a channel to a version; `expectedSerial` is what the channel's serial must be (0: it has no head yet).
 * A quarantined version is given another chance. Throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE, CONFLICT.
 */
export function* activateVersion(
  acting: Acting,
  name: string,
  version: string,
  channel: string,
  expectedSerial: number | null,
): Script<Activation> {
  const { tenant } = acting;
  const record = yield* lockVersion(acting, tenant, name, version);
  if (record === undefined || record.status === 'deleted') throw new PackageNotFoundError(name, version);
  if (record.status === 'yanked') throw unavailable(name, version, 'yanked');
  if (record.status === 'quarantined') {
    yield* setPackageStatus(record.id, 'published');
    yield* setPackageHealth(record.id, null);
  }
  return yield* pointChannel(acting, record, channel, expectedSerial);
}

/**
 * Points a channel to a version, whose row is locked. A move of a quarantined version counts even if the channel points
 * there already.
 */
export function* pointChannel(
  acting: Acting,
  record: PackageRecord,
  channel: string,
  expectedSerial: number | null,
): Script<Activation> {
  const { tenant } = acting;
  const { name, version } = record;
  const head = yield* lockChannel(acting, tenant, name, channel);
  const serial = head?.serial ?? 0;
  if (expectedSerial !== null && expectedSerial !== serial) {
    const what = `channel '${channel}' of package ${name} has serial ${serial}, not ${expectedSerial}`;
    throw new ConflictError(`${what}: another call moved it; read it again and retry`);
  }
  const isThere = head?.version === version && head.wantedVersion === null;
  if (isThere && record.status !== 'quarantined') return { head, moved: false };
  return {
    head: yield* moveChannel(acting, 'activate', head, { ...record, channel }),
    moved: head?.version !== version,
  };
}

/** Moves a channel to a version, whose row is held or locked; runs the hook, and records the act. */
export function* moveChannel(
  acting: Acting,
  act: 'activate' | 'rollback',
  before: ChannelRecord | undefined,
  to: { readonly name: string; readonly version: string; readonly digest: string; readonly channel: string },
  wanted: Pick<ChannelRecord, 'wantedVersion' | 'wantedDigest'> = { wantedVersion: null, wantedDigest: null },
): Script<ChannelRecord> {
  const { tenant, now: at } = acting;
  const serial = 1 + (before?.serial ?? (yield* lastSerial(tenant, to.name, to.channel)));
  const { name, version, digest, channel } = to;
  const head: ChannelRecord = { package: name, channel, version, digest, serial, activatedAt: at, ...wanted };
  yield* writeChannel(tenant, head);
  if (channel === liveChannel) {
    const specs = yield* workflowsOf(digest);
    const names = specs.map((spec) => spec.name);
    yield* writeLiveWorkflows(tenant, name, names);
    if (acting.onActivate !== undefined) yield* acting.onActivate(acting, tenant, name, specs);
  }
  log(acting, act, { package: name, version, channel, before: point(before), after: point(head) });
  return head;
}

/**
 * The last serial of a channel in the log: a package that was unregistered and came back continues the count, so an old
 * serial never fits again.
 */
function* lastSerial(tenant: string, name: string, channel: string): Script<number> {
  let serial = 0;
  for (const event of yield* channelHistory(tenant, name, channel)) serial = pointed(event.after)?.serial ?? serial;
  return serial;
}

/**
 * Points a channel back to the version before its head that is published and not known to fail. Repeated, it goes back
 * further. Throws PACKAGE_NOT_FOUND if there is none, CONFLICT.
 */
export function* rollBack(
  acting: Acting,
  name: string,
  channel: string,
  expectedSerial: number | null,
): Script<ChannelRecord> {
  const { tenant } = acting;
  yield* holdVersions(acting, tenant, name); // no unregister takes away the version that it goes back to
  const head = yield* lockChannel(acting, tenant, name, channel);
  if (head === undefined) throw new PackageNotFoundError(name);
  if (expectedSerial !== null && expectedSerial !== head.serial) {
    throw new ConflictError(`channel '${channel}' of package ${name} has serial ${head.serial}, not ${expectedSerial}`);
  }
  const earlier = yield* earlierVersion(tenant, name, head, (record) => record.health !== 'failed');
  if (earlier !== undefined) return yield* moveChannel(acting, 'rollback', head, { ...earlier, channel });
  const message = `channel '${channel}' of package ${name} has no earlier healthy version; activate a version by name`;
  throw new CloacinaError('PACKAGE_NOT_FOUND', message);
}

/** The latest version that a channel pointed to before its head and that is published and fit. */
export function* earlierVersion(
  tenant: string,
  name: string,
  head: ChannelRecord,
  isFit: (record: PackageRecord) => boolean,
): Script<PackageRecord | undefined> {
  for (const version of yield* earlierVersions(tenant, name, head.channel)) {
    const record = version === head.version ? undefined : yield* packageVersion(tenant, name, version);
    if (record?.status === 'published' && isFit(record)) return record;
  }
  return undefined;
}

/**
 * The versions that a channel pointed to before its head, the latest first; a rollback undoes the moves after its target.
 */
function* earlierVersions(tenant: string, name: string, channel: string): Script<string[]> {
  const stack: string[] = [];
  for (const { act, after } of yield* channelHistory(tenant, name, channel)) {
    const version = pointed(after)?.version;
    if (version === undefined) continue;
    const below = act === 'rollback' ? stack.lastIndexOf(version) : -1;
    if (below === -1) stack.push(version);
    else stack.length = below + 1;
  }
  return stack.slice(0, -1).toReversed();
}

/** Yanks a version or reverts that. Throws PACKAGE_NOT_FOUND. */
export function* yankVersion(acting: Acting, name: string, version: string, yanked: boolean): Script<PackageRecord> {
  const record = yield* lockVersion(acting, acting.tenant, name, version);
  if (record === undefined || record.status === 'deleted') throw new PackageNotFoundError(name, version);
  const status = yanked ? 'yanked' : 'published';
  if (record.status === status || (!yanked && record.status !== 'yanked')) return record;
  yield* setPackageStatus(record.id, status);
  yield* lockChannels(acting, acting.tenant, name);
  yield* unwant(acting.tenant, name, version);
  const states = { before: { status: record.status }, after: { status } };
  log(acting, yanked ? 'yank' : 'unyank', { package: name, version, ...states });
  return { ...record, status };
}

/**
 * Deletes one version, or the whole package (`version` null); tombstones stay, the bytes are collected later. Returns the
 * versions. Throws PACKAGE_NOT_FOUND, PACKAGE_ACTIVE, PACKAGE_IN_USE.
 */
export function* unregisterPackage(acting: Acting, name: string, version: string | null): Script<string[]> {
  const { tenant } = acting;
  // without a lock first: a refusal waits for no lock, however many executions are started meanwhile
  yield* checkRemovable(tenant, name, version, yield* packageVersions(tenant, name, version));
  const removed = yield* lockVersions(acting, tenant, name, version);
  // no transaction can begin to need them once they are locked: the count comes after that
  yield* checkRemovable(tenant, name, version, removed);
  const digests = removed.map((record) => record.digest).toSorted();
  for (const digest of digests) yield* touchBytes(acting, digest, staleCollectMs);
  const channels = yield* lockChannels(acting, tenant, name);
  if (version === null) yield* dropChannels(acting, name, channels);
  for (const record of removed) {
    yield* setPackageStatus(record.id, 'deleted', acting.now);
    yield* unwant(tenant, name, record.version);
    const before = { digest: record.digest, status: record.status };
    log(acting, 'unregister', { package: name, version: record.version, before });
  }
  return removed.map((record) => record.version);
}

/** Refuses the removal of versions: of none, of the head of a channel alone, of one that executions need. */
function* checkRemovable(
  tenant: string,
  name: string,
  version: string | null,
  removed: readonly PackageRecord[],
): Script<void> {
  if (removed.length === 0) throw new PackageNotFoundError(name, version ?? undefined);
  const head = (yield* channelsOf(tenant, name)).find((channel) => channel.version === version);
  if (head !== undefined) {
    const what = `channel '${head.channel}' points to package ${name} v${version}`;
    throw new CloacinaError('PACKAGE_ACTIVE', `${what}; activate another version first, or unregister all of ${name}`);
  }
  for (const record of removed) {
    const pinned = yield* pinnedCount(tenant, record.digest);
    if (pinned > 0) throw new PackageInUseError(name, record.version, pinned);
  }
}

function* dropChannels(acting: Acting, name: string, channels: readonly ChannelRecord[]): Script<void> {
  yield* removeChannels(acting.tenant, name);
  if (acting.onActivate !== undefined) yield* acting.onActivate(acting, acting.tenant, name, []);
  for (const head of channels) {
    log(acting, 'unregister', { package: name, channel: head.channel, before: point(head) });
  }
}

/** The head of a channel, as events record it. */
export type Point = {
  readonly version: string;
  readonly digest: string;
  readonly serial: number;
  /** The activated version, if the channel was held back from it. */
  readonly wanted?: { readonly version: string; readonly digest: string };
};

function point(head: ChannelRecord | undefined): Point | null {
  if (head === undefined) return null;
  const { version, digest, serial, wantedVersion, wantedDigest } = head;
  const to = { version, digest, serial };
  if (wantedVersion === null || wantedDigest === null) return to;
  return { ...to, wanted: { version: wantedVersion, digest: wantedDigest } };
}

/** Reads a value that `point` wrote; undefined for anything else. */
export function pointed(value: unknown): Point | undefined {
  return typeof value === 'object' && value !== null && 'serial' in value ? (value as Point) : undefined;
}

type Recorded = Partial<Pick<NewRegistryEvent, 'package' | 'version' | 'channel' | 'before' | 'after'>>;

/** Adds an event of an act, to be recorded at the end of its transaction. */
export function log(acting: Acting, act: RegistryAct, what: Recorded): void {
  const { tenant, actor, now: at, why } = acting;
  const nothing = { package: null, version: null, channel: null, before: null, after: null };
  acting.events.push({ at, tenant, actor, act, why, ...nothing, ...what });
}
