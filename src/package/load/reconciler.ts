import type { ErrorCode } from '../../core/error-table.ts';
import type { PackagedWorkflow } from '../../engine/catalog.ts';
import { WakeLoop } from '../../engine/wake-loop.ts';
import type { Polled } from '../../engine/wake-loop.ts';
import { pinnedCount, wantedVersions } from '../../store/registry/versions.ts';
import type { WantedVersion } from '../../store/registry/versions.ts';
import { registryHead } from '../../store/registry/log.ts';
import type { IsolateExit } from '../isolate/isolate.ts';
import { LoadFailure, Loader } from './load.ts';
import type { LoadedVersion, LoaderOptions } from './load.ts';
import { Owners } from './owners.ts';
import { Reporter } from './reporter.ts';
import type { ReporterOptions } from './reporter.ts';

/** The result of loading or unloading a package version in this runner. */
export type PackageEvent =
  /** `ms`: from the start of loading until its executions could begin. */
  | ({ readonly event: 'package.loaded'; readonly ms: number } & LoadedPackage)
  /** `retryInMs` is null if the next attempt needs a change of the registry. */
  | ({
      readonly event: 'package.failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly retryInMs: number | null;
    } & LoadedPackage)
  /** Executions of `tenant` crashed it; other tenants keep it. */
  | ({ readonly event: 'package.quarantined'; readonly tenant: string; readonly message: string } & LoadedPackage)
  | ({ readonly event: 'package.unloaded' } & LoadedPackage);

/** The version that an event is about. */
export interface LoadedPackage {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
}

export interface ReconcilerOptions extends LoaderOptions, ReporterOptions {
  /** Tenants whose packages it loads; null: all. */
  readonly tenants: readonly string[] | null;
  /** Adds runnable workflows; each call has those of one version. */
  readonly add: (workflows: readonly PackagedWorkflow[]) => void;
  /** Stops starting executions of a version; running ones continue. */
  readonly remove: (digest: string) => void;
  /** Returns true if an execution of this version is in memory. */
  readonly inUse: (digest: string) => boolean;
  /** Restricts the loaded versions, for a runner of a few executions only; default all wanted versions. */
  readonly wants?: (version: LoadedPackage) => boolean;
  readonly onEvent?: (event: PackageEvent) => void;
  /** The safety net: the longest time between two passes; default 30 s. */
  readonly pollMs?: number;
}

/** A version that this runner wants or has. */
interface Entry {
  /** As the first tenant has it: name, version and digest are the same for all. */
  readonly version: WantedVersion;
  readonly owners: Owners;
  state: State;
  /** Number of consecutive failed loads. */
  failures: number;
}

type State =
  | { readonly at: 'new' }
  | { readonly at: 'loading' }
  | { readonly at: 'loaded'; readonly loaded: LoadedVersion }
  /** No longer wanted; `since` is monotonic. */
  | { readonly at: 'draining'; readonly loaded: LoadedVersion; readonly since: number }
  /** Retried at `retryAt` (monotonic; null: never), and once the registry's serial differs from `serial`. */
  | { readonly at: 'failed'; readonly code: ErrorCode; readonly retryAt: number | null; readonly serial: number }
  | { readonly at: 'closing' };

/** By digest: the same bytes as each tenant has them. */
type Wanted = ReadonlyMap<string, readonly WantedVersion[]>;

/** The safety net: a notification may be lost, and a report may not have been written. */
const defaultPollMs = 30_000;
const reportRetryMs = 30_000;
const passRetryMs = 5000;
const firstRetryMs = 1000;
const longestRetryMs = 5 * 60_000;
/** A start that looked up the old version just before the switch may still use its code to check an input. */
const drainMs = 500;

