import { PackageNotFoundError } from '../../core/error.ts';
import { storedJson } from '../../core/json.ts';
import { conditionsOf } from '../../store/registry/conditions.ts';
import type { Condition, RunnerConditions } from '../../store/registry/conditions.ts';
import { channelHistory } from '../../store/registry/log.ts';
import type { RegistryEvent } from '../../store/registry/log.ts';
import { channelsOf } from '../../store/registry/channels.ts';
import {
  allPackages,
  manifestsOf,
  packageVersion,
  packageVersions,
  workflowsOf,
} from '../../store/registry/versions.ts';
import type { ChannelRecord } from '../../store/registry/channels.ts';
import type { PackageRecord, PackageStatus } from '../../store/registry/versions.ts';
import type { Script } from '../../store/script.ts';
import type { Manifest } from '../archive/manifest.ts';
import { liveChannel } from './commands.ts';

/** One version of a package in a list. */
export interface PackageItem {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  /** Size of the packed file. */
  readonly bytes: number;
  /** True if the live channel points to it. */
  readonly active: boolean;
  readonly status: PackageStatus;
  /** Epoch ms. */
  readonly registeredAt: number;
}

/** One version with its manifest. */
export interface PackageVersion extends PackageItem {
  readonly manifest: Manifest;
}

export interface HeldBack {
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
  /** The name of a living runner, else the id of the one that moved the channel. */
  readonly runner: string;
}

/** A package with its channels and versions (the oldest first), and the conditions of each runner. */
export interface PackageView {
  readonly name: string;
  readonly channels: {
    readonly [channel: string]: {
      readonly version: string;
      readonly serial: number;
      /** The version that was activated but does not load; the channel moves there once it does. */
      readonly wanted?: string;
      /** Why `wanted` does not load: what the runner said that moved the channel back, or a living one says now. */
      readonly heldBack?: HeldBack;
    };
  };
  readonly versions: readonly {
    readonly version: string;
    readonly digest: string;
    readonly status: PackageStatus;
    /** Epoch ms. */
    readonly registeredAt: number;
    readonly workflows: readonly string[];
    /** The permissions beyond its own folder. */
    readonly permissions: Manifest['permissions'];
    readonly runners: readonly {
      readonly runner: string;
      readonly name: string;
      readonly conditions: readonly Condition[];
    }[];
  }[];
}

/** Returns all versions of all packages of a tenant, by name and age. */
export function* packageList(tenant: string): Script<PackageItem[]> {
  const heads = liveHeads(yield* channelsOf(tenant, null));
  return (yield* allPackages(tenant)).map((record) => item(record, heads));
}

/**
 * Returns one version with its manifest as JSON text; without a number the live one, else the newest. Throws
 * PACKAGE_NOT_FOUND.
 */
export function* packageItem(
  tenant: string,
  name: string,
  version: string | null,
): Script<PackageItem & { readonly manifest: string }> {
  const heads = liveHeads(yield* channelsOf(tenant, name));
  const wanted = version ?? heads.get(name);
  const record =
    wanted === undefined ? (yield* packageVersions(tenant, name)).at(-1) : yield* packageVersion(tenant, name, wanted);
  if (record === undefined || record.status === 'deleted') throw new PackageNotFoundError(name, version ?? undefined);
  const [manifest] = yield* manifestsOf(record.digest);
  return { ...item(record, heads), manifest: manifest! };
}

/** Returns a package with its channels, its versions and the conditions of the runners. Throws PACKAGE_NOT_FOUND. */
export function* packageView(tenant: string, name: string): Script<PackageView> {
  const versions = yield* packageVersions(tenant, name);
  if (versions.length === 0) throw new PackageNotFoundError(name);
  const channels = yield* channelsOf(tenant, name);
  const conditions = yield* conditionsOf(tenant, name);
  const documents: PackageView['versions'][number][] = [];
  for (const { version, digest, status, registeredAt } of versions) {
    const workflows = (yield* workflowsOf(digest)).map((spec) => spec.name);
    const permissions = (yield* permissionsOf(digest))!;
    const runners = conditions
      .filter((entry) => entry.digest === digest)
      .map((entry) => ({ runner: entry.runner, name: entry.name, conditions: entry.conditions }));
    documents.push({ version, digest, status, registeredAt, workflows, permissions, runners });
  }
  const heads: [string, PackageView['channels'][string]][] = [];
  for (const { channel, version, serial, wantedVersion: wanted, wantedDigest } of channels) {
    if (wanted === null) {
      heads.push([channel, { version, serial }]);
      continue;
    }
    const told = conditions.filter(({ digest }) => digest === wantedDigest).flatMap(heldBy);
    const heldBack = told[0] ?? heldIn(yield* channelHistory(tenant, name, channel));
    heads.push([channel, { version, serial, wanted, ...(heldBack === undefined ? {} : { heldBack }) }]);
  }
  return { name, channels: Object.fromEntries(heads), versions: documents };
}

/** What a living runner says of a version that does not load there. */
function heldBy({ name: runner, conditions }: RunnerConditions): HeldBack[] {
  const fault = conditions.find(({ status }) => !status);
  return fault === undefined ? [] : [{ reason: fault.reason, message: fault.message ?? '', runner }];
}

/** The reason in the log, `LoadFailed: message`, of the runner that moved the channel back. */
function heldIn(history: readonly RegistryEvent[]): HeldBack | undefined {
  const last = history.at(-1);
  if (last?.act !== 'rollback' || last.why === null) return undefined;
  const { actor, why } = last;
  const colon = why.indexOf(': ');
  return { reason: why.slice(0, colon), message: why.slice(colon + 2), runner: actor.replace(/^runner:/, '') };
}

/** Returns the permissions in the manifest of a version; undefined if there is no such version. Throws ROW_DAMAGED. */
export function* permissionsOf(digest: string): Script<Manifest['permissions'] | undefined> {
  const [text] = yield* manifestsOf(digest);
  return text === undefined ? undefined : (storedJson(text, `the manifest of ${digest}`) as Manifest).permissions;
}

function liveHeads(channels: readonly ChannelRecord[]): ReadonlyMap<string, string> {
  const live = channels.filter((head) => head.channel === liveChannel);
  return new Map(live.map((head) => [head.package, head.version]));
}

function item(record: PackageRecord, heads: ReadonlyMap<string, string>): PackageItem {
  const { id, name, version, digest, bytes, status, registeredAt } = record;
  return { id, name, version, digest, bytes, active: heads.get(name) === version, status, registeredAt };
}
