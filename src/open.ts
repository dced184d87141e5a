import { durationMs } from './core/duration.ts';
import type { Duration } from './core/duration.ts';
import { checkNode } from './core/process/node-version.ts';
import { anything, checkOptions } from './core/option-check.ts';
import type { Kinds } from './core/option-check.ts';
import { EngineClient } from './engine/client/client.ts';
import type { Workflows } from './engine/client/workflows.ts';
import type { ClientOptions, RunnerOptions } from './options.ts';
import type { RegistryVerbs } from './package/registry/registry.ts';
import type { Running } from './run.ts';
import type { SchedulesVerbs } from './schedule/schedules.ts';
import type { Store } from './store/store.ts';
import type { Parts } from './wire.ts';

/** Starts, follows and controls executions, and manages packages and schedules. Runs no tasks itself. */
export class Client extends EngineClient implements AsyncDisposable {
  readonly workflows: Workflows;
  readonly schedules: SchedulesVerbs;
  readonly registry: RegistryVerbs;
  readonly #store: Store;
  #closing: Promise<void> | undefined;

  protected constructor(parts: Parts) {
    super(parts.client);
    this.workflows = parts.workflows;
    this.schedules = parts.schedules;
    this.registry = parts.registry;
    this.#store = parts.client.store;
  }

  /**
   * Opens a client on a database such as `sqlite:./app.db`; default CLOACINA_DATABASE, else the CLI's default. Throws
   * DATABASE_URL_INVALID, DATABASE_INVALID, DATABASE_READ_ONLY, DATABASE_TOO_NEW, DATABASE_REPLACED, STORE_UNAVAILABLE,
   * DATABASE_DRIVER_MISSING, OPTION_INVALID, NODE_TOO_OLD.
   */
  static async open(url?: string, options: ClientOptions = {}): Promise<Client> {
    checkNode(process.versions.node);
    // a process that only defines workflows loads neither the database nor the parts of a client
    const { openClient } = await import('./wire.ts');
    return new Client(await openClient(url, options));
  }

  /** Ends waiting calls and closes the database. A later call waits for the first. */
  async close(): Promise<void> {
    this.endClient();
    this.#closing ??= this.#store.close();
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export interface CloseOptions {
  /** The time that running attempts are given to end; default 10s. */
  readonly drain?: Duration;
}

const closeKinds: Kinds<CloseOptions> = { drain: anything };

/** A client that also executes workflows. */
export class Runner extends Client {
  readonly #running: Running;
  #ending: Promise<void> | undefined;

  private constructor(running: Running) {
    super(running.parts);
    this.#running = running;
  }

  /**
   * Opens a runner: registers it, takes over from dead runners, and starts work. Throws the errors of `Client.open`,
   * and DEFINITION_INVALID, OPTION_INVALID.
   */
  static override async open(url?: string, options: RunnerOptions = {}): Promise<Runner> {
    checkNode(process.versions.node);
    const { openRunner } = await import('./run.ts');
    return new Runner(await openRunner(url, options));
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
   * other runners. A later call waits for the first, whose `drain` counts. Throws OPTION_INVALID, and closes nothing then.
   */
  override async close(options: CloseOptions = {}): Promise<void> {
    checkOptions(options, closeKinds);
    const drainMs = durationMs(options.drain ?? '10s', 'drain');
    this.#ending ??= this.#end(drainMs);
    await this.#ending;
  }

  async #end(drainMs: number): Promise<void> {
    const { engine, reconciler, loop } = this.#running;
    await loop?.close();
    await engine.close(drainMs);
    await reconciler?.close();
    await super.close();
  }
}
