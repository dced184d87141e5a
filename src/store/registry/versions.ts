import { CloacinaError } from '../../core/error.ts';
import { storedJson } from '../../core/json.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { all, first, run } from '../script.ts';
import type { Dialect, Script } from '../script.ts';

/**
 * `yanked`: pinned executions continue, new ones are refused. `quarantined`: it crashed its isolate repeatedly; no
 * runner loads it. `deleted`: a tombstone, so that its name and version are never used again. Persisted words.
 */
export type PackageStatus = 'published' | 'yanked' | 'quarantined' | 'deleted';

/** The latest result of runners that tried a version: `healthy` it loaded, `failed` its own fault prevented loading. */
export type PackageHealth = 'healthy' | 'failed';

/** One version of a package. Times are epoch ms. */
export interface PackageRecord {
  readonly id: string;
  readonly tenant: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  /** The size of the packed file. */
  readonly bytes: number;
  readonly status: PackageStatus;
  /** Null until a runner tried it. */
  readonly health: PackageHealth | null;
  readonly registeredAt: number;
}

export interface ChannelRecord {
  readonly package: string;
  readonly channel: string;
  readonly version: string;
  readonly digest: string;
  /** Counts the moves of this channel, from 1. */
  readonly serial: number;
  /** Epoch ms of the last move. */
  readonly activatedAt: number;
  /** The version that was activated and does not load: the channel moves there once a runner has it loaded. */
  readonly wantedVersion: string | null;
  readonly wantedDigest: string | null;
}

const channelColumns = `package, channel, version, digest, serial, activated_at as "activatedAt",
  wanted_version as "wantedVersion", wanted_digest as "wantedDigest"`;

interface PackageRow {
  readonly id: string;
  readonly tenant: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly bytes: number;
  readonly status: PackageStatus;
  readonly health: PackageHealth | null;
  readonly registered_at: number;
}

const packageColumns = 'id, tenant, name, version, digest, bytes, status, health, registered_at';

function packageRecord(row: PackageRow): PackageRecord {
  const { registered_at: registeredAt, ...rest } = row;
  return { ...rest, registeredAt };
}

/** `manifest` is JSON text. Returns false if the version exists already. */
export function* insertPackage(record: PackageRecord, manifest: string): Script<boolean> {
  const inserted = yield* run(
    `insert into packages (id, tenant, name, version, digest, bytes, manifest, status, health, registered_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (tenant, name, version) do nothing`,
    record.id,
    record.tenant,
    record.name,
    record.version,
    record.digest,
    record.bytes,
    manifest,
    record.status,
    record.health,
    record.registeredAt,
  );
  return inserted === 1;
}

/** Returns one version, tombstones included; `lock` is a lock clause of the dialect. */
export function* packageVersion(
  tenant: string,
  name: string,
  version: string,
  lock: string = '',
): Script<PackageRecord | undefined> {
  const row = yield* first<PackageRow>(
    `select ${packageColumns} from packages where tenant = $1 and name = $2 and version = $3${lock}`,
    tenant,
    name,
    version,
  );
  return row === undefined ? undefined : packageRecord(row);
}

/**
 * Returns all versions, of any tenant, with the same bytes as one, the oldest first; `lock` is a lock clause of the
 * dialect.
 */
export function* versionsAlike(tenant: string, name: string, version: string, lock: string): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages where digest = (select digest from packages
       where tenant = $1 and name = $2 and version = $3) order by registered_at, id${lock}`,
    tenant,
    name,
    version,
  );
  return rows.map(packageRecord);
}

/**
 * Returns the versions of one package that were not deleted, or one of them, the oldest first; `lock` is a lock clause
 * of the dialect.
 */
export function* packageVersions(
  tenant: string,
  name: string,
  version: string | null = null,
  lock: string = '',
): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages where tenant = $1 and name = $2 and status <> 'deleted'
     and (cast($3 as text) is null or version = $3) order by registered_at, id${lock}`,
    tenant,
    name,
    version,
  );
  return rows.map(packageRecord);
}

