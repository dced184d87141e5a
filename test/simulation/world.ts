import { setImmediate } from 'node:timers/promises';
import type { AnyWorkflow } from '../../src/core/definition/definition.ts';
import { EngineClient } from '../../src/engine/client/client.ts';
import type { Clock, Timer } from '../../src/engine/clock.ts';
import type { Logger } from '../../src/engine/logger.ts';
import { StoreUnavailableError } from '../../src/core/error.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { EngineOptions } from '../../src/engine/engine-options.ts';
import { loadEmbedded } from '../../src/engine/client/start.ts';
import { Watch } from '../../src/engine/client/watch.ts';
import {
  FencedError,
  OutcomeUnknownError,
  RefusedDataError,
  UnwritableBatchError,
} from '../../src/store/transition.ts';
import type { Batch, CommitResult } from '../../src/store/transition.ts';
import { openStore } from '../../src/store/open.ts';
import { BusyError } from '../../src/store/store.ts';
import type { Store } from '../../src/store/store.ts';
import { verbs } from '../../src/store/verbs.ts';
import { ManualClock } from '../../src/testing/clock.ts';

/** Calls that change nothing. */
const reads: ReadonlySet<string> = new Set([
  ...Object.entries(verbs).flatMap(([name, { does }]) => (does === 'reads' ? [name] : [])),
  'read',
  'ask',
]);

/**
 * The fate of a call of the database: it is carried out after a while, or not, and its answer may be lost; or a commit
 * is refused, as a whole or for one transition.
 */
export interface CallFate {
  readonly delayMs: number;
  /** `lost_after`: it was carried out, and the answer is lost. */
  readonly how: 'answered' | 'lost_before' | 'lost_after' | 'unavailable' | 'busy' | 'refused' | 'unwritable';
}

export interface WorldOptions {
  /** True if processes check each other; default true. Without it virtual time passes much faster. */
  readonly shared?: boolean;
  /** Default 2, as on PostgreSQL. */
  readonly commitLanes?: number;
  readonly fate?: (verb: string, member: Member) => CallFate;
  /** Called after every call that was carried out. */
  readonly onCalled?: (verb: string, args: readonly unknown[], answer: unknown) => void;
}

const answered: CallFate = { delayMs: 0, how: 'answered' };

/** Several runners on one database in memory and one clock; each can be killed, or stand still for a while. */
export class World {
  readonly clock = new ManualClock();
  readonly store: Store;
  readonly #options: WorldOptions;
  #version = 0;

  private constructor(store: Store, options: WorldOptions) {
    this.store = store;
    this.#options = options;
  }

  static async open(options: WorldOptions = {}): Promise<World> {
    const ready: { clock: ManualClock | undefined } = { clock: undefined };
    const store = await openStore('sqlite::memory:', { now: () => ready.clock?.now() ?? 0 });
    const world = new World(store, options);
    ready.clock = world.clock;
    return world;
  }

  /** A process with its own connection to the database. */
  member(name: string): Member {
    return new Member(this, name, this.#options);
  }

  get version(): number {
    return this.#version;
  }

  wrote(): void {
    this.#version++;
  }

  async close(): Promise<void> {
    await this.store.close();
  }
}

/** One process: its view of the database and of the clock, until it is killed. */
export class Member {
  readonly name: string;
  readonly world: World;
  readonly clock: Clock;
  readonly store: Store;
  readonly #options: WorldOptions;
  #dead = false;
  #stillUntil = 0;
  #own = 0;
  #seen = 0;
  /** Commits whose answer was lost. */
  readonly #written = new Map<string, CommitResult>();

  constructor(world: World, name: string, options: WorldOptions) {
    this.world = world;
    this.name = name;
    this.#options = options;
    this.clock = {
      now: () => world.clock.now(),
      monotonic: () => world.clock.monotonic(),
      timer: (delayMs, fire) => this.#timer(delayMs, fire),
    };
    this.store = this.#connect();
  }

  get isDead(): boolean {
    return this.#dead;
  }

  /** SIGKILL: nothing of the process continues, and no answer reaches it. */
  kill(): void {
    this.#dead = true;
  }

  /** SIGSTOP, and SIGCONT after `ms`: its timers fire late, its calls wait. */
  standStill(ms: number): void {
    this.#stillUntil = Math.max(this.#stillUntil, this.world.clock.monotonic() + ms);
  }

