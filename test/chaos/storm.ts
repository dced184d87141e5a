import { setTimeout } from 'node:timers/promises';
import type { PostgresServer } from '../../src/testing/postgres-server.ts';
import type { Random } from '../simulation/random.ts';
import type { Control, Written } from './control.ts';
import { leaseMs } from './member.ts';
import type { Member } from './member.ts';

/** Time until other runners had all executions of a runner. */
export interface Takeover {
  readonly member: string;
  readonly what: 'killed' | 'stopped';
  readonly owned: number;
  readonly ms: number;
  /** A runner of the same host lived all the time, and the database answered. */
  readonly seenAtOnce: boolean;
}

/** A runner that was declared dead, and its writes when that was observed. */
export interface Death {
  readonly runner: string;
  readonly written: Written;
}

/** Other runners must own the executions of a dead host within this time; a storm is extended if they do not. */
export const longestMs = 30_000;

/** Draws faults one after the other, two at a time, each of which passes. */
export class Storm {
  readonly takeovers: Takeover[] = [];
  readonly deaths: Death[] = [];
  /** Number of commits of a runner that arrived after its death. */
  lateCommits = 0;
  readonly counts = new Map<string, number>();
  readonly #members: readonly Member[];
  readonly #server: PostgresServer;
  readonly #control: Control;
  readonly #random: Random;
  readonly #log: (line: string) => void;
  /** Counts the faults of the database. */
  #outages = 0;
  #restarting = false;

  constructor(
    members: readonly Member[],
    server: PostgresServer,
    control: Control,
    random: Random,
    log: (line: string) => void,
  ) {
    this.#members = members;
    this.#server = server;
    this.#control = control;
    this.#random = random;
    this.#log = log;
  }

  /** Resolves once it has passed, and every runner is healthy again. */
  async rage(ms: number): Promise<void> {
    // one time without another fault that could keep the commit from arriving
    this.counts.set('late', 1);
    await this.#late(this.#random.pick(this.#members));
    const until = performance.now() + ms;
    const front = async (): Promise<void> => {
      while (performance.now() < until) {
        await setTimeout(200 + this.#random.below(1000));
        await this.#mishap();
      }
    };
    await Promise.all([front(), front()]);
  }

  async #mishap(): Promise<void> {
    const mishaps: readonly (readonly [string, (member: Member) => Promise<void>])[] = [
      ['kill', (member) => this.#kill(member)],
      ['kill', (member) => this.#kill(member)],
      ['stop', (member) => this.#stop(member)],
      ['late', (member) => this.#late(member)],
      ['swallow', (member) => this.#swallow(member)],
      ['refuse', (member) => this.#refuse(member)],
      ['terminate', () => this.#terminate()],
      ['restart', () => this.#restart()],
    ];
    const [name, happen] = this.#random.pick(mishaps);
    const whole = this.#members.filter(({ trouble }) => trouble === null);
    const member = this.#random.pick(this.#members);
    // one runner has to remain that can continue
    if (whole.length < 2 || member.trouble !== null) return;
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    this.#log(`${name} ${member.name}`);
    await happen(member);
    this.#log(`${name} ${member.name} has passed`);
  }

  async #kill(member: Member): Promise<void> {
    member.trouble = 'killed';
    const runners = await this.#control.runnersOf(member.pid);
    await member.kill();
    await this.#takenOver(member, 'killed', runners);
    await member.start();
    member.trouble = null;
  }

  async #stop(member: Member): Promise<void> {
    member.trouble = 'stopped';
    const runners = await this.#control.runnersOf(member.pid);
    member.signal('SIGSTOP');
    await this.#takenOver(member, 'stopped', runners);
    await setTimeout(this.#random.below(2000));
    member.signal('SIGCONT');
    await setTimeout(500);
    member.trouble = null;
  }

  /** A runner that stops in the middle of a commit, which arrives when it is dead and others own its executions. */
  async #late(member: Member): Promise<void> {
    member.trouble = 'late';
    const runners = await this.#control.runnersOf(member.pid);
    const isHeld = await holdBack(member, runners);
    member.signal('SIGSTOP');
    const isDead = await this.#takenOver(member, 'stopped', runners);
    if (isDead && isHeld) this.lateCommits++;
    member.proxy.pass();
    await setTimeout(this.#random.below(1000));
    member.signal('SIGCONT');
    await setTimeout(500);
    member.trouble = null;
  }

  /** Returns true if they are dead. */
  async #takenOver(member: Member, what: Takeover['what'], runners: readonly string[]): Promise<boolean> {
    const owned = await this.#control.owned(runners);
    const outages = this.#outages;
    const neighbours = this.#members.filter(({ host, trouble }) => host === member.host && trouble === null);
    const start = performance.now();
    while ((await this.#control.owned(runners)) > 0 && performance.now() - start < longestMs) await setTimeout(50);
    const ms = Math.round(performance.now() - start);
    const stayed = neighbours.some(({ trouble }) => trouble === null);
    const seenAtOnce = what === 'killed' && stayed && outages === this.#outages && !this.#restarting;
    this.takeovers.push({ member: member.name, what, owned, ms, seenAtOnce });
    return this.#died(runners);
  }

  /** True if each of them is declared dead, also one that owned nothing. */
  async #died(runners: readonly string[]): Promise<boolean> {
    const start = performance.now();
    let living = runners;
    while (living.length > 0 && performance.now() - start < longestMs) {
      await setTimeout(50);
      living = await this.#control.living(runners);
    }
    for (const runner of runners) {
      if (!living.includes(runner)) this.deaths.push({ runner, written: await this.#control.written(runner) });
    }
    return living.length === 0;
  }

  /** A network that carries nothing, for less or more than a lease; then the withheld bytes arrive late, or never. */
  async #swallow(member: Member): Promise<void> {
    member.trouble = 'swallowed';
    member.proxy.swallow();
    await setTimeout(500 + this.#random.below(3 * leaseMs));
    if (this.#random.chance(0.5)) member.proxy.cut();
    member.proxy.pass();
    await setTimeout(200);
    member.trouble = null;
  }

  async #refuse(member: Member): Promise<void> {
    member.trouble = 'refused';
    member.proxy.refuse();
    member.proxy.cut();
    await setTimeout(500 + this.#random.below(2 * leaseMs));
    member.proxy.pass();
    member.trouble = null;
  }

  async #terminate(): Promise<void> {
    this.#outages++;
    await this.#control.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5`,
    );
  }

  async #restart(): Promise<void> {
    if (this.#restarting) return;
    this.#restarting = true;
    this.#outages++;
    await (this.#random.chance(0.5) ? this.#server.stop() : this.#server.kill());
    await setTimeout(this.#random.below(2 * leaseMs));
    await this.#server.start();
    this.#outages++;
    this.#restarting = false;
  }
}

/**
 * Withholds the bytes of a runner, with a commit by which it starts an execution itself: of all its writes, no other
 * runner can have taken that one over. False if there was none.
 */
async function holdBack({ proxy }: Member, runners: readonly string[]): Promise<boolean> {
  const isHeld = (): boolean => runners.some((runner) => proxy.holds(runner, 'execution.created'));
  for (let tries = 0; tries < 50; tries++) {
    proxy.hold();
    // one commit is in flight at a time: if it is another, the next is waited for
    for (let looks = 0; looks < 20; looks++) {
      await setTimeout(10);
      if (isHeld()) return true;
    }
    proxy.pass();
    await setTimeout(50);
  }
  proxy.hold();
  return false;
}
