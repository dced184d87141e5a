const signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];
/** The exit code of an interrupted program in shells: 128 and the number of SIGINT. */
export const interruptedExit = 130;

/** Orderly Ctrl-C: the first one fires `signal`, the second one ends the process. */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #onSignal = (): void => {
    if (this.signal.aborted) process.exit(interruptedExit);
    this.#controller.abort();
  };

  constructor() {
    for (const name of signals) process.on(name, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Resolves when the signal fires. */
  get happened(): Promise<void> {
    return aborted(this.signal);
  }

  /** Treats another signal as an interruption too. */
  also(other: AbortSignal): this {
    if (other.aborted) this.#controller.abort();
    else other.addEventListener('abort', () => this.#controller.abort(), { once: true });
    return this;
  }

  [Symbol.dispose](): void {
    for (const name of signals) process.off(name, this.#onSignal);
  }
}

/** Resolves when a signal has aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