  #timer(delayMs: number, fire: () => void): Timer {
    let inner = this.world.clock.timer(delayMs, () => {
      const wait = this.#stillUntil - this.world.clock.monotonic();
      if (this.#dead) return;
      if (wait > 0) inner = this.world.clock.timer(wait, () => (this.#dead ? undefined : fire()));
      else fire();
    });
    return { cancel: () => inner.cancel() };
  }

  #connect(): Store {
    const { store } = this.world;
    const calls = new Map<string, unknown>();
    return new Proxy(store, {
      get: (target, verb: string) => {
        if (verb === 'shared') return this.#options.shared ?? true;
        if (verb === 'commitLanes') return this.#options.commitLanes ?? 2;
        if (verb === 'changed') return () => this.#changed();
        if (verb === 'close') return () => Promise.resolve();
        if (verb === 'lost' || Reflect.get(target, verb) === undefined) return undefined; // memory is never taken away
        if (!calls.has(verb)) calls.set(verb, (...args: unknown[]) => this.#call(target, verb, args));
        return calls.get(verb);
      },
    });
  }

  #changed(): boolean {
    const others = this.world.version - this.#own;
    const changed = others !== this.#seen;
    this.#seen = others;
    return changed;
  }

  async #call(store: Store, verb: string, args: readonly unknown[]): Promise<unknown> {
    const fate = this.#options.fate?.(verb, this) ?? answered;
    await this.#wait(fate.delayMs);
    if (this.#dead) return forever;
    if (fate.how === 'lost_before') throw new Error(`the database is away (${verb})`);
    if (fate.how === 'unavailable') throw new StoreUnavailableError(`the database is away (${verb})`);
    if (fate.how === 'busy') throw new BusyError('another transaction blocked it');
    const answer = verb === 'commit' ? await this.#commit(args[0] as Batch, fate) : await carryOut(store, verb, args);
    if (!reads.has(verb)) {
      this.world.wrote();
      this.#own++;
    }
    this.#options.onCalled?.(verb, args, answer);
    if (this.#dead) return forever;
    if (fate.how === 'lost_after') {
      const message = `the answer of the database is lost (${verb})`;
      throw verb === 'commit' ? new OutcomeUnknownError(message) : new Error(message);
    }
    return answer;
  }

  /** A batch is written once, as by a database that remembers its number. */
  async #commit(batch: Batch, fate: CallFate): Promise<CommitResult> {
    const key = `${batch.runner} ${batch.lane} ${batch.n}`;
    const before = this.#written.get(key);
    if (before !== undefined) {
      // the fence comes first, also for a known batch
      const self = (await this.world.store.runners()).find(({ id }) => id === batch.runner);
      if (self === undefined || self.dead) throw new FencedError(`runner ${batch.runner} was declared dead`);
      return before;
    }
    const victim = batch.transitions.at(-1);
    if (fate.how === 'refused' && victim !== undefined) throw new RefusedDataError(victim.id, new Error('too large'));
    if (fate.how === 'unwritable') throw new UnwritableBatchError(new Error('too large'));
    const result = await this.world.store.commit(batch);
    if (fate.how === 'lost_after') this.#written.set(key, result);
    return result;
  }

  async #wait(ms: number): Promise<void> {
    const wait = Math.max(ms, this.#stillUntil - this.world.clock.monotonic());
    if (wait > 0) await new Promise<void>((resolve) => this.world.clock.timer(wait, resolve));
  }
}

function carryOut(store: Store, verb: string, args: readonly unknown[]): Promise<unknown> {
  const call = Reflect.get(store, verb) as (...given: readonly unknown[]) => Promise<unknown>;
  // a verb may run in another thread, so its arguments are data that can be cloned
  return call.apply(store, verb in verbs ? structuredClone([...args]) : [...args]);
}

const forever = new Promise<never>(() => undefined);

class SimClient extends EngineClient {
  end(): void {
    this.endClient();
  }
}

export interface SimRunner {
  readonly member: Member;
  readonly engine: Engine;
  readonly client: SimClient;
  /** Closes the runner, with time for its calls. */
  close(): Promise<void>;
}

export interface SimRunnerOptions extends Partial<
  Pick<
    EngineOptions,
    | 'concurrency'
    | 'queues'
    | 'pollMs'
    | 'maxExecutions'
    | 'random'
    | 'leaseMs'
    | 'graceMs'
    | 'onEvent'
    | 'retentionMs'
    | 'itemsPerCommit'
  >
> {
  readonly logger?: Logger;
}

export const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** A runner of the simulation, on its own host. */
export async function openRunner(
  member: Member,
  workflows: readonly AnyWorkflow[],
  options: SimRunnerOptions = {},
): Promise<SimRunner> {
  const { clock, store, name } = member;
  const watch = new Watch(store, clock, false);
  const ready = Promise.withResolvers<SimClient>();
  const { logger = silent, ...rest } = options;
  const loaded = workflows.map(loadEmbedded);
  const engine = await Engine.open({
    concurrency: 64,
    maxExecutions: 1000,
    maxChildDepth: 32,
    maxOpenChildren: 10_000,
    leaseMs: 15_000,
    stallMs: 120_000,
    graceMs: 1000,
    random: () => 0.5,
    onEvent: null,
    retentionMs: null,
    ...rest,
    name,
    embedded: loaded,
    identity: { host: name, pid: 1, pidStarted: name },
    keepAlive: false,
    pollMs: options.pollMs ?? 25,
    maxPayload: 1_048_576,
    ownOnly: false,
    onProgress: () => undefined,
    onEnded: (id, ended) => watch.ended(id, ended),
    onChanged: () => watch.notify(),
    onCommitted: () => watch.changed(),
    onBuildWanted: () => undefined,
    resolve: async (_, workflow) => (await ready.promise).resolve(workflow),
    store,
    clock,
    logger,
  });
  await store.writeDefinitions(
    loaded.map(({ graph, buildId }) => ({ workflow: graph.spec.name, buildId, spec: graph.spec })),
  );
  const client = new SimClient({
    store,
    clock,
    tenant: 'default',
    maxPayload: 1_048_576,
    packaged: () => Promise.resolve([]),
    names: async () => (await store.definitions()).map(({ workflow }) => workflow),
    specOf: ({ buildId }) => store.definition(buildId),
    engine,
    watch,
  });
  ready.resolve(client);
  await engine.embed();
  const close = async (): Promise<void> => {
    const closing = engine.close(0);
    for (let i = 0; i < 20; i++) await member.world.clock.advance(1000);
    await closing;
    client.end();
    await setImmediate();
  };
  return { member, engine, client, close };
}
