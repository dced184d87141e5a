import { isLoadedElsewhere, writeConditions } from '../../store/registry/conditions.ts';
import type { Condition } from '../../store/registry/conditions.ts';
import { lockChannels, unwant } from '../../store/registry/channels.ts';
import {
  holdVersions,
  lockVersion,
  packageVersion,
  repinFresh,
  setPackageHealth,
  setPackageStatus,
} from '../../store/registry/versions.ts';
import type { ChannelRecord } from '../../store/registry/channels.ts';
import type { PackageRecord, WantedVersion } from '../../store/registry/versions.ts';
import type { Script, Tx } from '../../store/script.ts';
import { earlierVersion, log, moveChannel, recorded } from './commands.ts';
import type { Acting, ActivateHook } from './commands.ts';

/** A head that was activated longer ago is not replaced by the version before it. */
const recentlyMs = 3_600_000;

/** A version of one tenant. Another tenant may have the same bytes; a report never changes its rows. */
export type ReportedVersion = Pick<WantedVersion, 'tenant' | 'name' | 'version' | 'digest'>;

/** The transaction of a report: the result of a load at a runner, written together with its consequences. */
export interface Report extends Tx {
  /** The runner's id. */
  readonly runner: string;
  readonly version: ReportedVersion;
  readonly conditions: readonly Condition[];
  readonly onActivate: ActivateHook | undefined;
}

/** A report with its events so far. */
type Reporting = Report & Pick<Acting, 'events'>;

/** The version is loaded here. Channels that were held back from it move to it now. Returns true if a channel moved. */
export function* reportLoaded(report: Report): Script<boolean> {
  return yield* recorded(report, (events) => loaded({ ...report, events }));
}

function* loaded(report: Reporting): Script<boolean> {
  const { tenant, name, version, digest } = report.version;
  const record = yield* begun(report);
  if (record !== undefined) yield* setPackageHealth(record.id, 'healthy');
  let moved = false;
  for (const head of yield* lockChannels(report, tenant, name)) {
    if (head.wantedDigest !== digest) continue;
    const { channel } = head;
    yield* moveChannel(actingFor(report, 'it loads now'), 'activate', head, { name, version, digest, channel });
    moved = true;
  }
  return moved;
}

/**
 * The version does not load here. If it never loaded anywhere, it must not replace one that works: channels that point to
 * it go back to the version before that is known to load, and keep it as their wanted version. Returns true if a channel
 * moved.
 */
export function* reportFailed(report: Report, why: string): Script<boolean> {
  return yield* recorded(report, (events) => failed({ ...report, events }, why));
}

function* failed(report: Reporting, why: string): Script<boolean> {
  const { tenant, name, digest } = report.version;
  const record = yield* begun(report);
  if (yield* isLoadedElsewhere(report.runner, report.version)) return false;
  if (record?.health === 'healthy') return false;
  if (record !== undefined) yield* setPackageHealth(record.id, 'failed');
  let moved = false;
  for (const head of yield* lockChannels(report, tenant, name)) {
    if (head.digest === digest && (yield* stepBack(report, head, why, true))) moved = true;
  }
  return moved;
}

/** Holds the versions of the package, writes the conditions, and returns the version. */
function* begun(report: Reporting): Script<PackageRecord | undefined> {
  const { tenant, name, version } = report.version;
  yield* holdVersions(report, tenant, name);
  yield* writeConditions(report.runner, report.version, report.conditions);
  return yield* packageVersion(tenant, name, version);
}

/**
 * The version crashed its process again and again in executions of its tenant: from now on no runner loads it for that
 * tenant, and a channel that was pointed to it lately goes back to the version before that is known to load. Returns true
 * if that was news.
 */
export function* reportCrashLoop(report: Report, why: string): Script<boolean> {
  return yield* recorded(report, (events) => crashLooped({ ...report, events }, why));
}

function* crashLooped(report: Reporting, why: string): Script<boolean> {
  const { runner, conditions, now } = report;
  const { tenant, name, version, digest } = report.version;
  yield* holdVersions(report, tenant, name);
  const record = yield* lockVersion(report, tenant, name, version);
  yield* writeConditions(runner, report.version, conditions);
  if (record !== undefined) yield* setPackageHealth(record.id, 'failed');
  const heads = yield* lockChannels(report, tenant, name);
  const isNews = record !== undefined && record.status !== 'deleted' && record.status !== 'quarantined';
  if (isNews) yield* quarantine(report, record, why);
  for (const head of heads) {
    if (head.digest === digest && now - head.activatedAt <= recentlyMs) yield* stepBack(report, head, why, false);
  }
  return isNews;
}

/** Quarantines a version; its row and the channels of its package are locked. */
function* quarantine(report: Reporting, record: PackageRecord, why: string): Script<void> {
  const { id, tenant, name, version, status } = record;
  yield* setPackageStatus(id, 'quarantined');
  yield* unwant(tenant, name, version);
  const states = { before: { status }, after: { status: 'quarantined' } };
  log(actingFor(report, why), 'quarantine', { package: name, version, ...states });
}

/** Moves a locked channel to the version before its head that is known to load; returns false if there is none. */
function* stepBack(report: Reporting, head: ChannelRecord, why: string, remember: boolean): Script<boolean> {
  const { tenant, name, digest } = report.version;
  const { channel } = head;
  const earlier = yield* earlierVersion(tenant, name, head, (record) => record.health === 'healthy');
  if (earlier === undefined) return false;
  const wanted = { wantedVersion: remember ? head.version : null, wantedDigest: remember ? digest : null };
  yield* moveChannel(actingFor(report, why), 'rollback', head, { ...earlier, channel }, wanted);
  if (channel === 'live') yield* repinFresh({ tenant, package: name, digest }, earlier);
  return true;
}

function actingFor(report: Reporting, why: string): Acting {
  const { version, runner, now, dialect, onActivate, events } = report;
  return { tenant: version.tenant, actor: `runner:${runner}`, now, why, dialect, onActivate, events };
}
