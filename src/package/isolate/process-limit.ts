/** How many isolates run at once where nobody said. One costs about 9 MB of its own, and the heap of its package. */
const defaultIsolateLimit = 32;

/**
 * Bounds the processes of all isolates that share it. One that has no calls gives its place to one that waits for a
 * place, the longest idle first.
 */
export class ProcessLimit {
  readonly #limit: number;
  #taken = 0;
  readonly #waiting = new Set<() => void>();
  /** In the order in which they became idle. */
  readonly #idle = new Map<object, () => void>();

  constructor(limit: number = defaultIsolateLimit) {
    this.#limit = Math.max(1, limit);
  }

  /** Calls `begin` once there is a place, at once where there is one; the function it returns gives up waiting. */
  enter(begin: () => void): () => void {
    if (this.#taken < this.#limit) {
      this.#taken++;
      begin();
      return () => undefined;
    }
    this.#waiting.add(begin);
    this.#evict();
    return () => this.#waiting.delete(begin);
  }

  /** The process is gone: its place is free. */
  leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#taken--;
      return;
    }
    this.#waiting.delete(next);
    next();
  }

  /** `evict` ends the process, after which it leaves. */
  idle(who: object, evict: () => void): void {
    this.#idle.set(who, evict);
    if (this.#waiting.size > 0) this.#evict();
  }

  busy(who: object): void {
    this.#idle.delete(who);
  }

  #evict(): void {
    const [eldest] = this.#idle;
    if (eldest === undefined) return;
    this.#idle.delete(eldest[0]);
    eldest[1]();
  }
}
