import { hourMs } from '../../core/duration.ts';
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
import type { CommandContext, ActivateHook } from './commands.ts';

/** A head that was activated longer ago is no longer replaced by its predecessor. */
const recentlyMs = hourMs;

/** A runner's finding about a version, written in one transaction with its effects. */
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

/** A report with its events so far. */
type Reporting = Report & Pick<CommandContext, 'events'>;

/**
 * Records that the version runs here. Channels that were held back from it move to it now. Returns true if a channel
 * moved.
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
    yield* moveChannel(contextFor(report, head, 'it loads now'), 'activate', head, { name, version, digest, channel });
    moved = true;
  }
  return moved;
}

/**
 * Records that the version does not load here. A version that never loaded anywhere must not replace one that works:
 * channels that point to it go back to the latest earlier version that is known to load, and remember their target.
 * Returns true if a channel moved.
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
 * Records that the version crashed its isolate repeatedly: no runner loads it from now on, and a channel that was
 * recently moved to it goes back to the latest earlier version that is known to load. Returns false if it was
 * quarantined already.
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
  let isNew = false;
  for (const record of versions) {
    if (record.status === 'deleted' || record.status === 'quarantined') continue;
    isNew = true;
    yield* quarantine(report, record, why);
  }
  for (const head of heads) {
    if (head.digest === digest && at - head.activatedAt <= recentlyMs) yield* stepBack(report, head, why, false);
  }
  return isNew;
}

/** Quarantines a version: no runner loads it from now on. Its row and the channels that want it are locked. */
function* quarantine(report: Reporting, record: PackageRecord, why: string): Script<void> {
  const { id, tenant, name, version, status } = record;
  yield* setPackageStatus(id, 'quarantined');
  yield* unwant(tenant, name, version);
  const states = { before: { status }, after: { status: 'quarantined' } };
  log(contextFor(report, record, why), 'quarantine', { package: name, version, ...states });
}

/** Moves a locked channel to the latest earlier version that is known to load; returns false if there is none. */
function* stepBack(report: Reporting, head: TenantChannel, why: string, remember: boolean): Script<boolean> {
  const { digest } = report;
  const { tenant, package: name, channel } = head;
  const earlier = yield* earlierVersion(tenant, name, head, (record) => record.health === 'healthy');
  if (earlier === undefined) return false;
  const wanted = { wantedVersion: remember ? head.version : null, wantedDigest: remember ? digest : null };
  yield* moveChannel(contextFor(report, head, why), 'rollback', head, { ...earlier, channel }, wanted);
  if (channel === 'live') yield* repinFresh({ tenant, package: name, digest }, earlier);
  return true;
}

function contextFor(report: Reporting, { tenant }: { tenant: string }, why: string): CommandContext {
  const { runner, at, dialect, onActivate, events } = report;
  return { tenant, actor: `runner:${runner}`, at, why, dialect, onActivate, events };
}
