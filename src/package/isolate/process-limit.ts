/** Default maximum number of processes. One costs about 9 MB of its own, plus the heap of its package. */
const defaultIsolateLimit = 32;

/**
 * Limits the number of processes of all isolates that share it. An idle process yields its place to a waiting one, the
 * longest idle first.
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

  /** Calls `begin` once a place is free, possibly at once; the returned function cancels the wait. */
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

  /** Frees the place of a process that is gone. */
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
  idle(holder: object, evict: () => void): void {
    this.#idle.set(holder, evict);
    if (this.#waiting.size > 0) this.#evict();
  }

  busy(holder: object): void {
    this.#idle.delete(holder);
  }

  #evict(): void {
    const [eldest] = this.#idle;
    if (eldest === undefined) return;
    this.#idle.delete(eldest[0]);
    eldest[1]();
  }
}
