import assert from 'node:assert/strict';
import { CloacinaError } from '../../src/core/error.ts';
import type { Logger } from '../../src/engine/logger.ts';
import { drawIdsFrom } from '../../src/engine/id.ts';
import { all } from '../../src/store/script.ts';
import { checkLife, Ledger } from './ledger.ts';
import { Random } from './random.ts';
import { names, workload } from './workload.ts';
import { openRunner, World } from './world.ts';
import { silent } from './world.ts';
import type { CallFate, SimRunner } from './world.ts';

/** Counts of one run, which show that it was not idle. */
export interface Simulated {
  readonly executions: number;
  readonly acknowledged: number;
  readonly kills: number;
  readonly lost: number;
  /** Attempts that ran at a helper. */
  readonly helped: number;
  /** Runners that were closed in the middle of it. */
  readonly closed: number;
  /** Acknowledged executions that were removed after their retention. */
  readonly pruned: number;
  readonly virtualMs: number;
}

const steps = 36;
/** The ends of a call in a storm, by a roll from 0 to 1. */
const kinds: readonly { readonly below: number; readonly how: CallFate['how']; readonly only?: string }[] = [
  { below: 0.04, how: 'lost_before' },
  { below: 0.06, how: 'unavailable' },
  { below: 0.12, how: 'lost_after' },
  { below: 0.122, how: 'refused', only: 'commit' },
  { below: 0.124, how: 'unwritable', only: 'commit' },
  { below: 0.14, how: 'busy', only: 'commit' },
];
const calm: CallFate = { delayMs: 0, how: 'answered' };
/** Expected errors of calls while the database is away or the execution is in another state. */
const expected: ReadonlySet<string> = new Set([
  'STORE_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
  'RUNNER_CLOSED',
  'EXECUTION_ENDED',
  'EXECUTION_STATE',
  'EXECUTION_NOT_FOUND',
  'SIGNAL_UNKNOWN',
  'INTERNAL',
  'STORE_REFUSED',
]);

/**
 * One simulated cluster, drawn from a seed: runners that start work, are killed, stand still and come back, on a
 * database that is slow, away, or loses answers. Throws if an invariant of durability.md is broken; `trace` prints the
 * logs of the runners.
 */
export async function simulate(seed: number, trace: boolean = false): Promise<Simulated> {
  return new Simulation(seed, trace).run();
}

class Simulation {
  readonly #random: Random;
  readonly #trace: boolean;
  readonly #ledger = new Ledger();
  readonly #asked: Promise<void>[] = [];
  readonly #runners: SimRunner[] = [];
  #world!: World;
  #stormy = false;
  #members = 0;
  #kills = 0;
  #lost = 0;
  #helped = 0;
  #closed = 0;
  /** Closes under way, by their runners. */
  readonly #closing = new Map<SimRunner, Promise<void>>();
  /** The time that the wall clock is ahead of where it would be. */
  #aheadMs = 0;
  readonly #retentionMs: number | null;

  constructor(seed: number, trace: boolean) {
    this.#trace = trace;
    this.#random = new Random(seed);
    this.#retentionMs = this.#random.pick([null, 60_000]);
    drawIdsFrom((bytes) => this.#random.fill(bytes));
  }

  async run(): Promise<Simulated> {
    this.#world = await World.open({
      commitLanes: this.#random.pick([1, 2]),
      fate: (verb) => this.#fate(verb),
      onCalled: (verb, args, answer) => {
        if (verb === 'takeOffers') this.#helped += answer as number;
        this.#ledger.called(verb, args, answer);
      },
    });
    try {
      for (let i = 0; i < 3; i++) await this.#open();
      for (let step = 0; step < steps; step++) await this.#step();
      await this.#calmDown();
      return await this.#check();
    } finally {
      for (const { client } of this.#runners) client.end();
      await this.#world.close();
    }
  }

  #fate(verb: string): CallFate {
    if (!this.#stormy) return calm;
    const random = this.#random;
    const delayMs = random.chance(0.2) ? random.pick([1, 10, 200, 3000]) : 0;
    const roll = random.next();
    const how =
      kinds.find(({ below, only }) => roll < below && (only === undefined || only === verb))?.how ?? 'answered';
    if (how !== 'answered') this.#lost++;
    return { delayMs, how };
  }

