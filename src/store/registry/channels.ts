import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';
import type { PackageStatus } from './versions.ts';

export interface ChannelRecord {
  readonly package: string;
  readonly channel: string;
  readonly version: string;
  readonly digest: string;
  /** Counts the moves of this channel, from 1. */
  readonly serial: number;
  /** Epoch ms of the last move. */
  readonly activatedAt: number;
  /** The activated version, if it does not load: the channel goes there once a runner has it loaded. */
  readonly wantedVersion: string | null;
  readonly wantedDigest: string | null;
}

const channelColumns = `package, channel, version, digest, serial, activated_at as "activatedAt",
  wanted_version as "wantedVersion", wanted_digest as "wantedDigest"`;

/** The channels of one package, or of all packages of a tenant. */
export function channelsOf(tenant: string, name: string | null): Script<ChannelRecord[]> {
  return channelsIn('', tenant, name);
}

/** The channels of one package, locked. */
export function lockChannels({ dialect }: Tx, tenant: string, name: string): Script<ChannelRecord[]> {
  return channelsIn(dialect.lock('update'), tenant, name);
}

function* channelsIn(lock: string, tenant: string, name: string | null): Script<ChannelRecord[]> {
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
 * The head of a channel, locked. A channel without a row is locked by its name: of two transactions that would create it,
 * the second sees the row of the first.
 */
export function* lockChannel(tx: Tx, tenant: string, name: string, channel: string): Script<ChannelRecord | undefined> {
  const text = `select ${channelColumns} from channels
    where tenant = $1 and package = $2 and channel = $3${tx.dialect.lock('update')}`;
  const head = yield* first<ChannelRecord>(text, tenant, name, channel);
  if (head !== undefined || tx.dialect.lockNames === null) return head;
  yield* all(tx.dialect.lockNames, JSON.stringify([JSON.stringify(['channel', tenant, name, channel])]));
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

/** A channel with the tenant it belongs to. */
export interface TenantChannel extends ChannelRecord {
  readonly tenant: string;
}

/** The channels of all tenants. */
export function* everyChannel(): Script<readonly TenantChannel[]> {
  return yield* all<TenantChannel>(`select tenant, ${channelColumns} from channels order by tenant, package, channel`);
}

/** Withdraws a version as the wanted head of all channels; the channels are locked. */
export function* unwant(tenant: string, name: string, version: string): Script<void> {
  yield* run(
    `update channels set wanted_version = null, wanted_digest = null
     where tenant = $1 and package = $2 and wanted_version = $3`,
    tenant,
    name,
    version,
  );
}

/** Sets the workflows of the live channel of a package; an empty list removes them all. */
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

/** A name under which a workflow of a live channel is found. */
export interface LiveName {
  readonly tenant: string;
  readonly package: string;
  readonly workflow: string;
}

/** The names of the workflows of all live channels of all tenants. */
export function* everyLiveWorkflow(): Script<readonly LiveName[]> {
  return yield* all<LiveName>(
    'select tenant, package, workflow from channel_workflows order by tenant, package, workflow',
  );
}

const liveText = `select w.workflow, w.package, c.version, c.digest, p.status from channel_workflows w
  join channels c on c.tenant = w.tenant and c.package = w.package and c.channel = 'live'
  join packages p on p.tenant = c.tenant and p.name = c.package and p.version = c.version`;

/** The packages that offer a workflow of this name: all, or only the named one. */
export function* findWorkflow(tenant: string, workflow: string, name: string | null): Script<readonly LiveWorkflow[]> {
  if (name === null) {
    const text = `${liveText} where w.tenant = $1 and w.workflow = $2 order by w.package`;
    return yield* all<LiveWorkflow>(text, tenant, workflow);
  }
  const text = `${liveText} where w.tenant = $1 and w.workflow = $2 and w.package = $3`;
  return yield* all<LiveWorkflow>(text, tenant, workflow, name);
}

/** Every workflow that the live channels of a tenant offer. */
export function* liveWorkflows(tenant: string): Script<readonly LiveWorkflow[]> {
  return yield* all<LiveWorkflow>(`${liveText} where w.tenant = $1 order by w.workflow, w.package`, tenant);
}
