import type { Claims, Connection, Definitions, KnownRunner, LeaseKeeper, Renewal, Runners } from '../../store/store.ts';
import type { LoadedWorkflow } from '../catalog.ts';
import { delay } from '../clock.ts';
import type { Clock, Timer } from '../clock.ts';
import { newId } from '../id.ts';
import { FailureDetector, runnerEnded, runnerLives } from './failure-detector.ts';
import { hostIdentity } from './host-identity.ts';
import type { HostIdentity } from './host-identity.ts';
import type { Logger } from '../logger.ts';
import { moveRetiredExecutions } from './retired-builds.ts';

export interface MembershipOptions {
  readonly store: Runners & Claims & Definitions & Connection;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly name: string;
  readonly leaseMs: number;
  readonly stallMs: number;
  /** Whether a thread keeps the lease, if the database offers that: not with a clock other than the system's. */
  readonly keepsFromThread: boolean;
  /** The queues that it serves, and the task functions that it runs at once. */
  readonly queues: readonly string[];
  readonly slots: number;
  /** The other runners, each time they were read. */
  readonly onMet: (others: readonly KnownRunner[]) => void;
  /** The identity of this process; default: of the system. */
  readonly identity: HostIdentity | undefined;
  /** Takes only executions that it started itself: it writes no definitions, and holds no execution of other runners. */
  readonly ownOnly: boolean;
  /** The build ids of embedded definitions that its row names from the beginning. */
  readonly announced: readonly string[];
  /** The embedded workflows that can run here by now. */
  readonly embedded: () => readonly LoadedWorkflow[];
  /** What can run here. */
  readonly buildIds: () => readonly string[];
  /** Since when a commit waits for its answer (monotonic); undefined where none is under way. */
  readonly waitsSince: () => number | undefined;
  /** This runner was declared dead. */
  readonly onDead: () => void;
  /** The lease was renewed; the renewal says if anything waits for this runner. */
  readonly onRenewed: (renewal: Renewal) => void;
  /** Executions came free. */
  readonly onReleased: () => void;
}

