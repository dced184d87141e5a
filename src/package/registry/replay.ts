import { conditionOrder } from '../../store/registry/conditions.ts';
import type { StoredCondition } from '../../store/registry/conditions.ts';
import { eventHash } from '../../store/registry/log.ts';
import type { LogHead, StoredEvent } from '../../store/registry/log.ts';
import type { PackageHealth, PackageRecord, PackageStatus } from '../../store/registry/versions.ts';
import type { LiveName, TenantChannel } from '../../store/registry/channels.ts';
import { pointed } from './commands.ts';
import type { Point } from './commands.ts';

/**
 * `LOG_BROKEN`: an event is not the one that was written, or is missing. `LOG_CUT`: the log does not end where its
 * anchor says, or before a head that was noted elsewhere. `ROW_DIFFERS`: a table says something else than the log, or
 * than the file of a package. `BYTES_MISSING`, `DIGEST_MISMATCH`: of a stored file.
 */
export interface RegistryProblem {
  readonly code: 'LOG_BROKEN' | 'LOG_CUT' | 'ROW_DIFFERS' | 'BYTES_MISSING' | 'DIGEST_MISMATCH';
  /** What is at fault: `event 7`, `simple_demo v1.0.0`, `channel live of simple_demo`. */
  readonly what: string;
  readonly message: string;
}

/** The tables that the log determines. */
export interface Tables {
  readonly head: LogHead;
  /** Tombstones included. */
  readonly packages: readonly PackageRecord[];
  readonly channels: readonly TenantChannel[];
  readonly liveNames: readonly LiveName[];
  readonly conditions: readonly StoredCondition[];
}

/** A version as the log tells it. */
interface Version {
  readonly digest: unknown;
  readonly bytes: unknown;
  readonly registeredAt: number;
  readonly status: PackageStatus;
  readonly health: PackageHealth | null;
}

/** The events of a version that a runner's condition of it needs. */
interface Past {
  readonly wasHealthy: boolean;
  readonly wasQuarantined: boolean;
}

type Channel = Point & { readonly activatedAt: number };

/** Follows the log from its beginning: which versions exist and in which state, and where channels point. */
export class Replay {
  readonly problems: RegistryProblem[] = [];
  last = 0;
  #hash = '';
  readonly #noted: LogHead | null;
  readonly #versions = new Map<string, Version>();
  readonly #pasts = new Map<string, Past>();
  /** By package, then by name. */
  readonly #channels = new Map<string, Map<string, Channel>>();

  constructor(noted: LogHead | null) {
    this.#noted = noted;
  }

