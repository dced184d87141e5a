/** A place in the queue for a slot. */
export interface SlotRequest {
  readonly priority: number;
  /** Called once when a slot is there; whoever is called gives it back with `release`. */
  readonly start: () => void;
  cancelled: boolean;
}

/** How many task functions run at once. Free slots go to the highest priority first, then to who came first. */
export class Slots {
  /** How many at once. */
  readonly limit: number;
  readonly #waiting = new Map<number, SlotRequest[]>();
  #priorities: number[] = [];
  #active = 0;
  #held = false;
  readonly #onFree: () => void;

  /** `onFree`: called when one has come free that nobody waits for. */
  constructor(limit: number, onFree: () => void = () => undefined) {
    this.limit = limit;
    this.#onFree = onFree;
  }

  get active(): number {
    return this.#active;
  }

  /** How many more could start at once. */
  get free(): number {
    return this.#held ? 0 : Math.max(0, this.limit - this.#active);
  }

  /** Starts at once where a slot is free, and gives undefined; else later: the request may be cancelled while it waits. */
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

  /** While held nothing starts: the database is away, or the runner is closing. */
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
