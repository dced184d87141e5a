import { queueOf } from '../../core/definition/graph.ts';
import type { TaskSpec } from '../../core/definition/spec.ts';
import type { KnownRunner } from '../../store/store.ts';
import type { Clock, Timer } from '../clock.ts';
import type { Logger } from '../logger.ts';
import type { TaskRun } from '../execution/task-run.ts';

export interface OfferBudgetOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The queues that this runner serves itself. */
  readonly queues: readonly string[];
  /** Task functions that it runs at once. */
  readonly slots: number;
  /** Others can run more than they could: maps may go on with more items. */
  readonly onMore: () => void;
}

interface Waiting {
  readonly queue: string;
  /** Since when it waits for a slot (monotonic, ms). */
  readonly since: number;
  readonly offer: () => void;
}

/** An attempt is offered once it has waited for a slot for so long: what runs within moments is not worth the way. */
const patienceMs = 20;
/** Offers that are over are followed by others this much later: what ends together is looked at together. */
const againMs = 5;
/** Offers of a queue that nobody is known to serve: enough for whoever comes to begin with. */
const leastOffers = 16;

/**
 * What this runner offers to others, over all of its executions: attempts of queues that it does not serve, at once, and
 * attempts that wait for a slot while others have some. As many offers lie open as the others could run at once.
 */
export class OfferBudget {
  readonly #options: OfferBudgetOptions;
  readonly #served: ReadonlySet<string>;
  /** Slots of the other runners, by the queue. */
  #capacity: ReadonlyMap<string, number> = new Map();
  /** Offers that no helper is known to have, by the queue. */
  readonly #open = new Map<string, number>();
  /** Attempts that wait and are not offered, in the order in which they came. */
  readonly #waiting = new Map<TaskRun, Waiting>();
  readonly #warned = new Set<string>();
  readonly #kept = new Set<string>();
  #taken = 0;
  #others = 0;
  #timer: Timer | undefined;

  constructor(options: OfferBudgetOptions) {
    this.#options = options;
    this.#served = new Set(options.queues);
  }

  /** Whether other runners are known. */
  get hasOthers(): boolean {
    return this.#others > 0;
  }

  serves(queue: string): boolean {
    return this.#served.has(queue);
  }

  /** Attempts that helpers have. */
  get taken(): number {
    return this.#taken;
  }

  /** Items at once of a map that says nothing: as many as there is room for, here and at others. */
  itemsAtOnce(spec: TaskSpec): number {
    const queue = queueOf(spec);
    const { slots } = this.#options;
    const others = this.#capacity.get(queue) ?? 0;
    if (!this.serves(queue)) return Math.max(2 * others, leastOffers);
    // what others could run is offered while as much as runs here waits for a slot of this runner's own
    return others === 0 ? slots : 2 * (slots + others);
  }

  /** Who else there is. */
  meet(others: readonly KnownRunner[]): void {
    const capacity = new Map<string, number>();
    this.#others = others.filter(({ dead }) => !dead).length;
    for (const { dead, queues, slots } of others) {
      if (dead) continue;
      for (const queue of queues) capacity.set(queue, (capacity.get(queue) ?? 0) + slots);
    }
    const before = this.#capacity;
    this.#capacity = capacity;
    for (const queue of capacity.keys()) this.#warned.delete(queue);
    for (const { queue } of this.#waiting.values()) this.wanted(queue);
    if (![...capacity].some(([queue, slots]) => slots > (before.get(queue) ?? 0))) return;
    this.#options.onMore();
    this.#look();
  }

  /** An attempt waits: it is offered when it is time for that, unless it has begun or was withdrawn by then. */
  wait(run: TaskRun, offer: () => void): void {
    const queue = queueOf(run.spec);
    this.#waiting.set(run, { queue, since: this.#options.clock.monotonic(), offer });
    this.wanted(queue);
    if (!this.serves(queue)) this.#look();
    else this.#setTimer();
  }

  /** An attempt does not wait any more. */
  leave(run: TaskRun): void {
    this.#waiting.delete(run);
  }

  /** An offer was made. */
  opened(queue: string): void {
    this.#open.set(queue, (this.#open.get(queue) ?? 0) + 1);
  }

  /** A helper has taken an offer. */
  took(queue: string): void {
    this.#taken++;
    this.#closed(queue);
  }

  /** An offer is over. */
  over(queue: string, taken: boolean): void {
    if (taken) this.#taken--;
    else this.#closed(queue);
  }

  close(): void {
    this.#timer?.cancel();
    this.#waiting.clear();
  }

  #closed(queue: string): void {
    this.#open.set(queue, (this.#open.get(queue) ?? 0) - 1);
    if (this.#waiting.size > 0) this.#setTimer(againMs);
  }

  #room(queue: string): number {
    const others = this.#capacity.get(queue) ?? 0;
    const most = this.serves(queue) ? others : Math.max(others, leastOffers);
    return most - (this.#open.get(queue) ?? 0);
  }

  #setTimer(ms: number = patienceMs): void {
    if (this.#timer !== undefined || ![...this.#capacity.values()].some((slots) => slots > 0)) return;
    this.#timer = this.#options.clock.timer(ms, () => {
      this.#timer = undefined;
      this.#look();
    });
  }

  /** Offers what has waited for long enough. The last to come first: the others have a slot here before them. */
  #look(): void {
    const now = this.#options.clock.monotonic();
    const rooms = new Map<string, number>();
    let patient = false;
    for (const [run, { queue, since, offer }] of [...this.#waiting].toReversed()) {
      const room = rooms.get(queue) ?? this.#room(queue);
      rooms.set(queue, room);
      if (room <= 0) continue;
      if (this.serves(queue) && now - since < patienceMs) {
        patient = true;
        continue;
      }
      rooms.set(queue, room - 1);
      this.#waiting.delete(run);
      offer();
    }
    if (patient) this.#setTimer();
  }

  /** A task of that code cannot be run by others. */
  keep(code: string, task: string): void {
    this.#kept.add(`${code} ${task}`);
  }

  keeps(code: string, task: string): boolean {
    return this.#kept.has(`${code} ${task}`);
  }

  /** Something is for a queue: there is a warning, once, where nobody serves it. */
  wanted(queue: string): void {
    if (this.serves(queue) || this.#warned.has(queue) || (this.#capacity.get(queue) ?? 0) > 0) return;
    this.#warned.add(queue);
    this.#options.logger.warn(
      { queue },
      `no live runner serves the queue '${queue}'; its tasks wait until one starts (option queues, or runner --queue ${queue})`,
    );
  }
}
