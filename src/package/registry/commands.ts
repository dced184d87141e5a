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
  insertPackage,
  lockChannel,
  packageVersion,
  packageVersions,
  pinnedCount,
  removeChannels,
  setPackageHealth,
  setPackageStatus,
  unwant,
  versionsAlike,
  workflowsOf,
  writeChannel,
  writeLiveWorkflows,
} from '../../store/registry/versions.ts';
import type { ChannelRecord, PackageRecord } from '../../store/registry/versions.ts';
import { unavailable } from '../../store/commit/pinned-versions.ts';
import { appendRegistryEvents, channelHistory } from '../../store/registry/log.ts';
import type { NewRegistryEvent, RegistryAct } from '../../store/registry/log.ts';
import type { Dialect, Script } from '../../store/script.ts';

/*
 * The lock order of all commands, so that no two of them ever wait for each other in a circle:
 *
 * 1. versions, the oldest first (as everywhere else, see `pinned-versions.ts`), of all tenants if a command changes
 * them;
 * 2. stored bytes, by digest;
 * 3. channels, by tenant, package and name; their rows in `channel_workflows` belong to them;
 * 4. schedules and executions;
 * 5. the head of the log, which all commands of all tenants share: a command gathers its events and ends with them
 * (`recorded`).
 *
 * The conditions of a living runner (`package_conditions`) are written by that runner alone, so they have no place in
 * the order.
 */

/** The channel that executions follow. */
export const liveChannel = 'live';

/** An older mark of a collector is ignored: the collector died between its mark and its deletion. */
export const staleCollectMs: number = 10 * 60_000;

/**
 * Runs in the transaction that moves the live channel of a package, with the workflows of its new head; with none if
 * the package is unregistered. Packaged schedules are written here.
 */
export type ActivateHook = (
  tenant: string,
  packageName: string,
  workflows: readonly WorkflowSpec[],
  at: number,
  dialect: Dialect,
) => Script<void>;

/** Actor, time and reason of a command; every command below is one transaction that ends with its events. */
export interface CommandContext {
  readonly tenant: string;
  readonly actor: string;
  /** Epoch ms. */
  readonly at: number;
  readonly why: string | null;
  readonly dialect: Dialect;
  readonly onActivate: ActivateHook | undefined;
  /** The events of the command so far, recorded at its end. */
  readonly events: NewRegistryEvent[];
}

/** Runs a command, and appends its events to the log after everything else is done. */
export function* recorded<T>(dialect: Dialect, act: (events: NewRegistryEvent[]) => Script<T>): Script<T> {
  const events: NewRegistryEvent[] = [];
  const result = yield* act(events);
  yield* appendRegistryEvents(events, dialect);
  return result;
}

/**
 * Inserts a version whose bytes are already stored. The same bytes again: returns the existing version with `created`
 * false. Throws PACKAGE_EXISTS, PACKAGE_DELETED, and CONFLICT if the bytes were collected at this moment.
 */
export function* publishVersion(
  context: CommandContext,
  record: PackageRecord,
  manifest: string,
): Script<{ readonly record: PackageRecord; readonly created: boolean }> {
  const { name, version, digest } = record;
  const existing = yield* packageVersion(context.tenant, name, version, context.dialect.forNoKeyUpdate);
  if (existing !== undefined) return { record: sameVersion(existing, digest), created: false };
  if (!(yield* insertPackage(record, manifest))) return yield* publishVersion(context, record, manifest);
  if (yield* isCollecting(digest, context.dialect)) throw collecting(name, version);
  log(context, 'publish', { package: name, version, after: { digest, bytes: record.bytes } });
  return { record, created: true };
}

/** Returns the existing version if it has the same digest. Throws PACKAGE_EXISTS, PACKAGE_DELETED. */
export function sameVersion(existing: PackageRecord, digest: string): PackageRecord {
  const { name, version } = existing;
  if (existing.status === 'deleted') {
    const message = `package ${name} v${version} was deleted, and a deleted version is never used again: raise the version`;
    throw new CloacinaError('PACKAGE_DELETED', message);
  }
  if (existing.digest !== digest) throw new PackageExistsError(name, version);
  return existing;
}

/** The error of a publish that met the deletion of the same bytes. */
export function collecting(name: string, version: string): ConflictError {
  return new ConflictError(
    `the bytes of package ${name} v${version} are being deleted at this moment; publish it again`,
  );
}

export interface Activation {
  readonly head: ChannelRecord;
  /** False if the channel pointed there already. */
  readonly moved: boolean;
}

