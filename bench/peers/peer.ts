/** A compared engine, open on its own database. */
export interface Peer {
  /** Ms from the start of the worker on a backlog of trivial jobs until the last job has run. */
  readonly backlogMs: number;
  /** Runs a pipeline of three and resolves when it is done. */
  pipeline(): Promise<unknown>;
  close(): Promise<void>;
}

/** Opens a peer: enqueues a backlog of trivial jobs before it starts to work. */
export type OpenPeer = (url: string, backlog: number) => Promise<Peer>;

/** Counts the jobs that have run. */
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

/** Callers that wait for a chain of jobs, for peers that do not report the end of a job. */
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

/** Calls a function a number of times, a few calls at once. */
export async function times(count: number, act: () => Promise<unknown>): Promise<void> {
  let left = count;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await act();
  };
  await Promise.all(Array.from({ length: 32 }, lane));
}