  async #open(queues?: readonly string[]): Promise<void> {
    const name = `runner-${this.#members++}`;
    const member = this.#world.member(name);
    const random = (): number => this.#random.next();
    const logger = this.#loggerOf(name);
    // small, so that they help each other
    const concurrency = this.#random.pick([1, 2, 4]);
    const own = queues ?? this.#random.pick([['default'], ['default'], ['gpu'], ['default', 'gpu']]);
    const options = {
      logger,
      concurrency,
      queues: own,
      pollMs: 500,
      leaseMs: 3000,
      graceMs: 500,
      maxExecutions: 12,
      random,
      retentionMs: this.#retentionMs,
      itemsPerCommit: this.#random.pick([3, 1000]),
    };
    let opened: SimRunner | undefined;
    const { clock } = this.#world;
    const workflows = workload(this.#ledger, this.#random, clock, () => opened?.engine.id ?? '');
    for (;;) {
      try {
        opened = await openRunner(member, workflows, options);
        this.#runners.push(opened);
        return;
      } catch (error) {
        // it could not register while the database was away: its process would be started again
        if (!this.#stormy) throw error;
        await this.#world.clock.advance(500);
      }
    }
  }

  /** With `trace` it prints the log of each runner with its time on stderr. */
  #loggerOf(name: string): Logger {
    if (!this.#trace) return silent;
    const say =
      (level: string) =>
      (details: object, message: string): void => {
        console.error(this.#world.clock.monotonic(), name, level, message, JSON.stringify(details, shownError));
      };
    return { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
  }

  get #living(): readonly SimRunner[] {
    return this.#runners.filter((runner) => !runner.member.isDead && !this.#closing.has(runner));
  }

  async #step(): Promise<void> {
    const random = this.#random;
    if (random.chance(0.15)) this.#stormy = !this.#stormy;
    const runner = this.#living.length === 0 ? undefined : random.pick(this.#living);
    const roll = random.next();
    if (runner === undefined || (roll < 0.05 && this.#living.length < 4)) {
      await this.#untilOpen();
    } else if (roll < 0.12) {
      this.#kills++;
      runner.member.kill();
    } else if (roll < 0.17) {
      runner.member.standStill(random.pick([500, 4000, 9000]));
    } else if (roll < 0.2) {
      this.#close(runner);
    } else if (roll < 0.22) {
      this.#setClock();
    } else if (roll < 0.6) {
      this.#ask(() => this.#start(runner));
    } else {
      // several requests at once are messages of several kinds in one look
      for (let count = random.pick([1, 1, 2, 4]); count > 0; count--) this.#ask(() => this.#control(runner));
    }
    await this.#world.clock.advance(random.pick([0, 1, 50, 500, 3000]));
    this.#ledger.check();
  }

  #close(runner: SimRunner): void {
    this.#closed++;
    const closing = runner.engine.close(this.#random.pick([0, 1000, 10_000])).then(() => runner.client.end());
    this.#closing.set(runner, closing);
  }

  /** Sets the wall clock of all hosts, as an administrator does; it is never more than ten minutes late. */
  #setClock(): void {
    const { clock } = this.#world;
    const by = this.#random.pick([-300_000, -20_000, 20_000, 300_000, 7_200_000]);
    if (this.#aheadMs + by < -600_000) return;
    this.#aheadMs += by;
    clock.setNow(clock.now() + by);
  }

  /** Opens a runner; in a storm its calls need time to be answered. */
  async #untilOpen(queues?: readonly string[]): Promise<void> {
    const state = { open: false };
    const opening = this.#open(queues).finally(() => (state.open = true));
    while (!state.open) await this.#world.clock.advance(200);
    await opening;
  }

  /** A call is made and is answered after some time, or never. */
  #ask(question: () => Promise<void>): void {
    const asked = question().catch((error: unknown) => {
      if (error instanceof CloacinaError && expected.has(error.code)) return;
      if (error instanceof Error && /the database is away|the answer of the database is lost/.test(error.message))
        return;
      this.#ledger.faults.push(`an unexpected error: ${String(error)} ${error instanceof Error ? error.stack : ''}`);
    });
    this.#asked.push(asked);
  }

