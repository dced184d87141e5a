import { CloacinaError, DigestMismatchError } from '../../core/error.ts';
import type { ErrorCode } from '../../core/error-table.ts';
import { beginCollecting, collectableBytes, endCollecting } from '../../store/registry/stored-bytes.ts';
import { sweepConditions } from '../../store/registry/conditions.ts';
import { channelsOf } from '../../store/registry/channels.ts';
import { allPackages, manifestsOf, versionsOf } from '../../store/registry/versions.ts';
import type { ChannelRecord } from '../../store/registry/channels.ts';
import type { PackageRecord, PackageStatus } from '../../store/registry/versions.ts';
import { eventHash, registryEvents, registryHead } from '../../store/registry/log.ts';
import type { RegistryEvent } from '../../store/registry/log.ts';
import type { Script, Tx } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import { log, pointed } from './commands.ts';
import type { Acting } from './commands.ts';
import type { PackageStorage } from '../storage/storage.ts';

/**
 * `LOG_BROKEN`: an event is not the one that was written, or is missing. `LOG_CUT`: the log does not end where its
 * anchor says. `ROW_DIFFERS`: a table says something else than the log. `BYTES_MISSING`, `DIGEST_MISMATCH`: of a
 * stored file.
 */
export interface RegistryProblem {
  readonly code: 'LOG_BROKEN' | 'LOG_CUT' | 'ROW_DIFFERS' | 'BYTES_MISSING' | 'DIGEST_MISMATCH';
  /** What is at fault: `event 7`, `simple_demo v1.0.0`, `channel live of simple_demo`. */
  readonly what: string;
  readonly message: string;
}

export interface Verification {
  /** Events and stored files that were checked. */
  readonly events: number;
  readonly packages: number;
  readonly problems: readonly RegistryProblem[];
}

/** Bytes that were deleted, or would be; name and version are null for what no version ever owned. */
export interface Collected {
  readonly digest: string;
  readonly name: string | null;
  readonly version: string | null;
}

/** Runs an act as a transaction that ends with its events. */
export type RunAct = (script: (acting: Acting) => Script<void>) => Promise<void>;

/** Events read in one transaction. */
const pageSize = 1000;
const dayMs = 86_400_000;

/** Checks the log's chain, the tables against what the log says happened, and every stored file, of all tenants. */
export async function verifyRegistry(store: Scripts, storage: PackageStorage): Promise<Verification> {
  const replay = new Replay();
  for (;;) {
    const page = await store.read(() => readPage(replay.last));
    for (const event of page.events) replay.take(event);
    if (page.tables === null) continue;
    replay.compare(page.tables);
    const files = [...new Map(page.tables.packages.map((record) => [record.digest, record])).values()];
    for (const record of files) replay.problems.push(...(await fileProblems(store, storage, record)));
    return { events: replay.last, packages: files.length, problems: replay.problems };
  }
}

interface Tables {
  readonly head: { readonly n: number; readonly hash: string };
  readonly packages: readonly PackageRecord[];
  readonly channels: readonly (ChannelRecord & { readonly tenant: string })[];
}

/** The last page comes with the tables, in one snapshot: what happens meanwhile is no difference. */
function* readPage(after: number): Script<{ events: RegistryEvent[]; tables: Tables | null }> {
  const events = yield* registryEvents(null, after, pageSize);
  if (events.length === pageSize) return { events, tables: null };
  const packages = yield* allPackages(null);
  const channels: Tables['channels'][number][] = [];
  for (const tenant of new Set(packages.map((record) => record.tenant))) {
    for (const head of yield* channelsOf(tenant, null)) channels.push({ ...head, tenant });
  }
  return { events, tables: { head: yield* registryHead(), packages, channels } };
}

/** Follows the log from its beginning: what it says exists, and where it says channels point. */
class Replay {
  readonly problems: RegistryProblem[] = [];
  last = 0;
  #hash = '';
  readonly #versions = new Map<string, { readonly digest: unknown; readonly status: PackageStatus }>();
  readonly #channels = new Map<string, { readonly version: string; readonly serial: number }>();