/** Returns the versions of all packages of a tenant (null: of all tenants) that were not deleted, by name and age. */
export function* allPackages(tenant: string | null): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages where (cast($1 as text) is null or tenant = $1) and status <> 'deleted'
     order by tenant, name, registered_at, id`,
    tenant,
  );
  return rows.map(packageRecord);
}

/**
 * Returns the manifests (JSON text) of a digest: one, unless a row was changed by hand; it is identical in every
 * tenant.
 */
export function* manifestsOf(digest: string): Script<string[]> {
  const rows = yield* all<{ manifest: string }>('select distinct manifest from packages where digest = $1', digest);
  return rows.map((row) => row.manifest);
}

/** Returns the workflows of a version from its manifest; none if there is no such version. Throws ROW_DAMAGED. */
export function* workflowsOf(digest: string): Script<readonly WorkflowSpec[]> {
  const [text] = yield* manifestsOf(digest);
  return text === undefined ? [] : manifestWorkflows(text, digest);
}

/** Parses the workflows of a stored manifest. Throws ROW_DAMAGED. */
export function manifestWorkflows(text: string, digest: string): readonly WorkflowSpec[] {
  const what = `the manifest of ${digest}`;
  const manifest = storedJson(text, what);
  const list: unknown =
    typeof manifest === 'object' && manifest !== null ? Reflect.get(manifest, 'workflows') : undefined;
  if (Array.isArray(list)) return list as WorkflowSpec[];
  throw new CloacinaError('ROW_DAMAGED', `${what} is damaged in the database: it has no workflows`);
}

export function* setPackageStatus(id: string, status: PackageStatus, endedAt: number | null = null): Script<void> {
  yield* run('update packages set status = $2, ended_at = $3 where id = $1', id, status, endedAt);
}

/** Stores a runner's finding, for all tenants that have these bytes. */
export function* setPackageHealth(digest: string, health: PackageHealth | null, dialect: Dialect): Script<void> {
  const differs = "digest = $1 and coalesce(health, '') <> coalesce(cast($2 as text), '')";
  // an update by itself locks the rows in an arbitrary order
  const text = `select id from packages where ${differs} order by registered_at, id${dialect.forNoKeyUpdate}`;
  if ((yield* all(text, digest, health)).length === 0) return;
  yield* run(`update packages set health = $2 where ${differs}`, digest, health);
}

/**
 * Locks every version of the packages that have these bytes: none of them is deleted until the end of the transaction.
 */
export function* holdPackagesOf(digest: string, dialect: Dialect): Script<void> {
  yield* all(
    `select id from packages where (tenant, name) in (select tenant, name from packages where digest = $1)
     order by registered_at, id${dialect.forKeyShare}`,
    digest,
  );
}

/**
 * Returns the versions with these bytes, of all tenants, tombstones included; `lock` is a lock clause of the dialect.
 */
export function* versionsOf(digest: string, lock: string = ''): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages where digest = $1 order by registered_at, id${lock}`,
    digest,
  );
  return rows.map(packageRecord);
}

/** Returns the channels of one package, or of all packages of a tenant; `lock` is a lock clause of the dialect. */
export function* channelsOf(tenant: string, name: string | null, lock: string = ''): Script<ChannelRecord[]> {
  return [
    ...(yield* all<ChannelRecord>(
      `select ${channelColumns} from channels
       where tenant = $1 and (cast($2 as text) is null or package = $2) order by package, channel${lock}`,
      tenant,
      name,
    )),
  ];
}

/**
 * Returns the locked row of a channel. A channel without a row is locked by its name: of two transactions that would
 * create it, the second sees the row of the first.
 */
export function* lockChannel(
  tenant: string,
  name: string,
  channel: string,
  dialect: Dialect,
): Script<ChannelRecord | undefined> {
  const text = `select ${channelColumns} from channels
    where tenant = $1 and package = $2 and channel = $3${dialect.forUpdate}`;
  const head = yield* first<ChannelRecord>(text, tenant, name, channel);
  if (head !== undefined || dialect.lockNames === null) return head;
  yield* all(dialect.lockNames, JSON.stringify([JSON.stringify(['channel', tenant, name, channel])]));
  return yield* first<ChannelRecord>(text, tenant, name, channel);
}

export function* writeChannel(tenant: string, head: ChannelRecord): Script<void> {
  yield* run(
    `insert into channels (tenant, package, channel, version, digest, serial, activated_at, wanted_version, wanted_digest)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     on conflict (tenant, package, channel) do update set version = excluded.version, digest = excluded.digest,
     serial = excluded.serial, activated_at = excluded.activated_at, wanted_version = excluded.wanted_version,
     wanted_digest = excluded.wanted_digest`,
    tenant,
    head.package,
    head.channel,
    head.version,
    head.digest,
    head.serial,
    head.activatedAt,
    head.wantedVersion,
    head.wantedDigest,
  );
}

/** A channel with its tenant. */
export interface TenantChannel extends ChannelRecord {
  readonly tenant: string;
}

/** Returns the channels of all tenants that point to these bytes, or want to; locked. */
export function* lockChannelsAt(digest: string, dialect: Dialect): Script<readonly TenantChannel[]> {
  return yield* all<TenantChannel>(
    `select tenant, ${channelColumns} from channels where digest = $1 or wanted_digest = $1
     order by tenant, package, channel${dialect.forUpdate}`,
    digest,
  );
}

