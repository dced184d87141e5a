import { isLoadedElsewhere, writeConditions } from '../store/package-conditions.ts';
import type { Condition } from '../store/package-conditions.ts';
import {
  channelsAt,
  holdPackagesOf,
  lockChannel,
  packageVersion,
  repinFresh,
  setPackageHealth,
  setPackageStatus,
  unwant,
  versionsOf,
} from '../store/packages.ts';
import type { TenantChannel } from '../store/packages.ts';
import type { Dialect, Script } from '../store/sql.ts';
import { earlierVersion, log, moveChannel } from './registry-acts.ts';
import type { Acting, ActivateHook } from './registry-acts.ts';

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

/**
 * The version runs here. Channels that were held back from it go there now. Gives whether a channel moved.
 */
export function* reportLoaded(report: Report): Script<boolean> {
  const { runner, digest, conditions, dialect } = report;
  yield* holdPackagesOf(digest, dialect);
  yield* writeConditions(runner, digest, conditions);
  yield* setPackageHealth(digest, 'healthy');
  let moved = false;
  for (const found of yield* channelsAt(digest)) {
    const acting = actingFor(report, found, 'it loads now');
    const head = yield* lockChannel(found.tenant, found.package, found.channel, dialect);
    if (head?.wantedDigest !== digest || head.wantedVersion === null) continue;
    const { package: name, channel, wantedVersion: version } = head;
    yield* moveChannel(acting, 'activate', head, { name, version, digest, channel });
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
  const { runner, digest, conditions, dialect } = report;
  yield* holdPackagesOf(digest, dialect);
  yield* writeConditions(runner, digest, conditions);
  if (yield* isLoadedElsewhere(runner, digest)) return false;
  const versions = yield* versionsOf(digest);
  if (versions.some((record) => record.health === 'healthy')) return false;
  yield* setPackageHealth(digest, 'failed');
  let moved = false;
  for (const found of yield* channelsAt(digest)) {
    if (found.digest === digest && (yield* stepBack(report, found, why, true))) moved = true;
  }
  return moved;
}

/**
 * The version crashed its isolate again and again: no runner loads it any more, and a channel that was pointed to it
 * lately goes back to the version before that is known to load. Gives whether that was news.
 */
export function* reportCrashLoop(report: Report, why: string): Script<boolean> {
  const { runner, digest, conditions, dialect, at } = report;
  yield* holdPackagesOf(digest, dialect);
  yield* writeConditions(runner, digest, conditions);
  let news = false;
  for (const { tenant, name, version } of yield* versionsOf(digest)) {
    const record = yield* packageVersion(tenant, name, version, dialect.forNoKeyUpdate);
    if (record === undefined || record.status === 'deleted' || record.status === 'quarantined') continue;
    news = true;
    yield* setPackageStatus(record.id, 'quarantined');
    yield* unwant(tenant, name, version);
    const states = { before: { status: record.status }, after: { status: 'quarantined' } };
    yield* log(actingFor(report, record, why), 'quarantine', { package: name, version, ...states });
  }
  yield* setPackageHealth(digest, 'failed');
  for (const found of yield* channelsAt(digest)) {
    if (found.digest === digest && at - found.activatedAt <= recentlyMs) yield* stepBack(report, found, why, false);
  }
  return news;
}

/** Moves a channel to the version before its head that is known to load; false where there is none. */
function* stepBack(report: Report, found: TenantChannel, why: string, remember: boolean): Script<boolean> {
  const { digest, dialect } = report;
  const { tenant, package: name, channel } = found;
  const head = yield* lockChannel(tenant, name, channel, dialect);
  if (head?.digest !== digest) return false;
  const earlier = yield* earlierVersion(tenant, name, head, (record) => record.health === 'healthy');
  if (earlier === undefined) return false;
  const wanted = { wantedVersion: remember ? head.version : null, wantedDigest: remember ? digest : null };
  yield* moveChannel(actingFor(report, found, why), 'rollback', head, { ...earlier, channel }, wanted);
  if (channel === 'live') yield* repinFresh({ tenant, package: name, digest }, earlier);
  return true;
}

function actingFor({ runner, at, dialect, onActivate }: Report, { tenant }: { tenant: string }, why: string): Acting {
  return { tenant, actor: `runner:${runner}`, at, why, dialect, onActivate };
}