  take(event: StoredEvent): void {
    const what = `event ${event.n}`;
    if (event.n !== this.last + 1) this.#add('LOG_BROKEN', what, `it follows event ${this.last}: events are missing`);
    else if (event.hash !== eventHash(this.#hash, event)) {
      this.#add('LOG_BROKEN', what, `its hash does not fit what it says (${event.act} by ${event.actor})`);
    } else if (event.n === this.#noted?.n && event.hash !== this.#noted.hash) {
      this.#add('LOG_BROKEN', what, `its hash is not the one that was noted, ${this.#noted.hash}`);
    }
    this.last = event.n;
    this.#hash = event.hash; // one change is one problem, not one for each event after it
    this.#apply(event);
  }

  #apply(event: StoredEvent): void {
    const { act, tenant, package: name, version, channel, at } = event;
    const after = parsed(event.after);
    if (channel !== null) {
      const channels = this.#channelsOf(tenant, name);
      const to = pointed(after);
      if (to === undefined) channels.delete(channel);
      else channels.set(channel, { ...to, activatedAt: at });
      if (act !== 'activate') return;
    }
    const key = keyOf(tenant, name, version);
    if (act === 'publish') {
      const [digest, bytes] = [field(after, 'digest'), field(after, 'bytes')];
      this.#versions.set(key, { digest, bytes, registeredAt: at, status: 'published', health: null });
      return;
    }
    const known = this.#versions.get(key);
    if (known === undefined) return;
    const next = nextVersion(known, event, after);
    this.#versions.set(key, next);
    const { wasHealthy = false, wasQuarantined = false } = this.#pasts.get(key) ?? {};
    this.#pasts.set(key, {
      wasHealthy: wasHealthy || next.health === 'healthy',
      wasQuarantined: wasQuarantined || next.status === 'quarantined',
    });
    if (act !== 'activate' && act !== 'report') this.#unwant(tenant, name, version);
  }

  /** Channels no longer wait for a version whose status changed. */
  #unwant(tenant: string, name: string | null, version: string | null): void {
    const channels = this.#channelsOf(tenant, name);
    for (const [channel, { wanted, ...head }] of channels) {
      if (wanted?.version === version) channels.set(channel, head);
    }
  }

  #channelsOf(tenant: string, name: string | null): Map<string, Channel> {
    const key = keyOf(tenant, name);
    const channels = this.#channels.get(key) ?? new Map<string, Channel>();
    this.#channels.set(key, channels);
    return channels;
  }

  /** Compares the tables with what the log says, once all events are taken. */
  compare({ head, packages, channels, conditions }: Tables): void {
    if (head.n !== this.last || head.hash !== this.#hash) {
      this.#add('LOG_CUT', 'the log', `it ends at event ${this.last}, its anchor says ${head.n}`);
    }
    if (this.#noted !== null && this.#noted.n > this.last) {
      this.#add('LOG_CUT', 'the log', `it ends at event ${this.last}, and event ${this.#noted.n} was noted`);
    }
    this.#compareVersions(packages);
    this.#compareChannels(channels);
    this.#compareConditions(conditions, packages);
  }

  #compareVersions(packages: readonly PackageRecord[]): void {
    const missing = new Set(this.#versions.keys());
    for (const { tenant, name, version, digest, bytes, registeredAt, status, health } of packages) {
      const key = keyOf(tenant, name, version);
      this.#compareRow(`${name} v${version}`, { digest, bytes, registeredAt, status, health }, this.#versions.get(key));
      missing.delete(key);
    }
    for (const key of missing) this.#add('ROW_DIFFERS', key, 'the log has this version, the table has not');
  }

  #compareChannels(channels: readonly TenantChannel[]): void {
    for (const head of channels) {
      const { tenant, package: name, channel, version, digest, serial, activatedAt } = head;
      const known = this.#channelsOf(tenant, name);
      const wanted =
        head.wantedVersion === null && head.wantedDigest === null
          ? {}
          : { wanted: { version: head.wantedVersion, digest: head.wantedDigest } };
      const row = { version, digest, serial, activatedAt, ...wanted };
      this.#compareRow(`channel ${channel} of ${name}`, row, known.get(channel));
      known.delete(channel);
    }
    for (const [key, missing] of this.#channels) {
      for (const channel of missing.keys()) {
        this.#add('ROW_DIFFERS', `channel ${channel} of ${key}`, 'the log has this channel, the table has not');
      }
    }
  }

  /** The log does not record what single runners say, but it bounds what they can have said. */
  #compareConditions(conditions: readonly StoredCondition[], packages: readonly PackageRecord[]): void {
    const byBytes = new Map(packages.map((record) => [keyOf(record.tenant, record.digest), record]));
    for (const { runner, tenant, digest, condition, status, reason, serial } of conditions) {
      const record = byBytes.get(keyOf(tenant, digest));
      const past = record && this.#pasts.get(keyOf(tenant, record.name, record.version));
      const fault =
        record === undefined
          ? 'no version has its bytes'
          : !conditionOrder.includes(condition) || (status !== 0 && status !== 1)
            ? `a condition is '${condition}' with the status ${status}`
            : serial > this.last
              ? `it was reported at event ${serial}, and the log ends at ${this.last}`
              : condition === 'healthy' && status === 1 && past?.wasHealthy !== true
                ? 'it is healthy, and the log has no report of that'
                : reason === 'CrashLoop' && past?.wasQuarantined !== true
                  ? 'it is in a crash loop, and the log has no quarantine'
                  : null;
      const what = record === undefined ? digest : `${record.name} v${record.version}`;
      if (fault !== null) this.#add('ROW_DIFFERS', `condition ${condition} of ${what} at runner ${runner}`, fault);
    }
  }

  #compareRow(what: string, row: Readonly<Record<string, unknown>>, known: object | undefined): void {
    if (known === undefined) {
      this.#add('ROW_DIFFERS', what, 'the table has it, the log has not');
      return;
    }
    const told = JSON.parse(JSON.stringify(known)) as Readonly<Record<string, unknown>>;
    const names = new Set([...Object.keys(row), ...Object.keys(told)]);
    const differing = [...names].filter((name) => JSON.stringify(row[name]) !== JSON.stringify(told[name]));
    if (differing.length === 0) return;
    const list = differing.map((name) => `${name} is ${shown(row[name])}, the log says ${shown(told[name])}`);
    this.#add('ROW_DIFFERS', what, list.join('; '));
  }

  #add(code: RegistryProblem['code'], what: string, message: string): void {
    this.problems.push({ code, what, message });
  }
}

/** The state of a version after an event. */
function nextVersion(known: Version, { act }: StoredEvent, after: unknown): Version {
  switch (act) {
    case 'yank':
      return { ...known, status: 'yanked' };
    case 'unyank':
      return { ...known, status: 'published' };
    case 'quarantine':
      return { ...known, status: 'quarantined', health: 'failed' };
    case 'unregister':
      return { ...known, status: 'deleted' };
    case 'report':
      return { ...known, health: field(after, 'health') as PackageHealth | null };
    case 'activate':
      return known.status === 'quarantined' ? { ...known, status: 'published', health: null } : known;
    default:
      return known;
  }
}

/** A key is compared, and shown in a problem. */
function keyOf(...parts: readonly (string | null)[]): string {
  return JSON.stringify(parts);
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** JSON of an event; undefined if it is damaged, which its hash shows. */
function parsed(text: string | null): unknown {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing';
}
