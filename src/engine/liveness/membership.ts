import type { Claims, Connection, Definitions, KnownRunner, LeaseKeeper, Renewal, Runners } from '../../store/store.ts';
import type { LoadedWorkflow } from '../catalog.ts';
import { delay } from '../clock.ts';
import type { Clock, Timer } from '../clock.ts';
import { newId } from '../id.ts';
import { FailureDetector, hostIdentity, runnerEnded, runnerLives } from './failure-detector.ts';
import type { HostIdentity } from './failure-detector.ts';
import type { Logger } from '../logger.ts';
import { moveRetiredExecutions } from './retired-builds.ts';

export interface MembershipOptions {
  readonly store: Runners & Claims & Definitions & Connection;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly name: string;
  readonly leaseMs: number;
  readonly stallMs: number;
  /** Whether a thread keeps the lease, where the database offers that: not by a clock that is not the system's. */
  readonly keepsFromThread: boolean;
  /** The queues that it serves, and the task functions that it runs at once. */
  readonly queues: readonly string[];
  readonly slots: number;
  /** Who else there is, whenever that was read. */
  readonly onMet: (others: readonly KnownRunner[]) => void;
  /** Who this process is; default what the system says. */
  readonly identity: HostIdentity | undefined;
  /** Takes only executions that it started itself: it has nothing to say of definitions, and holds nobody else's. */
  readonly ownOnly: boolean;
  /** The embedded workflows that can run here. */
  readonly embedded: () => readonly LoadedWorkflow[];
  /** What can run here. */
  readonly buildIds: () => readonly string[];
  /** Since when a commit waits for its answer (monotonic); undefined where none is under way. */
  readonly waitsSince: () => number | undefined;
  /** This runner was declared dead. */
  readonly onDead: () => void;
  /** The lease was renewed, and the database said whether anything waits for this runner. */
  readonly onRenewed: (renewal: Renewal) => void;
  /** Executions came free. */
  readonly onReleased: () => void;
}

