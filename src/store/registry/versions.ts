import { CloacinaError } from '../../core/error.ts';
import { storedJson } from '../../core/json.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/**
 * `yanked`: pinned executions continue, new ones are refused. `quarantined`: it crashed its isolate repeatedly; no
 * runner loads it. `deleted`: a tombstone, so that its name and version are never used again. Persisted words.
 */
export type PackageStatus = 'published' | 'yanked' | 'quarantined' | 'deleted';

/** The result of the last load: `healthy` it loaded, `failed` an error of its own prevented that. */
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
  /** Null before the first load. */
  readonly health: PackageHealth | null;
  readonly registeredAt: number;
}

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

/** One version, tombstones included. */
export function packageVersion(tenant: string, name: string, version: string): Script<PackageRecord | undefined> {
  return oneVersion('', tenant, name, version);
}

/** One version, locked for a change of its state: executions that hold it go on. */
export function lockVersion(
  { dialect }: Tx,
  tenant: string,
  name: string,
  version: string,
): Script<PackageRecord | undefined> {
  return oneVersion(dialect.lock('no_key_update'), tenant, name, version);
}

/** One version, held: no other transaction deletes it before the end of this one. */
export function holdVersion(
  { dialect }: Tx,
  tenant: string,
  name: string,
  version: string,
): Script<PackageRecord | undefined> {
  return oneVersion(dialect.lock('key_share'), tenant, name, version);
}

function* oneVersion(lock: string, tenant: string, name: string, version: string): Script<PackageRecord | undefined> {
  const row = yield* first<PackageRow>(
    `select ${packageColumns} from packages where tenant = $1 and name = $2 and version = $3${lock}`,
    tenant,
    name,
    version,
  );
  return row === undefined ? undefined : packageRecord(row);
}

/** The versions of one package that were not deleted, or one of them, the oldest first. */
export function packageVersions(tenant: string, name: string, version: string | null = null): Script<PackageRecord[]> {
  return livingVersions('', tenant, name, version);
}

/** The same, locked: the transaction deletes them. */
export function lockVersions(
  { dialect }: Tx,
  tenant: string,
  name: string,
  version: string | null,
): Script<PackageRecord[]> {
  return livingVersions(dialect.lock('update'), tenant, name, version);
}

/** All versions of one package that were not deleted, held: no other transaction deletes them before the end of this one. */
export function holdVersions({ dialect }: Tx, tenant: string, name: string): Script<PackageRecord[]> {
  return livingVersions(dialect.lock('key_share'), tenant, name, null);
}

function* livingVersions(lock: string, tenant: string, name: string, version: string | null): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages where tenant = $1 and name = $2 and status <> 'deleted'
     and (cast($3 as text) is null or version = $3) order by registered_at, id${lock}`,
    tenant,
    name,
    version,
  );
  return rows.map(packageRecord);
}

/** Returns the versions of all packages of a tenant that were not deleted, by name and age. */
export function* allPackages(tenant: string): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages where tenant = $1 and status <> 'deleted' order by name, registered_at, id`,
    tenant,
  );
  return rows.map(packageRecord);
}

/** The versions of all packages of all tenants, tombstones included. */
export function* everyVersion(): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages order by tenant, name, registered_at, id`,
  );
  return rows.map(packageRecord);
}

/** The manifests (JSON text) of a digest: one, unless a row was changed by hand; it is the same in every tenant. */
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

/** Records the result of a load for one version of one tenant. */
export function* setPackageHealth(id: string, health: PackageHealth | null): Script<void> {
  yield* run('update packages set health = $2 where id = $1', id, health);
}

/** The versions of all tenants that have or had these bytes, tombstones included. */
export function* versionsOf(digest: string): Script<PackageRecord[]> {
  const rows = yield* all<PackageRow>(
    `select ${packageColumns} from packages where digest = $1 order by registered_at, id`,
    digest,
  );
  return rows.map(packageRecord);
}

/** The number of executions of a tenant (null: of any) that are pinned to a digest and have not ended. */
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
 * The versions that runners of these tenants (null: all) should have: the heads of all channels (also those that do not
 * load yet, but none that is quarantined), and the versions that open executions are pinned to: those of a quarantined
 * version go on, and an execution that ends its process is charged. A digest that two tenants have is in the list twice.
 */
export function* wantedVersions(tx: Tx, tenants: readonly string[] | null): Script<readonly WantedVersion[]> {
  const ours = tenants === null ? '' : ` and ${tx.dialect.among('p.tenant', '$1')}`;
  const params = tenants === null ? [] : [JSON.stringify(tenants)];
  // jumps from digest to digest in the index: the cost is the number of versions, not of executions
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
 * Moves executions that never began to another version of their package, if that has their workflow: their own version does
 * not run. Executions whose input its code has parsed stay.
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
