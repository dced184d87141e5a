import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { processWide } from '../../core/process-wide.ts';
import type { Claims, KnownRunner, RunnerRecord, Runners } from '../../store/store.ts';
import type { Clock } from '../clock.ts';
import type { Logger } from '../logger.ts';

/** How processes of one machine recognise each other. */
export interface HostIdentity {
  /** Boot id and process namespace; where the system does not tell them, the host's name. */
  readonly host: string;
  readonly pid: number;
  readonly pidStarted: string | null;
}

export function hostIdentity(): HostIdentity {
  const boot = readOr('/proc/sys/kernel/random/boot_id', hostname());
  return { host: `${boot}/${namespace()}`, pid: process.pid, pidStarted: processStart(process.pid)?.started ?? null };
}

function namespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return process.platform;
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return otherwise;
  }
}

/** State and start time (clock ticks since boot) of a process, from /proc/PID/stat; undefined where there is none. */
function processStart(pid: number): { readonly state: string; readonly started: string } | undefined {
  const stat = readOr(`/proc/${pid}/stat`, '');
  // the second field is the command's name in parentheses, and may itself contain any character
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, started] = [fields[0], fields[19]];
  return state === undefined || started === undefined ? undefined : { state, started };
}

/** Whether the process of a runner of this host is gone. Where the system does not tell a start time, a living id counts as alive. */
export function isProcessGone(runner: Pick<RunnerRecord, 'pid' | 'pidStarted'>): boolean {
  try {
    process.kill(runner.pid, 0);
  } catch (error) {
    return error instanceof Error && Reflect.get(error, 'code') === 'ESRCH';
  }
  if (runner.pidStarted === null) return false;
  const now = processStart(runner.pid);
  // kill answers for a zombie too, and the id may belong to another process by now
  return now !== undefined && (now.state === 'Z' || now.started !== runner.pidStarted);
}

/**
 * The runners of this process, of all copies of this library in it: whether each lives, or has ended and may have left its row
 * behind. One that is not among them may be of a worker thread, which has its own.
 */
const runnersHere = processWide('runners.1', () => new Map<string, 'lives' | 'ended'>());

export function runnerLives(id: string): void {
  runnersHere.set(id, 'lives');
}

/** `left`: its row may be there still, and is nobody's. */
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
  /** How long a process of this host that lives may be without a sign of life; 0: no longer than any other. */
  readonly stallMs: number;
  /** Who else there is, whenever that was read. */
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

  /** Reads who else there is, marks the dead, and releases what they owned; gives how many executions that was. */
  async sweep(self: string): Promise<number> {
    await this.judge(self, await this.#options.store.runners());
    return this.#options.store.releaseOrphans();
  }

  /**
   * Marks the dead among the runners that there are, and says whether any is. What they owned is released in a transaction
   * of its own, after that.
   */
  async judge(self: string, runners: readonly KnownRunner[]): Promise<boolean> {
    const { store, clock, logger, leaseMs } = this.#options;
    const others = this.#meet(self, runners);
    // nobody could renew while the database was away, or saw it while this process stood still
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

  /** Reads who else there is. */
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

  /** Whether the process of a runner of this host is gone since they were last read; asks the system only, not the database. */
  sawNeighbourDie(): boolean {
    return this.#neighbours.some((runner) => this.#isGone(runner));
  }

  /** What was seen does not count any more: the database did not answer. */
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
