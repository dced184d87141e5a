import { processWide } from '../../core/process/process-wide.ts';
import type { Claims, KnownRunner, Runners } from '../../store/store.ts';
import type { Clock } from '../clock.ts';
import type { Logger } from '../logger.ts';
import { isProcessGone } from './host-identity.ts';
import type { HostIdentity } from './host-identity.ts';

/**
 * The runners of this process, of all copies of this library in it: each lives, or has ended and may have left its row
 * behind. A runner of a worker thread is not among them; the thread has a map of its own.
 */
const runnersHere = processWide('runners.1', () => new Map<string, 'lives' | 'ended'>());

export function runnerLives(id: string): void {
  runnersHere.set(id, 'lives');
}

/** `left`: its row may still be there, without a runner. */
export function runnerEnded(id: string, left: boolean): void {
  if (left) runnersHere.set(id, 'ended');
  else runnersHere.delete(id);
}

interface Sighting {
  readonly leaseUntil: number;
  /** Monotonic, ms. */
  readonly since: number;
}

export interface FailureDetectorOptions {
  readonly store: Runners & Claims;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly identity: HostIdentity;
  readonly leaseMs: number;
  /** The longest time without a sign of life of a process of this host that is there; 0: no longer than any other. */
  readonly stallMs: number;
  /** The other runners, each time they were read. */
  readonly onMet: (others: readonly KnownRunner[]) => void;
}

/**
 * Finds runners that died. One of this host is dead when its process is gone, or has given no sign of life for `stallMs`; so
 * is one of this process, be it of another thread or another copy of this library, unless it is known here to have ended;
 * any other only after the same lease was seen for a whole lease (the longer of its own and ours) on the own monotonic
 * clock while the database answered, so a database that was away or whose clock jumped kills nobody.
 */
export class FailureDetector {
  readonly #options: FailureDetectorOptions;
  readonly #seen = new Map<string, Sighting>();
  /** Living runners of this host, as they were last read. */
  #neighbours: readonly KnownRunner[] = [];
  #lastSweep = 0;

  constructor(options: FailureDetectorOptions) {
    this.#options = options;
  }

  /** Reads the other runners, marks the dead, and releases what they owned; returns the number of executions released. */
  async sweep(self: string): Promise<number> {
    await this.judge(self, await this.#options.store.runners());
    return this.#options.store.releaseOrphans();
  }

  /**
   * Marks the dead among the runners; true if any is dead. A later transaction of its own releases what they owned.
   */
  async judge(self: string, runners: readonly KnownRunner[]): Promise<boolean> {
    const { store, clock, logger, leaseMs } = this.#options;
    const others = this.#meet(self, runners);
    // no runner could renew while the database was away, and this one saw no renewal while its process stood still
    if (clock.monotonic() - this.#lastSweep > leaseMs) this.forget();
    this.#lastSweep = clock.monotonic();
    let anyDead = others.some(({ dead }) => dead);
    for (const runner of others) {
      if (!runner.dead && this.#isDead(runner) && (await store.markDead(runner.id, runner.leaseUntil))) {
        const { id, name, pid } = runner;
        logger.warn({ runner: id, name, pid }, 'a runner died; its executions are taken over');
        this.#seen.delete(id);
        runnerEnded(id, false);
        anyDead = true;
      }
    }
    return anyDead;
  }

  /** Reads the other runners. */
  async meet(self: string): Promise<void> {
    this.#meet(self, await this.#options.store.runners());
  }

  #meet(self: string, runners: readonly KnownRunner[]): readonly KnownRunner[] {
    const { identity } = this.#options;
    const others = runners.filter((runner) => runner.id !== self);
    this.#options.onMet(others);
    this.#neighbours = others.filter((runner) => !runner.dead && runner.host === identity.host);
    return others;
  }

  /** Whether the process of a runner of this host is gone since the runners were last read; asks the system, not the database. */
  sawNeighbourDie(): boolean {
    return this.#neighbours.some((runner) => this.#isGone(runner));
  }

  /** Discards all sightings: the database did not answer. */
  forget(): void {
    this.#seen.clear();
  }

  #isGone(runner: KnownRunner): boolean {
    const { pid, pidStarted } = this.#options.identity;
    const isOurs = runner.pid === pid && runner.pidStarted === pidStarted;
    return isOurs ? runnersHere.get(runner.id) === 'ended' : isProcessGone(runner);
  }

  #isDead(runner: KnownRunner): boolean {
    const { clock, identity, leaseMs, stallMs } = this.#options;
    const isNeighbour = runner.host === identity.host;
    if (isNeighbour && this.#isGone(runner)) return true;
    const now = clock.monotonic();
    const seen = this.#seen.get(runner.id);
    if (seen?.leaseUntil !== runner.leaseUntil) {
      this.#seen.set(runner.id, { leaseUntil: runner.leaseUntil, since: now });
      return false;
    }
    return now - seen.since > Math.max(leaseMs, runner.leaseMs, isNeighbour ? stallMs : 0);
  }
}
