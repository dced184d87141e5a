import { toTaskError } from '../../core/foreign/thrown.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { InboxMessage } from '../../store/store.ts';
import { untilAnswered } from '../workflow-code.ts';
import type { Clock } from '../clock.ts';
import type { WorkflowCode } from '../workflow-code.ts';
import type { LiveState } from './live-state.ts';
import type { Logger } from '../logger.ts';
import { isOver } from './task-run.ts';
import type { TaskRun } from './task-run.ts';
import type { Waits } from './waits.ts';

export interface SignalsOptions {
  readonly state: LiveState;
  readonly code: WorkflowCode;
  readonly waits: Waits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly maxPayload: number;
  readonly owner: {
    completed(run: TaskRun): void;
    failed(run: TaskRun, error: TaskError): void;
  };
}

/** The signals of one live execution. Each goes to the first task that waits for its name, or is kept until one does. */
export class Signals {
  readonly #options: SignalsOptions;
  readonly #state: LiveState;
  /** The signals that no task has taken, in the order of their arrival. */
  #here: InboxMessage[] = [];

  constructor(options: SignalsOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /** Restores the signals that an earlier owner read, and that no task has taken. */
  restore(messages: readonly InboxMessage[]): void {
    this.#here = [...messages];
  }

  received(message: InboxMessage): void {
    this.#state.draft.event('signal.received', this.#options.clock.now(), null, { signal: message.name });
    this.#here.push(message);
    for (const run of this.#state.runs) {
      if (run?.status === 'waiting' && run.spec.wait?.signal === message.name) this.look(run);
    }
  }

  /** A task begins to wait. It takes a signal that has arrived before at once. */
  begin(run: TaskRun): void {
    const now = this.#options.clock.now();
    const { signal, timeout } = run.spec.wait!;
    run.startedAt = now;
    run.attempt++;
    const until = this.#options.waits.within(run, timeout, now);
    this.#state.draft.event('task.waiting', now, run, { signal, ...until });
    this.look(run);
  }

  /** Gives a waiting task the first signal of its name, if there is one. */
  look(run: TaskRun): void {
    if (run.phase.is === 'asking' || this.#find(run) === undefined) return;
    this.#take(run).catch((error: unknown) => this.#broke(run, error));
  }

  /** An exception during the check of a signal fails the task that waits for it; the process goes on. */
  #broke(run: TaskRun, error: unknown): void {
    const { logger, owner } = this.#options;
    logger.error(
      { execution: this.#state.id, task: run.spec.name, error },
      'a signal could not be delivered to its task',
    );
    if (!isOver(this.#state, run)) owner.failed(run, toTaskError(error, 'INTERNAL'));
  }

  #find(run: TaskRun): InboxMessage | undefined {
    return this.#here.find(({ name }) => name === run.spec.wait!.signal);
  }

  async #take(run: TaskRun): Promise<void> {
    const { code, logger, owner, maxPayload } = this.#options;
    for (let signal = this.#find(run); signal !== undefined; signal = this.#find(run)) {
      const taken = signal;
      // no other task can take the signal during its check
      this.#here = this.#here.filter((other) => other !== taken);
      const outcome = await this.#state.asking(
        run,
        () => untilAnswered((alone) => code.parseSignal(run.spec.name, taken.payload ?? 'null', maxPayload, alone)),
        (answer) => answer,
      );
      if (isOver(this.#state, run) || run.status !== 'waiting') {
        this.#here = [...this.#here, taken].toSorted((a, b) => a.n - b.n);
        break;
      }
      this.#state.draft.effects.messagesDone.push(taken.n);
      if (outcome.status === 'valid') {
        run.status = 'completed';
        run.output = outcome.input;
        owner.completed(run);
        break;
      }
      if (outcome.status === 'lost') {
        owner.failed(run, outcome.error);
        break;
      }
      const issues = outcome.issues.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));
      const details = { execution: this.#state.id, task: run.spec.name, signal: taken.name, issues };
      logger.warn(details, 'a signal does not fit the schema of the task that waits for it; it is dropped');
    }
    // the question took the place of the timer
    this.#options.waits.resume(run);
  }
}
