import { isLoadedElsewhere, writeConditions } from '../../store/registry/conditions.ts';
import type { Condition } from '../../store/registry/conditions.ts';
import {
  holdPackagesOf,
  lockChannelsAt,
  repinFresh,
  setPackageHealth,
  setPackageStatus,
  unwant,
  versionsOf,
} from '../../store/registry/versions.ts';
import type { PackageRecord, TenantChannel } from '../../store/registry/versions.ts';
import type { Dialect, Script } from '../../store/script.ts';
import { earlierVersion, log, moveChannel, recorded } from './commands.ts';
import type { Acting, ActivateHook } from './commands.ts';

/** A head that was activated this long ago is not replaced any more by what came before it. */
const recentlyMs = 3_600_000;

/** What a runner found out about a version, to be written in one transaction with what follows from it. */
export interface Report {
  /** The runner's id. */
  readonly runner: string;
  readonly digest: string;
  /** Epoch ms. */
  readonly at: number;
  readonly conditions: readonly Condition[];
  readonly dialect: Dialect;
  readonly onActivate: ActivateHook | undefined;
}

/** A report with what it has done so far. */
type Reporting = Report & Pick<Acting, 'events'>;

/**
 * The version runs here. Channels that were held back from it go there now. Gives whether a channel moved.
 */
export function* reportLoaded(report: Report): Script<boolean> {
  return yield* recorded(report.dialect, (events) => loaded({ ...report, events }));
}

function* loaded(report: Reporting): Script<boolean> {
  const { runner, digest, conditions, dialect } = report;
  yield* holdPackagesOf(digest, dialect);
  yield* writeConditions(runner, digest, conditions);
  yield* setPackageHealth(digest, 'healthy', dialect);
  let moved = false;
  for (const head of yield* lockChannelsAt(digest, dialect)) {
    const { package: name, channel, wantedVersion: version } = head;
    if (head.wantedDigest !== digest || version === null) continue;
    yield* moveChannel(actingFor(report, head, 'it loads now'), 'activate', head, { name, version, digest, channel });
    moved = true;
  }
  return moved;
}

/**
 * The version does not load here. If it never loaded anywhere, it must not stand in for one that works: channels that
 * point to it go back to the version before that is known to load, and remember where they want to be. Gives whether
 * a channel moved.
 */
export function* reportFailed(report: Report, why: string): Script<boolean> {
  return yield* recorded(report.dialect, (events) => failed({ ...report, events }, why));
}

function* failed(report: Reporting, why: string): Script<boolean> {
  const { runner, digest, conditions, dialect } = report;
  yield* holdPackagesOf(digest, dialect);
  yield* writeConditions(runner, digest, conditions);
  if (yield* isLoadedElsewhere(runner, digest)) return false;
  const versions = yield* versionsOf(digest);
  if (versions.some((record) => record.health === 'healthy')) return false;
  yield* setPackageHealth(digest, 'failed', dialect);
  let moved = false;
  for (const head of yield* lockChannelsAt(digest, dialect)) {
    if (head.digest === digest && (yield* stepBack(report, head, why, true))) moved = true;
  }
  return moved;
}

/**
 * The version crashed its isolate again and again: no runner loads it any more, and a channel that was pointed to it
 * lately goes back to the version before that is known to load. Gives whether that was news.
 */
export function* reportCrashLoop(report: Report, why: string): Script<boolean> {
  return yield* recorded(report.dialect, (events) => crashLooped({ ...report, events }, why));
}

function* crashLooped(report: Reporting, why: string): Script<boolean> {
  const { runner, digest, conditions, dialect, at } = report;
  yield* holdPackagesOf(digest, dialect);
  const versions = yield* versionsOf(digest, dialect.forNoKeyUpdate);
  yield* writeConditions(runner, digest, conditions);
  yield* setPackageHealth(digest, 'failed', dialect);
  const heads = yield* lockChannelsAt(digest, dialect);
  let news = false;
  for (const record of versions) {
    if (record.status === 'deleted' || record.status === 'quarantined') continue;
    news = true;
    yield* quarantine(report, record, why);
  }
  for (const head of heads) {
    if (head.digest === digest && at - head.activatedAt <= recentlyMs) yield* stepBack(report, head, why, false);
  }
  return news;
}

/** No runner loads a version any more; its row and the channels that want it are locked. */
function* quarantine(report: Reporting, record: PackageRecord, why: string): Script<void> {
  const { id, tenant, name, version, status } = record;
  yield* setPackageStatus(id, 'quarantined');
  yield* unwant(tenant, name, version);
  const states = { before: { status }, after: { status: 'quarantined' } };
  log(actingFor(report, record, why), 'quarantine', { package: name, version, ...states });
}

/** Moves a locked channel to the version before its head that is known to load; false where there is none. */
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
  const { runner, at, dialect, onActivate, events } = report;
  return { tenant, actor: `runner:${runner}`, at, why, dialect, onActivate, events };
}
