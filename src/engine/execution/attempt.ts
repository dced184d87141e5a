import { CloacinaError } from '../../core/error.ts';
import { toTaskError } from '../../core/foreign/thrown.ts';
import type { Clock, Timer } from '../clock.ts';
import type { Outcome, TaskCall, TaskHost, WorkflowCode } from '../workflow-code.ts';

/** The reason for an abort. */
export type AbortReason = 'timeout' | 'cancel' | 'shutdown' | 'lease_lost' | 'fail_fast';

/** The end of an attempt: the outcome of its function, or `aborted` regardless of the function's reaction to the signal. */
export type AttemptEnd = Outcome | { readonly status: 'aborted'; readonly reason: AbortReason };

export interface AttemptOptions {
  readonly code: WorkflowCode;
  readonly call: TaskCall;
  readonly timeoutMs: number | null;
  /** The time that a function may go on after its signal has fired. */
  readonly graceMs: number;
  readonly clock: Clock;
  readonly host: Omit<TaskHost, 'signal'>;
  /** Called when the function begins. The function that it returns is called at the end of the attempt. */
  readonly onRun?: ((call: TaskCall) => (() => void) | undefined) | undefined;
  /** Called once, when the attempt has ended or is given up. A later answer is dropped. */
  readonly onEnd: (end: AttemptEnd) => void;
}

const abortMessages: Readonly<Record<AbortReason, string>> = {
  timeout: 'the attempt took longer than its timeout',
  cancel: 'the execution was cancelled',
  shutdown: 'the runner is closing',
  lease_lost: 'the runner lost its lease',
  fail_fast: 'another task of the execution failed',
};

/** One attempt of one task: runs its function, fires its signal, and gives it up if it does not react. */
export class Attempt implements TaskHost {
  readonly #options: AttemptOptions;
  #controller: AbortController | undefined;
  #timer: Timer | undefined;
  #reason: AbortReason | undefined;
  #ended = false;
  #ran: (() => void) | undefined;

  constructor(options: AttemptOptions) {
    this.#options = options;
  }

  start(): void {
    const { code, call, timeoutMs, clock, onRun } = this.#options;
    this.#ran = onRun?.(call);
    if (timeoutMs !== null) this.#timer = clock.timer(timeoutMs, () => this.abort('timeout'));
    code.run(call, this).then(
      (outcome) => this.#end(outcome),
      (error: unknown) =>
        this.#end({ status: 'failed', error: toTaskError(error, 'INTERNAL'), retryable: true, retryAfter: null }),
    );
  }

  /** Fires the signal; the attempt ends when its function does, or after the grace period. */
  abort(reason: AbortReason): void {
    if (this.#ended || this.#reason !== undefined) return;
    this.#reason = reason;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.timer(this.#options.graceMs, () => {
      this.#options.code.abandon(this.#options.call);
      this.#end({ status: 'aborted', reason });
    });
    this.#controller?.abort(abortError(reason));
  }

  // -- the engine for the function of the attempt, as long as the attempt runs

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(abortError(this.#reason));
    }
    return this.#controller.signal;
  }

  stepResult(name: string): Promise<string | undefined> {
    return this.#ended ? gone() : this.#options.host.stepResult(name);
  }

  saveStep(name: string, result: string): Promise<void> {
    return this.#ended ? gone() : this.#options.host.saveStep(name, result);
  }

  transaction(...args: Parameters<NonNullable<TaskHost['transaction']>>): Promise<string> {
    const { transaction } = this.#options.host;
    return this.#ended || transaction === undefined ? gone() : transaction(...args);
  }

  /** The reason why the result of the function will not count; null while it does. A runner that closes accepts a result in time. */
  get lost(): CloacinaError | null {
    return this.#reason === undefined || this.#reason === 'shutdown' ? null : abortError(this.#reason);
  }

  log(...line: Parameters<TaskHost['log']>): void {
    if (!this.#ended) this.#options.host.log(...line);
  }

  progress(done: number, text: string | null): void {
    if (!this.#ended) this.#options.host.progress(done, text);
  }

  #end(end: AttemptEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#timer?.cancel();
    this.#ran?.();
    // a result in time counts although the runner closes
    const counts = this.#reason === undefined || (this.#reason === 'shutdown' && end.status === 'completed');
    this.#options.onEnd(counts ? end : { status: 'aborted', reason: this.#reason! });
  }
}

function abortError(reason: AbortReason): CloacinaError {
  return new CloacinaError(reason === 'timeout' ? 'TASK_TIMED_OUT' : 'TASK_CANCELLED', abortMessages[reason]);
}

function gone(): Promise<never> {
  return Promise.reject(new Error('the attempt was abandoned; its steps are no longer stored'));
}
