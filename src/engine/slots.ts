/** A request that waits for a slot. */
export interface SlotRequest {
  readonly priority: number;
  /** Called once with a slot, which the callee returns with `release`. */
  readonly start: () => void;
  cancelled: boolean;
}

/**
 * Limits the number of running task functions. Free slots go to the highest priority first, then in the order of the
 * requests.
 */
export class Slots {
  /** Maximum number of running task functions. */
  readonly limit: number;
  readonly #waiting = new Map<number, SlotRequest[]>();
  #priorities: number[] = [];
  #active = 0;
  #held = false;
  readonly #onFree: () => void;

  /** `onFree`: called when a slot is free and no request waits. */
  constructor(limit: number, onFree: () => void = () => undefined) {
    this.limit = limit;
    this.#onFree = onFree;
  }

  get active(): number {
    return this.#active;
  }

  /** Number of free slots. */
  get free(): number {
    return this.#held ? 0 : Math.max(0, this.limit - this.#active);
  }

  /**
   * Starts at once if a slot is free, and returns undefined; otherwise returns a waiting request, which can be
   * cancelled.
   */
  request(priority: number, start: () => void): SlotRequest | undefined {
    if (this.#active < this.limit && !this.#held && this.#priorities.length === 0) {
      this.#active++;
      start();
      return undefined;
    }
    const request: SlotRequest = { priority, start, cancelled: false };
    const queue = this.#waiting.get(priority);
    if (queue === undefined) {
      this.#waiting.set(priority, [request]);
      this.#priorities = [...this.#priorities, priority].toSorted((a, b) => b - a);
    } else {
      queue.push(request);
    }
    return request;
  }

  release(): void {
    this.#active--;
    this.#fill();
    if (this.#active < this.limit) this.#onFree();
  }

  /** While held, nothing starts: the database is unavailable, or the runner is closing. */
  hold(held: boolean): void {
    this.#held = held;
    this.#fill();
  }

  #fill(): void {
    while (this.#active < this.limit && !this.#held) {
      const next = this.#next();
      if (next === undefined) return;
      if (next.cancelled) continue;
      this.#active++;
      next.start();
    }
  }

  #next(): SlotRequest | undefined {
    const [priority] = this.#priorities;
    if (priority === undefined) return undefined;
    const queue = this.#waiting.get(priority)!;
    const request = queue.shift();
    if (queue.length === 0) {
      this.#waiting.delete(priority);
      this.#priorities.shift();
    }
    return request;
  }
}
