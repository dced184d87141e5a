import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import type { RunnerRecord, Store } from '../store/store.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';

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

interface Sighting {
  readonly leaseUntil: number;
  readonly since: number;
}

/**
 * Finds runners that died. One of this host is dead when its process is gone; any other only after the same lease was
 * seen for a whole lease on the own monotonic clock, so a database that was away or whose clock jumped kills nobody.
 * A living process of this host keeps what it owns.
 */
export class Observer {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #identity: HostIdentity;
  readonly #leaseMs: number;
  readonly #seen = new Map<string, Sighting>();
  /** Living runners of this host, as they were last read. */
  #neighbours: readonly RunnerRecord[] = [];

  constructor(options: { store: Store; clock: Clock; logger: Logger; identity: HostIdentity; leaseMs: number }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#identity = options.identity;
    this.#leaseMs = options.leaseMs;
  }

  /**
   * Marks the dead, then, in a transaction of its own, releases every execution whose owner is marked dead or has no
   * row. Gives how many executions that was.
   */
  async sweep(self: string): Promise<number> {
    for (const runner of await this.meet(self)) {
      if (!runner.dead && this.#isDead(runner) && (await this.#store.markDead(runner.id, runner.leaseUntil))) {
        this.#logger.warn(
          { runner: runner.id, name: runner.name, pid: runner.pid },
          'a runner died; its executions go on here',
        );
        this.#seen.delete(runner.id);
      }
    }
    return this.#store.releaseOrphans();
  }

  /** Reads who else there is. */
  async meet(self: string): Promise<readonly RunnerRecord[]> {
    const others = (await this.#store.runners()).filter((runner) => runner.id !== self);
    this.#neighbours = others.filter((runner) => !runner.dead && runner.host === this.#identity.host);
    return others;
  }

  /** Whether the process of a runner of this host is gone since they were last read; asks the system only, not the database. */
  sawNeighbourDie(): boolean {
    return this.#neighbours.some(isProcessGone);
  }

  #isDead(runner: RunnerRecord): boolean {
    if (runner.host === this.#identity.host) return isProcessGone(runner);
    const now = this.#clock.monotonic();
    const seen = this.#seen.get(runner.id);
    if (seen?.leaseUntil !== runner.leaseUntil) {
      this.#seen.set(runner.id, { leaseUntil: runner.leaseUntil, since: now });
      return false;
    }
    return now - seen.since > this.#leaseMs;
  }
}
