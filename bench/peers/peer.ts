/** One of those that are compared, open on a database of its own. */
export interface Peer {
  /** Ms from when the worker was started on a backlog of trivial jobs until the last of them had run. */
  readonly backlogMs: number;
  /** Runs a pipeline of three; resolves when it is done. */
  pipeline(): Promise<unknown>;
  close(): Promise<void>;
}

/** Opens one: leaves so many trivial jobs, and only then begins to work. */
export type OpenPeer = (url: string, backlog: number) => Promise<Peer>;

/** Counts what has run. */
export class Countdown {
  readonly done: Promise<void>;
  #left: number;
  #resolve: () => void = () => undefined;

  constructor(count: number) {
    this.#left = count;
    this.done = new Promise((resolve) => (this.#resolve = resolve));
  }

  ran(): void {
    if (--this.#left === 0) this.#resolve();
  }
}

/** Who waits for which chain of jobs: for those that do not say by themselves when a job has ended. */
export class Waiting {
  readonly #waiting = new Map<number, () => void>();
  #last = 0;

  async run(begin: (id: number) => Promise<unknown>): Promise<void> {
    const id = ++this.#last;
    const ended = new Promise<void>((resolve) => this.#waiting.set(id, resolve));
    await begin(id);
    await ended;
  }

  ended(id: number): void {
    this.#waiting.get(id)!();
    this.#waiting.delete(id);
  }
}

/** Does something so often, a few at once. */
export async function times(count: number, act: () => Promise<unknown>): Promise<void> {
  let left = count;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await act();
  };
  await Promise.all(Array.from({ length: 32 }, lane));
}