  take(event: RegistryEvent): void {
    const what = `event ${event.n}`;
    if (event.n !== this.last + 1) this.#add('LOG_BROKEN', what, `it follows event ${this.last}: events are missing`);
    else if (event.hash !== eventHash(this.#hash, event)) {
      this.#add('LOG_BROKEN', what, `its hash does not fit what it says (${event.act} by ${event.actor})`);
    }
    this.last = event.n;
    this.#hash = event.hash; // one change is one problem, not one for each event after it
    this.#apply(event);
  }

  #apply({ act, tenant, package: name, version, channel, after }: RegistryEvent): void {
    if (channel !== null) {
      const key = JSON.stringify([tenant, name, channel]);
      const to = pointed(after);
      if (to === undefined) this.#channels.delete(key);
      else this.#channels.set(key, to);
      if (act !== 'activate') return;
    }
    const key = JSON.stringify([tenant, name, version]);
    const known = this.#versions.get(key);
    if (act === 'publish') this.#versions.set(key, { digest: field(after, 'digest'), status: 'published' });
    else if (act === 'unregister') this.#versions.delete(key);
    else if (known === undefined) return;
    else if (act === 'yank') this.#versions.set(key, { ...known, status: 'yanked' });
    else if (act === 'quarantine') this.#versions.set(key, { ...known, status: 'quarantined' });
    else if (act === 'unyank' || act === 'activate') this.#versions.set(key, { ...known, status: 'published' });
  }

  compare({ head, packages, channels }: Tables): void {
    if (head.n !== this.last || head.hash !== this.#hash) {
      this.#add('LOG_CUT', 'the log', `it ends at event ${this.last}, its anchor says ${head.n}`);
    }
    for (const { tenant, name, version, digest, status } of packages) {
      const key = JSON.stringify([tenant, name, version]);
      const known = this.#versions.get(key);
      const differs = known?.digest !== digest || known.status !== status;
      if (differs) this.#add('ROW_DIFFERS', `${name} v${version}`, `the log knows ${JSON.stringify(known ?? null)}`);
      this.#versions.delete(key);
    }
    for (const key of this.#versions.keys())
      this.#add('ROW_DIFFERS', key, 'the log has this version, the table has not');
    for (const { tenant, package: name, channel, version, serial } of channels) {
      const key = JSON.stringify([tenant, name, channel]);
      const known = this.#channels.get(key);
      if (known?.version !== version || known.serial !== serial) {
        const message = `it points to v${version}, the log says ${JSON.stringify(known ?? null)}`;
        this.#add('ROW_DIFFERS', `channel ${channel} of ${name}`, message);
      }
      this.#channels.delete(key);
    }
    for (const key of this.#channels.keys())
      this.#add('ROW_DIFFERS', key, 'the log has this channel, the table has not');
  }

  #add(code: RegistryProblem['code'], what: string, message: string): void {
    this.problems.push({ code, what, message });
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** The second one is that of a digest that is none. */
const missingCodes: ReadonlySet<ErrorCode> = new Set(['PACKAGE_BYTES_MISSING', 'PACKAGE_NOT_FOUND']);

async function fileProblems(
  store: Scripts,
  storage: PackageStorage,
  record: PackageRecord,
): Promise<RegistryProblem[]> {
  const what = `${record.name} v${record.version}`;
  try {
    const { readArchive } = await import('../archive/archive.ts');
    const { manifest } = await readArchive(await storage.get(record.digest));
    const text = JSON.stringify(manifest);
    const differs = (await store.read(() => manifestsOf(record.digest))).some((stored) => stored !== text);
    return differs ? [{ code: 'ROW_DIFFERS', what, message: 'the stored manifest is not the one in its file' }] : [];
  } catch (error) {
    if (error instanceof DigestMismatchError) return [{ code: 'DIGEST_MISMATCH', what, message: error.message }];
    if (error instanceof CloacinaError && missingCodes.has(error.code)) {
      return [{ code: 'BYTES_MISSING', what, message: error.message }];
    }
    throw error;
  }
}

/** Deletes bytes that nothing needs any more; see `Registry.gc`. */
export async function collectGarbage(
  store: Scripts,
  storage: PackageStorage,
  act: RunAct,
  options: { readonly graceMs?: number; readonly dryRun?: boolean },
): Promise<readonly Collected[]> {
  const before = ({ now }: Tx): number => now - (options.graceMs ?? dayMs);
  const found = await store.read(function* (tx) {
    const list: Collected[] = [];
    for (const digest of yield* collectableBytes(before(tx), null)) {
      const [owner] = yield* versionsOf(digest);
      list.push({ digest, name: owner?.name ?? null, version: owner?.version ?? null });
    }
    return list;
  });
  if (options.dryRun === true) return found;
  const collected: Collected[] = [];
  for (const bytes of found) {
    const { digest, name, version } = bytes;
    const begun = await store.write((tx) => beginCollecting(tx, digest, before(tx)));
    if (!begun) continue;
    await storage.delete(digest);
    await act(function* (acting) {
      yield* endCollecting(digest);
      log(acting, 'collect', { package: name, version, before: { digest } });
    });
    collected.push(bytes);
  }
  await store.write(() => sweepConditions());
  return collected;
}