/** This runner as one of those on a database: its row, its lease, and the takeover from others that died. */
export class Membership {
  readonly #options: MembershipOptions;
  readonly #identity: HostIdentity;
  readonly #detector: FailureDetector;
  #id: string;
  #renewal: Timer | undefined;
  #keeper: LeaseKeeper | undefined;
  #anew: Timer | undefined;
  /** Another process has written since the runners were last read. */
  #othersMayDiffer = false;
  #hasJoined = false;
  /** No timer is set any more. */
  #atRest = false;
  /** The search for executions on retired builds; searches run one after the other. */
  #moving: Promise<void> | undefined;
  /** Another search is wanted. */
  #retiredWanted = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#identity = options.identity ?? hostIdentity();
    // a thread keeps the lease while the event loop stands still: a silent process stands still as a whole
    const stallMs = this.#hasThread() ? 0 : options.stallMs;
    this.#detector = new FailureDetector({ ...options, identity: this.#identity, stallMs });
    this.#id = newId(options.clock.now());
  }

  get id(): string {
    return this.#id;
  }

  /** Whether its row is there: a write before that would be rejected as one of a dead runner. */
  get hasJoined(): boolean {
    return this.#hasJoined;
  }

  /** Registers this runner, and takes over from the dead. */
  async join(): Promise<void> {
    await this.#register();
    this.#hasJoined = true;
    await this.#detector.sweep(this.#id);
    this.#keepLease();
  }

  /** Declared dead: from now on it has another id, under which it joins again. */
  beginAnew(onJoined: () => void): void {
    runnerEnded(this.#id, false); // its row says that it is dead
    this.#id = newId(this.#options.clock.now());
    this.#hasJoined = false;
    void this.#keeper?.close();
    this.#keeper = undefined;
    this.#renewal?.cancel();
    void this.#joinAgain(onJoined);
  }

  async #joinAgain(onJoined: () => void): Promise<void> {
    const { logger, clock, leaseMs } = this.#options;
    if (this.#atRest) return;
    try {
      await this.#register();
    } catch (error) {
      logger.error({ error }, 'the runner could not register again; retrying');
      if (!this.#atRest) this.#anew = clock.timer(leaseMs / 3, () => void this.#joinAgain(onJoined));
      return;
    }
    this.#hasJoined = true;
    this.#keepLease();
    onJoined();
    await this.sweep();
  }

  /** What can run here has changed. */
  buildsChanged(): void {
    this.#keeper?.runs(this.#options.buildIds());
  }

  /** The time (monotonic, ms) since which a commit has had no answer; undefined while none waits. */
  commitWaits(since: number | undefined): void {
    this.#keeper?.waitsSince(since ?? null);
  }

  /** An attempt of that name runs in this event loop until the returned function is called. */
  attempt(name: () => string): (() => void) | undefined {
    return this.#keeper?.attempt(name());
  }

  /** From now on it gives no sign of life. */
  rest(): void {
    this.#atRest = true;
    this.#renewal?.cancel();
    this.#anew?.cancel();
  }

  /** Signs off. */
  async leave(): Promise<void> {
    this.rest();
    await this.#keeper?.close();
    await this.#moving;
    try {
      await this.#options.store.removeRunner(this.#id);
      runnerEnded(this.#id, false);
    } catch (error) {
      runnerEnded(this.#id, true);
      const { logger } = this.#options;
      logger.warn({ error }, 'the runner could not sign off; other runners will notice that it has ended');
    }
  }

  /** Another process has written: there may be other runners now. */
  othersMayDiffer(): void {
    this.#othersMayDiffer = true;
  }

  /** Takes over from neighbours that died. Reads them again if another process has written since. */
  async checkNeighbours(): Promise<void> {
    try {
      if (this.#othersMayDiffer) {
        this.#othersMayDiffer = false;
        await this.#detector.meet(this.#id);
      }
    } catch (error) {
      this.#othersMayDiffer = true;
      this.#options.logger.debug({ error }, 'the list of other runners could not be read; retrying');
    }
    if (this.#detector.sawNeighbourDie()) await this.sweep();
  }

  /** Marks dead runners, and releases executions of dead runners and of none. */
  async sweep(): Promise<void> {
    const { logger } = this.#options;
    try {
      if ((await this.#detector.sweep(this.#id)) > 0) this.#options.onReleased();
    } catch (error) {
      logger.warn({ error }, 'looking for dead runners failed; retrying');
    }
  }

  /**
   * Moves executions on retired builds to the definitions that are here. Resolves after the first search; further ones follow
   * until one moves none. No renewal of the lease waits for them, and the event loop has a turn between two of them.
   */
  async moveRetiredExecutions(): Promise<void> {
    this.#retiredWanted = true;
    if (this.#moving !== undefined || this.#options.ownOnly) return;
    const first = this.#moveSome();
    this.#moving = first
      .then(
        (any) => this.#moveOn(any),
        () => undefined, // told below
      )
      .catch((error: unknown) => {
        this.#options.logger.warn({ error }, 'looking for executions of older definitions failed; retrying');
      })
      .finally(() => (this.#moving = undefined));
    await first;
  }

  async #moveOn(any: boolean): Promise<void> {
    let more = any;
    while (!this.#atRest) {
      const wanted = this.#retiredWanted;
      if (!more && !wanted) return;
      await delay(this.#options.clock, 0);
      more = await this.#moveSome();
    }
  }

  async #moveSome(): Promise<boolean> {
    const { store, embedded, onReleased } = this.#options;
    this.#retiredWanted = false;
    const { adopted, held } = await moveRetiredExecutions(store, embedded());
    if (adopted > 0) onReleased();
    return adopted + held > 0;
  }

  async #register(): Promise<void> {
    const { store, clock, name, leaseMs, queues, slots, announced: buildIds } = this.#options;
    const lease = { leaseUntil: clock.now() + leaseMs, dead: false };
    runnerLives(this.#id);
    await store.registerRunner({ id: this.#id, name, ...this.#identity, ...lease, queues, slots, buildIds });
  }

  #hasThread(): boolean {
    return this.#options.keepsFromThread && this.#options.store.keepLease !== undefined;
  }

  /** In a thread of its own if the database offers that: user code may block this event loop. */
  #keepLease(): void {
    const { store, logger, leaseMs, waitsSince } = this.#options;
    if (store.keepLease === undefined || !this.#hasThread() || this.#atRest) {
      this.#renewAfter(leaseMs / 3);
      return;
    }
    try {
      this.#keeper = this.#keeperOf(store.keepLease);
    } catch (error) {
      logger.warn({ error }, 'the lease thread cannot start; the event loop renews the lease from now on');
      this.#renewAfter(0);
      return;
    }
    this.commitWaits(waitsSince());
  }

  #keeperOf(keepLease: NonNullable<MembershipOptions['store']['keepLease']>): LeaseKeeper {
    const { logger, leaseMs, stallMs, buildIds } = this.#options;
    const runner = this.#id;
    const keeper = keepLease({
      runner,
      leaseMs,
      stallMs,
      buildIds: buildIds(),
      onRenewal: (renewal) => void this.#handle(runner, renewal),
      onFailure: (error) => this.#failed(error),
      onStall: (stalledForMs, attempts) => {
        const message =
          'the event loop was blocked for longer than a lease; move the blocking work to a package or a worker thread';
        logger.warn({ runner, stalledForMs, attempts }, message);
      },
      onGone: (error) => {
        logger.error({ error }, 'the lease thread has ended; the event loop renews the lease from now on');
        if (this.#keeper === keeper) this.#keeper = undefined;
        if (runner === this.#id) this.#renewAfter(0);
      },
    });
    return keeper;
  }

  #renewAfter(ms: number): void {
    this.#renewal?.cancel();
    const { store, clock } = this.#options;
    // on a database of this process alone no other runner checks the lease
    if (!this.#atRest && store.shared) this.#renewal = clock.timer(ms, () => this.#renew());
  }

  #renew(): void {
    const id = this.#id;
    void this.#renewOnce()
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        if (id === this.#id) this.#renewAfter(this.#options.leaseMs / 3);
      });
  }

  async #renewOnce(): Promise<void> {
    const { store, clock, leaseMs, buildIds, waitsSince } = this.#options;
    const since = waitsSince();
    // a runner that cannot write does not keep its work from others
    if (since !== undefined && clock.monotonic() - since > leaseMs) return;
    const runner = this.#id;
    await this.#handle(runner, await store.renew({ runner, leaseMs, buildIds: buildIds() }));
  }

  #failed(error: unknown): void {
    this.#detector.forget();
    this.#options.logger.warn({ error }, 'the lease could not be renewed; retrying');
  }

  /** Handles a renewal, unless it is one of the dead runner that this one has replaced. */
  async #handle(runner: string, renewal: Renewal): Promise<void> {
    const { onDead, onRenewed, onReleased, logger, store } = this.#options;
    if (runner !== this.#id || this.#atRest) return;
    if (!renewal.alive) {
      onDead();
      return;
    }
    try {
      const anyDead = await this.#detector.judge(runner, renewal.runners);
      if ((anyDead || renewal.hasOrphans) && (await store.releaseOrphans()) > 0) onReleased();
      if (renewal.hasRetiredBuilds) await this.moveRetiredExecutions();
    } catch (error) {
      logger.warn({ error }, 'looking for dead runners failed; retrying');
    }
    try {
      onRenewed(renewal);
    } catch (error) {
      logger.warn({ error }, 'handling the result of a lease renewal failed; retrying');
    }
  }
}