/** Removes a version as the wanted head of channels; the channels are locked. */
export function* unwant(tenant: string, name: string, version: string): Script<void> {
  yield* run(
    `update channels set wanted_version = null, wanted_digest = null
     where tenant = $1 and package = $2 and wanted_version = $3`,
    tenant,
    name,
    version,
  );
}

/** Writes the workflows of a package's live channel; an empty list removes them all. */
export function* writeLiveWorkflows(tenant: string, name: string, workflows: readonly string[]): Script<void> {
  yield* run('delete from channel_workflows where tenant = $1 and package = $2', tenant, name);
  for (const workflow of workflows) {
    yield* run('insert into channel_workflows (tenant, workflow, package) values ($1, $2, $3)', tenant, workflow, name);
  }
}

export function* removeChannels(tenant: string, name: string): Script<void> {
  yield* run('delete from channels where tenant = $1 and package = $2', tenant, name);
  yield* writeLiveWorkflows(tenant, name, []);
}

/** A workflow that a live channel offers. */
export interface LiveWorkflow {
  readonly workflow: string;
  readonly package: string;
  readonly version: string;
  readonly digest: string;
  readonly status: PackageStatus;
}

const liveText = `select w.workflow, w.package, c.version, c.digest, p.status from channel_workflows w
  join channels c on c.tenant = w.tenant and c.package = w.package and c.channel = 'live'
  join packages p on p.tenant = c.tenant and p.name = c.package and p.version = c.version`;

/** Returns the live workflows of this name: in every package, or in one. */
export function* findWorkflow(tenant: string, workflow: string, name: string | null): Script<readonly LiveWorkflow[]> {
  if (name === null) {
    const text = `${liveText} where w.tenant = $1 and w.workflow = $2 order by w.package`;
    return yield* all<LiveWorkflow>(text, tenant, workflow);
  }
  const text = `${liveText} where w.tenant = $1 and w.workflow = $2 and w.package = $3`;
  return yield* all<LiveWorkflow>(text, tenant, workflow, name);
}

/** Returns every workflow of the live channels of a tenant. */
export function* liveWorkflows(tenant: string): Script<readonly LiveWorkflow[]> {
  return yield* all<LiveWorkflow>(`${liveText} where w.tenant = $1 order by w.workflow, w.package`, tenant);
}

/** Returns the number of open executions of a tenant (null: of any) that are pinned to a digest. */
export function* pinnedCount(tenant: string | null, digest: string): Script<number> {
  const row = yield* first<{ count: number }>(
    'select count(*) as count from executions where digest = $1 and ended_at is null and (cast($2 as text) is null or tenant = $2)',
    digest,
    tenant,
  );
  return row?.count ?? 0;
}

/** A version that runners should have loaded. */
export interface WantedVersion {
  readonly tenant: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly status: PackageStatus;
}

/**
 * Returns the versions that runners of these tenants (null: all) should load: the heads of all channels (including
 * those that do not load yet, but no quarantined ones), and the versions with pinned open executions: those of a
 * quarantined version continue, and an execution that ends its process is charged. A digest of two tenants appears
 * twice.
 */
export function* wantedVersions(tenants: readonly string[] | null, dialect: Dialect): Script<readonly WantedVersion[]> {
  const ours = tenants === null ? '' : ` and ${dialect.among('p.tenant', '$1')}`;
  const params = tenants === null ? [] : [JSON.stringify(tenants)];
  // jumps from digest to digest in the index: its cost is the number of versions, not of executions
  const text = `with recursive pinned(digest) as (
      select min(digest) from executions where digest is not null and ended_at is null
      union all
      select (select min(e.digest) from executions e where e.digest > pinned.digest and e.ended_at is null)
      from pinned where pinned.digest is not null)
    select p.tenant, p.name, p.version, p.digest, p.status from packages p where
    (p.digest in (select digest from pinned where digest is not null)
      or p.status <> 'quarantined' and exists (select 1 from channels c where c.tenant = p.tenant and c.package = p.name
        and (c.version = p.version or c.wanted_version = p.version)))${ours}
    order by p.registered_at desc, p.id`;
  return yield* all<WantedVersion>(text, ...params);
}

/**
 * Moves executions that never began to another version of their package, if that has their workflow: the version that
 * they were created for cannot be loaded. Executions whose input its own code has parsed stay.
 */
export function* repinFresh(
  from: { readonly tenant: string; readonly package: string; readonly digest: string },
  to: { readonly version: string; readonly digest: string },
): Script<number> {
  return yield* run(
    `update executions set digest = $4, build_id = $4, version = $5 where tenant = $1 and package = $2 and digest = $3
     and epoch = 0 and ended_at is null and input_parsed = 0 and exists (select 1 from channel_workflows w
       where w.tenant = executions.tenant and w.package = executions.package and w.workflow = executions.workflow)`,
    from.tenant,
    from.package,
    from.digest,
    to.digest,
    to.version,
  );
}