/**
 * Brings what a runner has loaded to what the registry wants: the heads of all channels, and what executions that
 * have not ended are pinned to. Each pass computes the difference and remembers no steps, so a notification that is lost
 * or comes twice does no harm.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #loader: Loader;
  readonly #reporter: Reporter;
  readonly #entries = new Map<string, Entry>();
  readonly #background = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #loop: WakeLoop;
  #serial = 0;
  #hasBegun = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#loader = new Loader(options);
    this.#reporter = new Reporter(options);
    const { clock, logger } = options;
    const onError = (error: unknown): void =>
      logger.warn({ error }, 'reading the registry for packages to load failed; retrying');
    this.#loop = new WakeLoop({ clock, pass: () => this.#pass(), onError, retryMs: passRetryMs });
    this.#inBackground(this.#loader.sweep(options.store));
    this.notify();
  }

  /** Passes that found something although only the safety net had started them. */
  get caught(): number {
    return this.#loop.caught;
  }

  /** The versions that can run here now. */
  get loaded(): readonly LoadedPackage[] {
    const entries = [...this.#entries.values()].filter((entry) => entry.state.at === 'loaded');
    return entries.map(named);
  }

  /** Something may have changed in the registry, or in the use of a version. */
  notify(): void {
    this.#loop.notify();
  }

  /** The safety net: the registry is not the one that the last pass saw, and no notification may have come. */
  catchUp(): void {
    this.#loop.catchUp();
  }

  /** Resolves once no pass, load or unload is under way. A failed load that waits for its retry is not waited for. */
  async settled(): Promise<void> {
    while (this.#loop.running !== undefined || this.#background.size > 0) {
      await Promise.all([this.#loop.running, ...this.#background]);
    }
  }

  /** Stops all passes and ends all isolates; their executions must be released before. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#loop.close();
    await this.settled();
    await Promise.all([...this.#entries.values()].map((entry) => this.#end(entry)));
    this.#entries.clear();
  }

  async #pass(): Promise<Polled> {
    const found = await this.#reconcile();
    if (!this.#hasBegun) this.#inBackground(this.#tellUnable([...this.#background]));
    this.#hasBegun = true;
    return { found, dueInMs: this.#dueInMs(), safetyNetMs: this.#options.pollMs ?? defaultPollMs };
  }

  /** Begins what the difference between the registry and this runner asks for; true if it began anything. */
  async #reconcile(): Promise<boolean> {
    const { store, tenants, remove, wants, clock, logger } = this.#options;
    await this.#reporter.flush();
    const { head, versions } = await store.read(function* (tx) {
      return { head: yield* registryHead(), versions: yield* wantedVersions(tx, tenants) };
    });
    // a log elsewhere that has this line is a witness of the registry's log
    if (head.n !== this.#serial) logger.info(head, 'the registry log has a new head');
    this.#serial = head.n;
    const ours = versions.filter((version) => wants?.(version) ?? true);
    const wanted: Wanted = Map.groupBy(ours, (version) => version.digest);
    let found = false;
    for (const owners of wanted.values()) found = this.#want(owners, wanted) || found;
    for (const [digest, entry] of this.#entries) {
      if (wanted.has(digest)) continue;
      // its replacement is not proven yet, and there must always be a version that runs
      const isNeeded = entry.owners.versions.some((version) => this.#isAwaited(version, wanted));
      if (entry.state.at === 'loaded' && isNeeded) continue;
      if (entry.state.at === 'loaded') {
        remove(digest);
        entry.state = { at: 'draining', loaded: entry.state.loaded, since: clock.monotonic() };
        found = true;
      } else if (
        entry.state.at === 'failed' ||
        (entry.state.at === 'draining' && this.#isDrained(digest, entry.state))
      ) {
        this.#unload(entry);
        found = true;
      }
    }
    return found;
  }

  /** Loads a version that these tenants want, or keeps one that was draining; false if there is nothing to do. */
  #want(versions: readonly WantedVersion[], wanted: Wanted): boolean {
    const [version] = versions;
    const entry = this.#entries.get(version!.digest) ?? this.#begin(version!);
    for (const left of entry.owners.update(versions, (kept) => this.#isAwaited(kept, wanted))) {
      this.#inBackground(this.#reporter.unloaded(left));
    }
    if (entry.state.at === 'new' || (entry.state.at === 'failed' && this.#isDue(entry.state))) this.#load(entry);
    else if (entry.state.at === 'draining') {
      entry.state = { at: 'loaded', loaded: entry.state.loaded };
      this.#options.add(entry.state.loaded.workflows);
    } else if (entry.state.at === 'loaded') {
      const untold = entry.owners.untold(this.#serial);
      if (untold.length > 0) this.#inBackground(this.#tellLoaded(entry, untold, this.#serial));
      return untold.length > 0;
    } else return false;
    return true;
  }

  /** Returns true if another version of the same package is wanted here and does not run yet. */
  #isAwaited({ tenant, name }: WantedVersion, wanted: Wanted): boolean {
    return [...wanted.values()].flat().some((other) => {
      if (other.tenant !== tenant || other.name !== name) return false;
      return this.#entries.get(other.digest)?.state.at !== 'loaded';
    });
  }

  #isDue(failed: { readonly retryAt: number | null; readonly serial: number }): boolean {
    const { retryAt, serial } = failed;
    return serial !== this.#serial || (retryAt !== null && retryAt <= this.#options.clock.monotonic());
  }

  #isDrained(digest: string, draining: { readonly since: number }): boolean {
    const { clock, inUse } = this.#options;
    return !inUse(digest) && clock.monotonic() - draining.since >= drainMs;
  }

  /** The time until a version is drained, or until a load or an unwritten report is tried again. */
  #dueInMs(): number | undefined {
    const { clock } = this.#options;
    let wait = this.#reporter.isPending ? reportRetryMs : Infinity;
    for (const { state } of this.#entries.values()) {
      if (state.at === 'draining') wait = Math.min(wait, drainMs);
      if (state.at !== 'failed' || state.retryAt === null) continue;
      wait = Math.min(wait, Math.max(1, state.retryAt - clock.monotonic()));
    }
    return wait === Infinity ? undefined : wait;
  }

  // -- loading

  #begin(version: WantedVersion): Entry {
    const entry: Entry = { version, owners: new Owners(), state: { at: 'new' }, failures: 0 };
    this.#entries.set(version.digest, entry);
    return entry;
  }

  #load(entry: Entry): void {
    entry.state = { at: 'loading' };
    this.#inBackground(this.#tryLoad(entry, this.#serial));
  }

  async #tryLoad(entry: Entry, serial: number): Promise<void> {
    const { clock, add } = this.#options;
    const start = clock.monotonic();
    let loaded: LoadedVersion;
    try {
      loaded = await this.#loader.load(entry.version, (exit) => this.#exited(entry, exit), this.#closing.signal);
    } catch (error) {
      await this.#failed(entry, LoadFailure.of(error), serial);
      return;
    }
    entry.failures = 0;
    entry.state = { at: 'loaded', loaded };
    add(loaded.workflows);
    this.#tell({ event: 'package.loaded', ...named(entry), ms: Math.round(clock.monotonic() - start) });
    await this.#tellLoaded(entry, entry.owners.versions, serial);
  }

  async #tellLoaded({ owners }: Entry, versions: readonly WantedVersion[], serial: number): Promise<void> {
    for (const version of versions) owners.tellFrom(version, Infinity);
    await this.#reporter.loaded(versions, serial);
  }

  /** The version counts as loading until all of this is written: the runner's own rollback must not cause a retry. */
  async #failed(entry: Entry, failure: LoadFailure, serial: number): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const { clock, logger } = this.#options;
    const { reason, message, isFinal, cause } = failure;
    const { name, version } = entry.version;
    const retryInMs = isFinal ? null : Math.min(firstRetryMs * 2 ** entry.failures++, longestRetryMs);
    const retryAt = retryInMs === null ? null : clock.monotonic() + retryInMs;
    logger.error({ package: name, version, reason, error: cause }, 'a package failed to load');
    this.#tell({ event: 'package.failed', ...named(entry), code: cause.code, message, retryInMs });
    let seen = serial;
    try {
      await this.#reporter.failed(entry.owners.versions, serial, failure);
      seen = await this.#reporter.serial();
    } finally {
      entry.state = { at: 'failed', code: cause.code, retryAt, serial: seen };
    }
  }

  /** Logs once, after the first loads have ended, the packages and executions that cannot run here. */
  async #tellUnable(loads: readonly Promise<void>[]): Promise<void> {
    await Promise.all(loads);
    const unable = [...this.#entries.values()].flatMap(({ version, state }) => {
      return state.at === 'failed' ? [{ ...version, code: state.code }] : [];
    });
    if (unable.length === 0 || this.#closing.signal.aborted) return;
    const counts = await this.#options.store.read(function* () {
      const found: number[] = [];
      for (const { digest } of unable) found.push(yield* pinnedCount(null, digest));
      return found;
    });
    this.#options.logger.warn({}, unableText(unable, counts));
  }

  // -- crashing

  #exited(entry: Entry, exit: IsolateExit): void {
    if (this.#closing.signal.aborted) return;
    const version = entry.owners.crashed(exit, this.#options.clock.now());
    if (version === undefined) return;
    const message = `three executions crashed it within five minutes; last error: ${exit.error.message}`;
    this.#tell({ event: 'package.quarantined', ...named(entry), tenant: exit.tenant, message });
    this.#inBackground(this.#quarantine(entry, version, message));
  }

  async #quarantine({ owners }: Entry, version: WantedVersion, message: string): Promise<void> {
    owners.tellFrom(version, Infinity);
    await this.#reporter.crashLoop(version, this.#serial, message);
    // a pass that began before must not report it as loaded; one that sees it activated again does
    owners.tellFrom(version, await this.#reporter.serial());
  }

  // -- unloading

  #unload(entry: Entry): void {
    this.#inBackground(this.#drop(entry, entry.state.at === 'draining'));
  }

  async #drop(entry: Entry, wasLoaded: boolean): Promise<void> {
    const { digest } = entry.version;
    await this.#end(entry);
    this.#entries.delete(digest);
    if (wasLoaded) this.#tell({ event: 'package.unloaded', ...named(entry) });
    for (const version of entry.owners.versions) await this.#reporter.unloaded(version);
  }

  async #end(entry: Entry): Promise<void> {
    const { state } = entry;
    entry.state = { at: 'closing' };
    if (state.at !== 'loaded' && state.at !== 'draining') return;
    this.#options.remove(entry.version.digest);
    await state.loaded.close();
  }

  #tell(event: PackageEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch (error) {
      this.#options.logger.error({ error }, 'the listener for package events threw');
    }
  }

  /** Work that a pass does not wait for; its end may make something else possible. */
  #inBackground(work: Promise<void>): void {
    const guarded: Promise<void> = work
      .catch((error: unknown) =>
        this.#options.logger.warn({ error }, 'reconciling the packages of this runner failed; retrying'),
      )
      .finally(() => {
        this.#background.delete(guarded);
        this.notify();
      });
    this.#background.add(guarded);
  }
}

const maxUnableNamed = 10;

/** `2 packages, 340 open executions cannot run here: p v1.0.0 (ENGINE_UNSUPPORTED, 340 executions), ...` */
function unableText(
  unable: readonly { readonly name: string; readonly version: string; readonly code: ErrorCode }[],
  counts: readonly number[],
): string {
  const all = unable.map(({ name, version, code }, at) => {
    return { count: counts[at]!, text: `${name} v${version} (${code}, ${counted(counts[at]!, 'execution')})` };
  });
  const first = all.toSorted((a, b) => b.count - a.count).slice(0, maxUnableNamed);
  const open = all.reduce((sum, { count }) => sum + count, 0);
  const more = all.length > first.length ? `, and ${all.length - first.length} more` : '';
  const list = first.map(({ text }) => text).join(', ');
  return `${counted(all.length, 'package')}, ${counted(open, 'open execution')} cannot run here: ${list}${more}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

function named({ version: { name, version, digest } }: Entry): LoadedPackage {
  return { name, version, digest };
}
