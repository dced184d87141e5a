/** A request that waits for a slot. */
export interface SlotRequest {
  readonly priority: number;
  /** Called once with a slot, which the callee returns with `release`. */
  readonly start: () => void;
  cancelled: boolean;
}

/**
 * Limits the number of running task functions. Free slots go to the highest priority first, within a priority to the
 * tenants in turn, and for one tenant in the order of the requests.
 */
export class Slots {
  /** Maximum number of running task functions. */
  readonly limit: number;
  /** By priority and tenant; the tenant whose turn is next comes first. */
  readonly #waiting = new Map<number, Map<string, SlotRequest[]>>();
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
  request(priority: number, tenant: string, start: () => void): SlotRequest | undefined {
    if (this.#active < this.limit && !this.#held && this.#priorities.length === 0) {
      this.#active++;
      start();
      return undefined;
    }
    const request: SlotRequest = { priority, start, cancelled: false };
    let tenants = this.#waiting.get(priority);
    if (tenants === undefined) {
      this.#waiting.set(priority, (tenants = new Map()));
      this.#priorities = [...this.#priorities, priority].toSorted((a, b) => b - a);
    }
    const queue = tenants.get(tenant);
    if (queue === undefined) tenants.set(tenant, [request]);
    else queue.push(request);
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
      this.#active++;
      next.start();
    }
  }

  /** Takes the next request that is not cancelled. */
  #next(): SlotRequest | undefined {
    for (;;) {
      const [priority] = this.#priorities;
      if (priority === undefined) return undefined;
      const tenants = this.#waiting.get(priority)!;
      for (const [tenant, queue] of tenants) {
        let request = queue.shift();
        while (request?.cancelled === true) request = queue.shift();
        tenants.delete(tenant);
        // its next request comes after one of each other tenant
        if (queue.length > 0) tenants.set(tenant, queue);
        if (request !== undefined) {
          if (tenants.size === 0) this.#forget(priority);
          return request;
        }
      }
      this.#forget(priority);
    }
  }

  #forget(priority: number): void {
    this.#waiting.delete(priority);
    this.#priorities.shift();
  }
}
