import { isLoadedElsewhere, writeConditions } from '../../store/registry/conditions.ts';
import type { Condition } from '../../store/registry/conditions.ts';
import { lockChannelsAt, unwant } from '../../store/registry/channels.ts';
import {
  holdPackagesOf,
  lockChoicesOf,
  repinFresh,
  setPackageHealth,
  setPackageStatus,
  versionsOf,
} from '../../store/registry/versions.ts';
import type { TenantChannel } from '../../store/registry/channels.ts';
import type { PackageRecord } from '../../store/registry/versions.ts';
import type { Script, Tx } from '../../store/script.ts';
import { earlierVersion, log, moveChannel, recorded } from './commands.ts';
import type { Acting, ActivateHook } from './commands.ts';

/** A head that was activated longer ago is not replaced by the version before it. */
const recentlyMs = 3_600_000;

/** The transaction of a report: the result of a load at a runner, written together with its consequences. */
export interface Report extends Tx {
  /** The runner's id. */
  readonly runner: string;
  readonly digest: string;
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
  const { runner, digest, conditions } = report;
  yield* holdPackagesOf(report, digest);
  yield* writeConditions(runner, digest, conditions);
  yield* setPackageHealth(report, digest, 'healthy');
  let moved = false;
  for (const head of yield* lockChannelsAt(report, digest)) {
    const { package: name, channel, wantedVersion: version } = head;
    if (head.wantedDigest !== digest || version === null) continue;
    yield* moveChannel(actingFor(report, head, 'it loads now'), 'activate', head, { name, version, digest, channel });
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
  const { runner, digest, conditions } = report;
  yield* lockChoicesOf(report, digest); // the version that a channel goes back to stays fit until then
  yield* writeConditions(runner, digest, conditions);
  if (yield* isLoadedElsewhere(runner, digest)) return false;
  const versions = yield* versionsOf(digest);
  if (versions.some((record) => record.health === 'healthy')) return false;
  yield* setPackageHealth(report, digest, 'failed');
  let moved = false;
  for (const head of yield* lockChannelsAt(report, digest)) {
    if (head.digest === digest && (yield* stepBack(report, head, why, true))) moved = true;
  }
  return moved;
}

/**
 * The version crashed its isolate again and again: from now on no runner loads it, and a channel that was pointed to it
 * lately goes back to the version before that is known to load. Returns true if that was news.
 */
export function* reportCrashLoop(report: Report, why: string): Script<boolean> {
  return yield* recorded(report, (events) => crashLooped({ ...report, events }, why));
}

function* crashLooped(report: Reporting, why: string): Script<boolean> {
  const { runner, digest, conditions } = report;
  yield* lockChoicesOf(report, digest);
  const versions = yield* versionsOf(digest);
  yield* writeConditions(runner, digest, conditions);
  yield* setPackageHealth(report, digest, 'failed');
  const heads = yield* lockChannelsAt(report, digest);
  let news = false;
  for (const record of versions) {
    if (record.status === 'deleted' || record.status === 'quarantined') continue;
    news = true;
    yield* quarantine(report, record, why);
  }
  for (const head of heads) {
    if (head.digest === digest && report.now - head.activatedAt <= recentlyMs)
      yield* stepBack(report, head, why, false);
  }
  return news;
}

/** Quarantines a version; its row and the channels that want it are locked. */
function* quarantine(report: Reporting, record: PackageRecord, why: string): Script<void> {
  const { id, tenant, name, version, status } = record;
  yield* setPackageStatus(id, 'quarantined');
  yield* unwant(tenant, name, version);
  const states = { before: { status }, after: { status: 'quarantined' } };
  log(actingFor(report, record, why), 'quarantine', { package: name, version, ...states });
}

/** Moves a locked channel to the version before its head that is known to load; returns false if there is none. */
function* stepBack(report: Reporting, head: TenantChannel, why: string, remember: boolean): Script<boolean> {
  const { digest } = report;
  const { tenant, package: name, channel } = head;
  const earlier = yield* earlierVersion(tenant, name, head, (record) => record.health === 'healthy');
  if (earlier === undefined) return false;
  const wanted = { wantedVersion: remember ? head.version : null, wantedDigest: remember ? digest : null };
  yield* moveChannel(actingFor(report, head, why), 'rollback', head, { ...earlier, channel }, wanted);
  if (channel === 'live') yield* repinFresh({ tenant, package: name, digest }, earlier);
  return true;
}

function actingFor(report: Reporting, { tenant }: { tenant: string }, why: string): Acting {
  const { runner, now, dialect, onActivate, events } = report;
  return { tenant, actor: `runner:${runner}`, now, why, dialect, onActivate, events };
}
