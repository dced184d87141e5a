import { isLoadedElsewhere, writeConditions } from '../../store/registry/conditions.ts';
import type { Condition } from '../../store/registry/conditions.ts';
import { lockChannels, unwant } from '../../store/registry/channels.ts';
import {
  holdVersions,
  lockVersion,
  repinFresh,
  setPackageHealth,
  setPackageStatus,
} from '../../store/registry/versions.ts';
import type { ChannelRecord } from '../../store/registry/channels.ts';
import type { PackageHealth, PackageRecord, WantedVersion } from '../../store/registry/versions.ts';
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
  yield* judge(report, record, 'healthy', null);
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
  yield* judge(report, record, 'failed', why);
  let moved = false;
  for (const head of yield* lockChannels(report, tenant, name)) {
    if (head.digest === digest && (yield* stepBack(report, head, why, true))) moved = true;
  }
  return moved;
}

/** Holds the versions of the package, locks the reported one, and writes the conditions. */
function* begun(report: Reporting): Script<PackageRecord | undefined> {
  const { tenant, name, version } = report.version;
  yield* holdVersions(report, tenant, name);
  // another runner may report the same version at this moment
  const record = yield* lockVersion(report, tenant, name, version);
  yield* writeConditions(report.runner, report.version, report.conditions);
  return record;
}

/** Records the health of a locked version. */
function* judge(
  report: Reporting,
  record: PackageRecord | undefined,
  health: PackageHealth,
  why: string | null,
): Script<void> {
  if (record === undefined || record.health === health) return;
  yield* setPackageHealth(record.id, health);
  const states = { before: { health: record.health }, after: { health } };
  log(actingFor(report, why), 'report', { package: record.name, version: record.version, ...states });
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
  const { tenant, name, digest } = report.version;
  const record = yield* begun(report);
  const heads = yield* lockChannels(report, tenant, name);
  const isNews = record !== undefined && record.status !== 'deleted' && record.status !== 'quarantined';
  if (isNews) yield* quarantine(report, record, why);
  else yield* judge(report, record, 'failed', why);
  for (const head of heads) {
    if (head.digest === digest && report.now - head.activatedAt <= recentlyMs)
      yield* stepBack(report, head, why, false);
  }
  return isNews;
}

/** Quarantines a version; its row and the channels of its package are locked. */
function* quarantine(report: Reporting, record: PackageRecord, why: string): Script<void> {
  const { id, tenant, name, version, status } = record;
  yield* setPackageStatus(id, 'quarantined');
  yield* setPackageHealth(id, 'failed');
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

function actingFor(report: Reporting, why: string | null): Acting {
  const { version, runner, now, dialect, onActivate, events } = report;
  return { tenant: version.tenant, actor: `runner:${runner}`, now, why, dialect, onActivate, events };
}
