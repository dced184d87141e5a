import { CloacinaError, StoreUnavailableError } from '../../core/error.ts';

interface Waiter {
  readonly since: number;
  readonly admit: () => void;
  readonly refuse: (error: Error) => void;
}

const checkMs = 500;
/** Entries of served requests are removed in batches of this size. */
const mostLeft = 1000;

/** A refusal is an answer. */
function isSilence(error: unknown): boolean {
  if (error instanceof StoreUnavailableError) return true;
  return error instanceof CloacinaError && error.code === 'OUTCOME_UNKNOWN';
}

/**
 * Limits the number of concurrent requests to the database; further ones queue, however long, as long as the database
 * answers earlier ones. Twenty thousand starts at the same moment are slow, and none of them fails.
 */
export class Admission {
  readonly #size: number;
  readonly #patienceMs: number;
  readonly #shown: string;
  readonly #now: () => number;
  readonly #waiting: Waiter[] = [];
  #head = 0;
  #active = 0;
  #answeredAt = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  /** `shown`: the request in words. `now`: monotonic, ms. */
  constructor(size: number, patienceMs: number, shown: string, now: () => number = () => performance.now()) {
    this.#now = now;
    this.#size = size;
    this.#shown = shown;
    this.#patienceMs = patienceMs;
  }

  /**
   * `since`: the time (monotonic, ms) of the last answer to any request while this one waited. Throws STORE_UNAVAILABLE
   * if that was `patienceMs` ago.
   */
  async through<T>(act: (since: number) => Promise<T>): Promise<T> {
    const came = this.#now();
    if (this.#active >= this.#size) await this.#turn();
    else this.#active += 1;
    try {
      const result = await act(Math.max(came, this.#answeredAt));
      this.#answeredAt = this.#now();
      return result;
    } catch (error) {
      if (!isSilence(error)) this.#answeredAt = this.#now();
      throw error;
    } finally {
      this.#next();
    }
  }

  async #turn(): Promise<void> {
    await new Promise<void>((admit, refuse) => {
      this.#waiting.push({ since: this.#now(), admit, refuse });
      this.#timer ??= setInterval(() => this.#check(), checkMs);
    });
  }

  /** Passes a free place to the first waiting request. */
  #next(): void {
    const next = this.#waiting[this.#head];
    if (next === undefined) {
      this.#active -= 1;
      return;
    }
    this.#head += 1;
    this.#tidy();
    next.admit();
  }

  #check(): void {
    const now = this.#now();
    for (let first = this.#waiting[this.#head]; first !== undefined; first = this.#waiting[this.#head]) {
      if (now - Math.max(first.since, this.#answeredAt) < this.#patienceMs) return;
      this.#head += 1;
      first.refuse(new StoreUnavailableError(`${this.#shown} has not answered for ${this.#patienceMs} ms`));
    }
    this.#tidy();
  }

  #tidy(): void {
    const isEmpty = this.#head === this.#waiting.length;
    if (isEmpty || this.#head > mostLeft) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    if (!isEmpty) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