/**
 * Points a channel to a version; `expectedSerial` must equal the channel's serial (0: it has no head yet). A quarantine
 * of the version is lifted. Throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE, CONFLICT.
 */
export function* activateVersion(
  context: CommandContext,
  name: string,
  version: string,
  channel: string,
  expectedSerial: number | null,
): Script<Activation> {
  const { tenant, dialect } = context;
  // of other tenants, too: lifting a quarantine removes the conditions of the bytes
  const alike = yield* versionsAlike(tenant, name, version, dialect.forNoKeyUpdate);
  const record = alike.find((one) => one.tenant === tenant);
  if (record === undefined || record.status === 'deleted') throw new PackageNotFoundError(name, version);
  if (record.status === 'yanked') throw unavailable(name, version, 'yanked');
  if (record.status === 'quarantined') {
    yield* setPackageStatus(record.id, 'published');
    yield* setPackageHealth(record.digest, null, dialect);
  }
  return yield* pointChannel(context, record, channel, expectedSerial);
}

/**
 * Points a channel to a version with a locked row; lifting a quarantine counts as a change even if the channel points
 * there already.
 */
export function* pointChannel(
  context: CommandContext,
  record: PackageRecord,
  channel: string,
  expectedSerial: number | null,
): Script<Activation> {
  const { tenant, dialect } = context;
  const { name, version } = record;
  const head = yield* lockChannel(tenant, name, channel, dialect);
  const serial = head?.serial ?? 0;
  if (expectedSerial !== null && expectedSerial !== serial) {
    const what = `channel '${channel}' of package ${name} has serial ${serial}, not ${expectedSerial}`;
    throw new ConflictError(`${what}: somebody moved it; look where it points and try again`);
  }
  const isThere = head?.version === version && head.wantedVersion === null;
  if (isThere && record.status !== 'quarantined') return { head, moved: false };
  return {
    head: yield* moveChannel(context, 'activate', head, { ...record, channel }),
    moved: head?.version !== version,
  };
}

/** Moves a channel to a version with a locked row; calls the hook and records the event. */
export function* moveChannel(
  context: CommandContext,
  act: 'activate' | 'rollback',
  before: ChannelRecord | undefined,
  to: { readonly name: string; readonly version: string; readonly digest: string; readonly channel: string },
  wanted: Pick<ChannelRecord, 'wantedVersion' | 'wantedDigest'> = { wantedVersion: null, wantedDigest: null },
): Script<ChannelRecord> {
  const { tenant, at, dialect } = context;
  const serial = 1 + (before?.serial ?? (yield* lastSerial(tenant, to.name, to.channel)));
  const { name, version, digest, channel } = to;
  const head: ChannelRecord = { package: name, channel, version, digest, serial, activatedAt: at, ...wanted };
  yield* writeChannel(tenant, head);
  if (channel === liveChannel) {
    const specs = yield* workflowsOf(digest);
    const names = specs.map((spec) => spec.name);
    yield* writeLiveWorkflows(tenant, name, names);
    if (context.onActivate !== undefined) yield* context.onActivate(tenant, name, specs, at, dialect);
  }
  log(context, act, { package: name, version, channel, before: point(before), after: point(head) });
  return head;
}

/** A package that was removed and came back continues its serials, so an old serial never matches again. */
function* lastSerial(tenant: string, name: string, channel: string): Script<number> {
  let serial = 0;
  for (const event of yield* channelHistory(tenant, name, channel)) serial = pointed(event.after)?.serial ?? serial;
  return serial;
}

/**
 * Points a channel back to the latest earlier version that is published and not known to fail. Repeated, it goes back
 * further. Throws PACKAGE_NOT_FOUND if there is none, CONFLICT.
 */
export function* rollBack(
  context: CommandContext,
  name: string,
  channel: string,
  expectedSerial: number | null,
): Script<ChannelRecord> {
  const { tenant, dialect } = context;
  yield* packageVersions(tenant, name, null, dialect.forKeyShare); // the target cannot be deleted meanwhile
  const head = yield* lockChannel(tenant, name, channel, dialect);
  if (head === undefined) throw new PackageNotFoundError(name);
  if (expectedSerial !== null && expectedSerial !== head.serial) {
    throw new ConflictError(`channel '${channel}' of package ${name} has serial ${head.serial}, not ${expectedSerial}`);
  }
  const earlier = yield* earlierVersion(tenant, name, head, (record) => record.health !== 'failed');
  if (earlier !== undefined) return yield* moveChannel(context, 'rollback', head, { ...earlier, channel });
  const message = `channel '${channel}' of package ${name} has no earlier healthy version to go back to; activate one by name`;
  throw new CloacinaError('PACKAGE_NOT_FOUND', message);
}