  async #start({ client }: SimRunner): Promise<void> {
    const random = this.#random;
    const name = random.pick(names);
    const input = { n: random.below(10) };
    const options = {
      priority: random.below(3),
      ...(random.chance(0.1) ? { startAt: random.below(30_000) } : {}),
      ...(random.chance(0.1) ? { idempotencyKey: `k${random.below(5)} ${name} ${input.n}` } : {}),
    };
    if (random.chance(0.1)) {
      for (const { id } of await client.startMany(name, [input, input, input])) this.#ledger.acknowledge(id);
      return;
    }
    const handle = await client.start(name, input, options);
    this.#ledger.acknowledge(handle.id);
    if (random.chance(0.3)) {
      await handle.outcome();
      // by now it may run again, after a retry, or be removed
      if (!this.#ledger.hasEnded(handle.id))
        this.#ledger.faults.push(`the end of ${handle.id} was reported before it was durable`);
    }
  }

  async #control({ client }: SimRunner): Promise<void> {
    const random = this.#random;
    const ids = [...this.#ledger.acknowledged];
    if (ids.length === 0) return;
    const id = random.pick(ids);
    const verb = random.pick(['signal', 'signal', 'cancel', 'pause', 'resume', 'retry', 'fork'] as const);
    if (verb === 'signal') await client.signal(id, 'go', random.below(100));
    else if (verb === 'fork') this.#ledger.acknowledge((await client.fork(id, { from: 'a' }).catch(notThere)).id);
    else await client[verb](id);
  }

  /** The storm is over, every call is answered, and time passes. */
  async #calmDown(): Promise<void> {
    this.#stormy = false;
    await this.#untilOpen(['default', 'gpu']);
    const { client } = this.#runners.at(-1)!;
    // calls to a paused runner arrive late, and slow runners release executions that are not theirs
    for (let round = 0, quiet = 0; round < 80 && quiet < 4; round++) {
      await this.#world.clock.advance(round < 50 ? 5000 : 60_000);
      const open = await this.#unended();
      quiet = open.length === 0 ? quiet + 1 : 0;
      for (const { id, status } of open) {
        if (status === 'paused') this.#ask(async () => void (await client.resume(id)));
        if (status === 'waiting') this.#ask(async () => void (await client.signal(id, 'go', 1)));
      }
    }
  }

  async #unended(): Promise<readonly { readonly id: string; readonly status: string }[]> {
    return this.#world.store.read(function* () {
      const { rows } = yield { text: 'select id, status from executions where ended_at is null', params: [] };
      return rows as unknown as { id: string; status: string }[];
    });
  }

  async #offersLeft(): Promise<readonly unknown[]> {
    return this.#world.store.read(() => all('select * from offers'));
  }

  /** The stored state of an execution that has not ended, for debugging. */
  async #show(id: string): Promise<void> {
    const { store } = this.#world;
    const record = (await store.execution(id))!;
    if (record.endedAt !== null) return;
    const events = await store.events(id, 0, 1000);
    console.error(record, await store.tasks(id));
    for (const { seq, type, task, item, attempt, at, data } of events)
      console.error(seq, type, task, item, attempt, at, data);
  }

  async #check(): Promise<Simulated> {
    const { store, clock } = this.#world;
    this.#ledger.check();
    const { client } = this.#runners.at(-1)!;
    const { items } = await client.executions.list({ limit: 1000 });
    const known = new Set(items.map(({ id }) => id));
    const gone = [...this.#ledger.acknowledged].filter((id) => !known.has(id));
    for (const id of gone) {
      const isPruned = this.#retentionMs !== null && this.#ledger.hasEnded(id);
      assert.ok(isPruned, `acknowledged execution ${id} exists, or was removed after its end`);
    }
    for (const { id } of items) {
      if (this.#trace) await this.#show(id);
      const events = await client.executions.events(id);
      checkLife(events);
      this.#ledger.checkOnce(id, events.filter(({ type }) => type === 'execution.retried').length);
      const record = (await store.execution(id))!;
      assert.equal(record.owner, null, `${id} is owned by nobody`);
    }
    this.#ledger.check();
    assert.deepEqual(await this.#offersLeft(), [], 'no offer is left');
    for (const { engine } of this.#living) assert.equal(engine.size, 0, 'no runner owns an execution');
    const virtualMs = clock.monotonic();
    return {
      executions: items.length,
      acknowledged: this.#ledger.acknowledged.size,
      kills: this.#kills,
      lost: this.#lost,
      helped: this.#helped,
      closed: this.#closed,
      pruned: gone.length,
      virtualMs,
    };
  }
}

function shownError(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.message : value;
}

function notThere(error: unknown): never {
  // most workflows have no task of that name
  if (error instanceof CloacinaError && error.code === 'TASK_NOT_FOUND')
    throw new CloacinaError('EXECUTION_STATE', error.message);
  throw error;
}