/** This runner as one of those on a database: its row and lease, and what it does about others that died. */
export class Membership {
  readonly #options: MembershipOptions;
  readonly #identity: HostIdentity;
  readonly #observer: FailureDetector;
  #id: string;
  #renewal: Timer | undefined;
  #keeper: LeaseKeeper | undefined;
  #anew: Timer | undefined;
  /** Another process has written since the runners were last read. */
  #strangers = false;
  #hasJoined = false;
  /** No timer is set any more. */
  #atRest = false;
  /** Looks for executions of older definitions, one after the other. */
  #settling: Promise<void> | undefined;
  /** One more of them is asked for. */
  #straysWanted = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#identity = options.identity ?? hostIdentity();
    // where a thread keeps the lease, an event loop that stands still does not end it: the whole process stands still
    const stallMs = this.#hasThread() ? 0 : options.stallMs;
    this.#observer = new FailureDetector({ ...options, identity: this.#identity, stallMs });
    this.#id = newId(options.clock.now());
  }

  get id(): string {
    return this.#id;
  }

  /** Whether its row is there: who writes before would be taken for dead. */
  get hasJoined(): boolean {
    return this.#hasJoined;
  }

  /** Registers this runner, and takes over from the dead. */
  async join(): Promise<void> {
    await this.#register();
    this.#hasJoined = true;
    await this.#observer.sweep(this.#id);
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
      await this.announce();
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

  /** Says to others which embedded definitions are here: executions of theirs are not held while this one lives. */
  async announce(): Promise<void> {
    const { store, ownOnly, embedded } = this.#options;
    const codes = ownOnly ? [] : embedded().map(({ buildId }) => buildId);
    if (codes.length > 0) await store.writeRunnerBuilds(this.#id, codes);
  }

  /** What can run here has changed. */
  buildsChanged(): void {
    this.#keeper?.runs(this.#options.buildIds());
  }

  /** A commit is under way, or none is any more. */
  commitWaits(waits: boolean): void {
    this.#keeper?.waitsSince(waits ? Date.now() : null);
  }

  /** An attempt of that name runs in this event loop, until what this gives is called. */
  attempt(name: () => string): (() => void) | undefined {
    return this.#keeper?.attempt(name());
  }

  /** Gives no sign of life any more. */
  rest(): void {
    this.#atRest = true;
    this.#renewal?.cancel();
    this.#anew?.cancel();
  }

  /** Signs off. */
  async leave(): Promise<void> {
    this.rest();
    await this.#keeper?.close();
    await this.#settling;
    try {
      await this.#options.store.removeRunner(this.#id);
      runnerEnded(this.#id, false);
    } catch (error) {
      runnerEnded(this.#id, true);
      const { logger } = this.#options;
      logger.warn({ error }, 'the runner could not sign off; other runners will notice that it has ended');
    }
  }

  /** Another process has written: who else there is may have changed. */
  strangers(): void {
    this.#strangers = true;
  }

  /** Takes over from neighbours that died. Who they are is read again where somebody else has written since. */
  async lookAround(): Promise<void> {
    try {
      if (this.#strangers) {
        this.#strangers = false;
        await this.#observer.meet(this.#id);
      }
    } catch (error) {
      this.#strangers = true;
      this.#options.logger.debug({ error }, 'the list of other runners could not be read; retrying');
    }
    if (this.#observer.sawNeighbourDie()) await this.sweep();
  }

  /** Declares dead who is, and frees what they and nobody own. */
  async sweep(): Promise<void> {
    const { logger } = this.#options;
    try {
      if ((await this.#observer.sweep(this.#id)) > 0) this.#options.onReleased();
    } catch (error) {
      logger.warn({ error }, 'looking for dead runners failed; retrying');
    }
  }

  /**
   * Gives executions under definitions that nobody has any more to those that are here. Resolves with the first look; where
   * that settled any, looks go on until one settles none. A lease is never behind them, and between two of them other work
   * of this event loop has a turn.
   */
  async moveRetiredExecutions(): Promise<void> {
    this.#straysWanted = true;
    if (this.#settling !== undefined || this.#options.ownOnly) return;
    const first = this.#settleSome();
    this.#settling = first
      .then(
        (any) => this.#settleOn(any),
        () => undefined, // told below
      )
      .catch((error: unknown) => {
        this.#options.logger.warn({ error }, 'looking for executions of older definitions failed; retrying');
      })
      .finally(() => (this.#settling = undefined));
    await first;
  }

  async #settleOn(any: boolean): Promise<void> {
    let more = any;
    while (!this.#atRest) {
      const wanted = this.#straysWanted;
      if (!more && !wanted) return;
      await delay(this.#options.clock, 0);
      more = await this.#settleSome();
    }
  }

  async #settleSome(): Promise<boolean> {
    const { store, embedded, onReleased } = this.#options;
    this.#straysWanted = false;
    const { adopted, held } = await moveRetiredExecutions(store, embedded());
    if (adopted > 0) onReleased();
    return adopted + held > 0;
  }

  async #register(): Promise<void> {
    const { store, clock, name, leaseMs, queues, slots } = this.#options;
    const leaseUntil = clock.now() + leaseMs;
    runnerLives(this.#id);
    await store.registerRunner({ id: this.#id, name, ...this.#identity, leaseUntil, dead: false, queues, slots });
  }

  #hasThread(): boolean {
    return this.#options.keepsFromThread && this.#options.store.keepLease !== undefined;
  }

  /** From a thread of its own where the database offers that: code of the user may block this event loop. */
  #keepLease(): void {
    const { store, logger, clock, leaseMs, stallMs, buildIds, waitsSince } = this.#options;
    if (store.keepLease === undefined || !this.#hasThread() || this.#atRest) {
      this.#renewAfter(leaseMs / 3);
      return;
    }
    const runner = this.#id;
    const keeper = store.keepLease({
      runner,
      leaseMs,
      stallMs,
      buildIds: buildIds(),
      onRenewal: (renewal) => void this.#take(runner, renewal),
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
    this.#keeper = keeper;
    const since = waitsSince();
    if (since !== undefined) keeper.waitsSince(Date.now() - (clock.monotonic() - since));
  }

  #renewAfter(ms: number): void {
    this.#renewal?.cancel();
    const { store, clock } = this.#options;
    // where nobody else can be, nobody asks for signs of life
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
    await this.#take(runner, await store.renew({ runner, leaseMs, buildIds: buildIds() }));
  }

  #failed(error: unknown): void {
    this.#observer.forget();
    this.#options.logger.warn({ error }, 'the lease could not be renewed; retrying');
  }

  /** What a renewal says; one that was on its way while this runner began anew speaks of the one that is dead already. */
  async #take(runner: string, renewal: Renewal): Promise<void> {
    const { onDead, onRenewed, onReleased, logger, store } = this.#options;
    if (runner !== this.#id || this.#atRest) return;
    if (!renewal.alive) {
      onDead();
      return;
    }
    try {
      const anyDead = await this.#observer.judge(runner, renewal.runners);
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