/** Returns the latest published and healthy version that a channel pointed to before its head. */
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
 * Returns the versions that a channel pointed to before its head, the latest first; a rollback removes the versions
 * after its target.
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

/** Yanks or unyanks a version. Throws PACKAGE_NOT_FOUND. */
export function* yankVersion(
  context: CommandContext,
  name: string,
  version: string,
  yanked: boolean,
): Script<PackageRecord> {
  const record = yield* packageVersion(context.tenant, name, version, context.dialect.forNoKeyUpdate);
  if (record === undefined || record.status === 'deleted') throw new PackageNotFoundError(name, version);
  const status = yanked ? 'yanked' : 'published';
  if (record.status === status || (!yanked && record.status !== 'yanked')) return record;
  yield* setPackageStatus(record.id, status);
  yield* channelsOf(context.tenant, name, context.dialect.forUpdate);
  yield* unwant(context.tenant, name, version);
  const states = { before: { status: record.status }, after: { status } };
  log(context, yanked ? 'yank' : 'unyank', { package: name, version, ...states });
  return { ...record, status };
}

/**
 * Deletes one version, or the whole package (`version` null); tombstones stay, the bytes are collected later. Returns
 * the versions. Throws PACKAGE_NOT_FOUND, PACKAGE_ACTIVE, PACKAGE_IN_USE.
 */
export function* unregisterPackage(context: CommandContext, name: string, version: string | null): Script<string[]> {
  const { tenant, dialect } = context;
  // first without a lock: a refused command waits for no lock, however many executions start meanwhile
  yield* removable(tenant, name, version, '');
  const removed = yield* removable(tenant, name, version, dialect.forUpdate);
  const digests = removed.map((record) => record.digest).toSorted();
  for (const digest of digests) yield* touchBytes(digest, context.at, staleCollectMs, dialect);
  const channels = yield* channelsOf(tenant, name, dialect.forUpdate);
  if (version === null) yield* dropChannels(context, name, channels);
  for (const record of removed) {
    yield* setPackageStatus(record.id, 'deleted', context.at);
    yield* unwant(tenant, name, record.version);
    const before = { digest: record.digest, status: record.status };
    log(context, 'unregister', { package: name, version: record.version, before });
  }
  return removed.map((record) => record.version);
}

/**
 * Returns the versions to delete. After they are locked no new execution can be pinned to them; existing pins are
 * counted after that.
 */
function* removable(tenant: string, name: string, version: string | null, lock: string): Script<PackageRecord[]> {
  const removed = yield* packageVersions(tenant, name, version, lock);
  if (removed.length === 0) throw new PackageNotFoundError(name, version ?? undefined);
  const head = (yield* channelsOf(tenant, name)).find((channel) => channel.version === version);
  if (head !== undefined) {
    const what = `package ${name} v${version} is what channel '${head.channel}' points to`;
    throw new CloacinaError('PACKAGE_ACTIVE', `${what}; activate another version first, or unregister all of ${name}`);
  }
  for (const record of removed) {
    const pinned = yield* pinnedCount(tenant, record.digest);
    if (pinned > 0) throw new PackageInUseError(name, record.version, pinned);
  }
  return removed;
}

function* dropChannels(context: CommandContext, name: string, channels: readonly ChannelRecord[]): Script<void> {
  yield* removeChannels(context.tenant, name);
  if (context.onActivate !== undefined)
    yield* context.onActivate(context.tenant, name, [], context.at, context.dialect);
  for (const head of channels) {
    log(context, 'unregister', { package: name, channel: head.channel, before: point(head) });
  }
}

/** The target of a channel in an event. */
export interface Point {
  readonly version: string;
  readonly digest: string;
  readonly serial: number;
}

function point(head: ChannelRecord | undefined): { version: string; digest: string; serial: number } | null {
  return head === undefined ? null : { version: head.version, digest: head.digest, serial: head.serial };
}

/** Parses a `Point` of an event; undefined for any other value. */
export function pointed(value: unknown): Point | undefined {
  return typeof value === 'object' && value !== null && 'serial' in value ? (value as Point) : undefined;
}

type Recorded = Partial<Pick<NewRegistryEvent, 'package' | 'version' | 'channel' | 'before' | 'after'>>;

/** Adds an event of the command, to be recorded at the end of its transaction. */
export function log(context: CommandContext, act: RegistryAct, what: Recorded): void {
  const { tenant, actor, at, why } = context;
  const nothing = { package: null, version: null, channel: null, before: null, after: null };
  context.events.push({ at, tenant, actor, act, why, ...nothing, ...what });
}
