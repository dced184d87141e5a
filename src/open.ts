import { durationMs } from './core/duration.ts';
import type { Duration } from './core/duration.ts';
import { EngineClient } from './engine/client/client.ts';
import { DatabaseClock, systemClock } from './engine/clock.ts';
import { Watch } from './engine/client/watch.ts';
import type { Workflows } from './engine/client/workflows.ts';
import { clientSettings, databaseUrl, runnerSettings } from './options.ts';
import type { ClientOptions, ClientSettings, RunnerOptions } from './options.ts';
import type { Registry } from './package/registry/registry.ts';
import type { Schedules } from './schedule/schedules.ts';
import { openStore } from './store/open.ts';
import type { StoreOptions } from './store/open.ts';
import type { Store } from './store/store.ts';
import { run, wire } from './wire.ts';
import type { Parts, Running } from './wire.ts';

/** Starts, follows and controls executions, and manages packages and schedules. Runs no tasks itself. */
export class Client extends EngineClient implements AsyncDisposable {
  readonly workflows: Workflows;
  readonly schedules: Schedules;
  readonly registry: Registry;
  readonly #store: Store;

  protected constructor(parts: Parts) {
    super(parts.client);
    this.workflows = parts.workflows;
    this.schedules = parts.schedules;
    this.registry = parts.registry;
    this.#store = parts.client.store;
  }

  /**
   * Opens a client on a database such as `sqlite:./app.db`; default CLOACINA_DATABASE, else the CLI's default. Throws
   * DATABASE_URL_INVALID, DATABASE_INVALID, DATABASE_READ_ONLY, DATABASE_TOO_NEW, DATABASE_REPLACED, STORE_UNAVAILABLE.
   */
  static async open(url?: string, options: ClientOptions = {}): Promise<Client> {
    const { store, settings } = await open(url, clientSettings(options), {});
    return new Client(wire(store, settings, null, new Watch(store, settings.clock, true), () => undefined));
  }

  async close(): Promise<void> {
    this.endClient();
    await this.#store.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Opens the database; if it has its own clock, that clock replaces the system clock. */
async function open<Settings extends ClientSettings>(
  url: string = databaseUrl(),
  given: Settings,
  options: StoreOptions,
): Promise<{ readonly store: Store; readonly settings: Settings }> {
  let settings = given;
  const store = await openStore(url, { now: () => settings.clock.now(), ...options });
  if (store.serverTime !== undefined && given.clock === systemClock) {
    const clock = new DatabaseClock();
    settings = { ...given, clock };
    const sent = systemClock.now();
    try {
      clock.isAhead((await store.serverTime()) - (sent + systemClock.now()) / 2);
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  return { store, settings };
}

/** A client that also executes workflows. */
export class Runner extends Client {
  readonly #running: Running;

  private constructor(parts: Parts, running: Running) {
    super(parts);
    this.#running = running;
  }

  /**
   * Opens a runner: registers it, takes over from dead runners, and starts work. Throws the errors of `Client.open`,
   * and DEFINITION_INVALID, OPTION_INVALID.
   */
  static override async open(url?: string, options: RunnerOptions = {}): Promise<Runner> {
    const given = runnerSettings(options);
    // a silent connection is closed before the lease expires
    const deadlineMs = Math.min(10_000, Math.ceil((given.leaseMs * 2) / 3));
    const { store, settings } = await open(url, given, { deadlineMs });
    try {
      const running = await run(store, settings);
      return new Runner(running.parts, running);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** The unique id of this runner in the database. */
  get id(): string {
    return this.#running.engine.id;
  }

  /** Number of task functions that run in this runner now. */
  get attempts(): number {
    return this.#running.engine.attempts;
  }

  /**
   * Stops starting work, lets attempts end for `drain` (default 10s), aborts the rest, and releases executions for
   * other runners.
   */
  override async close(options: { readonly drain?: Duration } = {}): Promise<void> {
    const { engine, reconciler, loop } = this.#running;
    const drainMs = durationMs(options.drain ?? '10s', 'drain');
    await loop?.close();
    await engine.close(drainMs);
    await reconciler?.close();
    await super.close();
  }
}
