import type { Store } from '../store/store.ts';
import type { LoadedWorkflow } from './catalog.ts';
import type { Clock, Timer } from './clock.ts';
import { newId } from './id.ts';
import { Observer, hostIdentity, runnerLives } from './lease.ts';
import type { HostIdentity } from './lease.ts';
import type { Logger } from './logger.ts';
import { settleStrays } from './strays.ts';

export interface MembershipOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly name: string;
  readonly leaseMs: number;
  readonly stallMs: number;
  /** Who this process is; default what the system says. */
  readonly identity: HostIdentity | undefined;
  /** Takes only executions that it started itself: it has nothing to say of definitions, and holds nobody else's. */
  readonly ownOnly: boolean;
  /** The embedded workflows that can run here. */
  readonly embedded: () => readonly LoadedWorkflow[];
  /** Since when commits fail (monotonic); undefined while they do not. */
  readonly awaySince: () => number | undefined;
  /** This runner was declared dead. */
  readonly onDead: () => void;
  /** The lease was renewed: the database answers. */
  readonly onRenewed: () => Promise<void>;
  /** Executions came free. */
  readonly onReleased: () => void;
}

/** This runner as one of those on a database: its row and lease, and what it does about others that died. */
export class Membership {
  readonly #options: MembershipOptions;
  readonly #identity: HostIdentity;
  readonly #observer: Observer;
  #id: string;
  #renewal: Timer | undefined;
  #anew: Timer | undefined;
  /** Another process has written since the runners were last read. */
  #strangers = false;
  /** No timer is set any more. */
  #atRest = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#identity = options.identity ?? hostIdentity();
    this.#observer = new Observer({ ...options, identity: this.#identity });
    this.#id = newId(options.clock.now());
  }

  get id(): string {
    return this.#id;
  }

  /** Registers this runner, and takes over from the dead. */
  async join(): Promise<void> {
    await this.#register();
    await this.#observer.sweep(this.#id);
    this.#renewAfter(this.#options.leaseMs / 3);
  }

  /** Declared dead: from now on it has another id, under which it joins again. */
  beginAnew(onJoined: () => void): void {
    runnerLives(this.#id, false);
    this.#id = newId(this.#options.clock.now());
    void this.#joinAgain(onJoined);
  }

  async #joinAgain(onJoined: () => void): Promise<void> {
    const { logger, clock, leaseMs } = this.#options;
    if (this.#atRest) return;
    try {
      await this.#register();
      await this.announce();
    } catch (error) {
      logger.error({ error }, 'the runner could not register anew; it is tried again');
      if (!this.#atRest) this.#anew = clock.timer(leaseMs / 3, () => void this.#joinAgain(onJoined));
      return;
    }
    onJoined();
    await this.sweep();
  }

  /** Says to others which embedded definitions are here: executions of theirs are not held while this one lives. */
  async announce(): Promise<void> {
    const { store, ownOnly, embedded } = this.#options;
    const codes = ownOnly ? [] : embedded().map(({ codeName }) => codeName);
    if (codes.length > 0) await store.writeRunnerCodes(this.#id, codes);
  }

  /** Sets no timer any more. */
  rest(): void {
    this.#atRest = true;
    this.#renewal?.cancel();
    this.#anew?.cancel();
  }

  /** Signs off. */
  async leave(): Promise<void> {
    this.rest();
    runnerLives(this.#id, false);
    try {
      await this.#options.store.removeRunner(this.#id);
    } catch (error) {
      const { logger } = this.#options;
      logger.warn({ error }, 'the runner could not be signed off; others will see that it is gone');
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
      this.#options.logger.debug({ error }, 'the other runners could not be read; it is tried again');
    }
    if (this.#observer.sawNeighbourDie()) await this.sweep();
  }

  /** Declares dead who is, and frees what they and nobody own. */
  async sweep(): Promise<void> {
    const { logger } = this.#options;
    try {
      const released = await this.#observer.sweep(this.#id);
      if (released + (await this.settleStrays()) > 0) this.#options.onReleased();
    } catch (error) {
      logger.warn({ error }, 'looking for dead runners failed; it is tried again');
    }
  }

  /** Gives executions under definitions that nobody has any more to those that are here; how many. */
  async settleStrays(): Promise<number> {
    const { store, ownOnly, embedded } = this.#options;
    return ownOnly ? 0 : settleStrays(store, embedded());
  }

  async #register(): Promise<void> {
    const { store, clock, name, leaseMs } = this.#options;
    const leaseUntil = clock.now() + leaseMs;
    runnerLives(this.#id, true);
    await store.registerRunner({ id: this.#id, name, ...this.#identity, leaseUntil, dead: false });
  }

  #renewAfter(ms: number): void {
    this.#renewal?.cancel();
    const { store, clock } = this.#options;
    // where nobody else can be, nobody asks for signs of life
    if (!this.#atRest && store.shared) this.#renewal = clock.timer(ms, () => this.#renew());
  }

  #renew(): void {
    const { leaseMs, logger } = this.#options;
    void this.#renewOnce()
      .catch((error: unknown) => {
        this.#observer.forget();
        logger.warn({ error }, 'the lease could not be renewed; it is tried again');
      })
      .finally(() => this.#renewAfter(leaseMs / 3));
  }

  async #renewOnce(): Promise<void> {
    const { store, clock, leaseMs } = this.#options;
    const away = this.#options.awaySince();
    // a runner that cannot write does not keep its work from others
    if (away !== undefined && clock.monotonic() - away > leaseMs) return;
    const id = this.#id;
    if (!(await store.renewRunner(id, clock.now() + leaseMs))) {
      // a renewal that was on its way while this runner began anew speaks of the one that is dead already
      if (id === this.#id) this.#options.onDead();
      return;
    }
    await this.#options.onRenewed();
  }
}
