import { CloacinaError, StoreUnavailableError } from '../../core/error.ts';
import { OutcomeUnknownError } from '../../store/transition.ts';
import type { NewEvent } from '../../store/transition.ts';
import type { TaskEnd, TaskEndOutcome, TaskTransaction } from '../../store/store.ts';
import type { Attempt, AttemptEnd } from './attempt.ts';
import { delay } from '../clock.ts';
import type { Clock } from '../clock.ts';
import type { LiveState } from './live-state.ts';
import type { Logger } from '../logger.ts';
import { ended, isRunning } from './phase.ts';
import type { TaskRun } from './task-run.ts';

/** The parts of a runner that transactions of tasks use. */
export interface TransactionsHost {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The id of the runner in the database. */
  readonly runner: string;
  transactTask(task: TaskTransaction): Promise<TaskEndOutcome>;
  taskEndOutcome(end: TaskEnd): Promise<TaskEndOutcome | 'open'>;
}

/** The execution of a transaction. */
export interface TransactionsOwner {
  /** Calls a function once all changes so far are durable, and no transition is on its way. */
  whenQuiet(then: () => void): void;
  nextSeq(): number;
  /** An event is durable without a transition. */
  wrote(event: NewEvent): void;
  /** The transaction has ended the task. */
  ended(run: TaskRun, attempt: Attempt): void;
  /** The transaction was not written. `late`: the end of its attempt, if it has ended meanwhile. */
  unsealed(run: TaskRun, late: AttemptEnd | undefined): void;
}

/** The delay between two questions for the outcome of a commit while the database does not answer. */
const askMs = 500;

interface Underway {
  readonly over: Promise<never>;
  /** Its attempt is over. */
  isOver: boolean;
  fail(error: Error): void;
  /** Null until it is written. */
  output: string | null;
}

/**
 * `ctx.transaction`: the writes of a task and its completion in one transaction of its own. Its end is written beside the
 * journal, so the transitions of its execution wait from before the fence until the outcome. Only the completion is
 * written: a completed task causes no skips, so its consequences may come with a later transition.
 */
export class TaskTransactions {
  readonly #state: LiveState;
  readonly #host: TransactionsHost;
  readonly #owner: TransactionsOwner;
  /** The attempts with a transaction that was not rolled back. */
  readonly #attempts = new Map<Attempt, Underway>();

  constructor(state: LiveState, host: TransactionsHost, owner: TransactionsOwner) {
    this.#state = state;
    this.#host = host;
    this.#owner = owner;
  }

  /** Runs a function as the transaction of an attempt; returns the output (JSON text) once it is durable. */
  async run(
    run: TaskRun,
    attempt: Attempt,
    act: (tx: unknown) => unknown,
    text: (value: unknown) => string,
  ): Promise<string> {
    const before = this.#attempts.get(attempt);
    if (before !== undefined) {
      const how =
        before.output === null ? 'the attempt has one already' : 'the task has ended with the one that it had';
      throw new CloacinaError('TRANSACTION_ENDED', `ctx.transaction of task '${run.spec.name}': ${how}`);
    }
    const underway = newUnderway();
    this.#attempts.set(attempt, underway);
    let end: TaskEnd | undefined;
    const transaction: TaskTransaction = {
      run: (tx) => {
        this.#check(run, attempt);
        return act(tx);
      },
      ready: () => this.#seal(run, underway),
      end: (value) => {
        const output = text(value);
        this.#check(run, attempt);
        return (end = this.#end(run, output));
      },
      over: underway.over,
    };
    let how: TaskEndOutcome | 'open';
    try {
      how = await this.#outcome(transaction, () => end!);
    } catch (error) {
      this.#attempts.delete(attempt);
      this.#unseal(run);
      throw error;
    }
    if (how === 'written') {
      underway.output = end!.output;
      this.#written(run, attempt, end!);
      return end!.output;
    }
    this.#attempts.delete(attempt);
    this.#unseal(run);
    throw how === 'lost' ? notOurs(run) : rolledBack(run);
  }

  /** The end of an attempt ends its transaction, unless the transaction is being written just now. */
  attemptOver(run: TaskRun, attempt: Attempt, end: AttemptEnd): void {
    const underway = this.#attempts.get(attempt);
    if (underway === undefined) return;
    if (underway.output !== null) {
      this.#attempts.delete(attempt);
      const same = end.status === 'completed' && end.output === underway.output;
      const details = { execution: this.#state.id, task: run.spec.name, end };
      if (!same) this.#host.logger.warn(details, 'a task went on after its transaction; what came of that is dropped');
    } else if (this.#state.sealed?.run !== run) {
      underway.fail(new Error(`the attempt of task '${run.spec.name}' ended before its transaction`));
    }
  }

  /** Another runner may own the execution: a transaction on its way to the database would never get its answer. */
  forget(): void {
    for (const underway of this.#attempts.values()) underway.fail(new Error(notOwned));
  }

  async #outcome(transaction: TaskTransaction, end: () => TaskEnd): Promise<TaskEndOutcome | 'open'> {
    try {
      return await this.#host.transactTask(transaction);
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) throw error;
      const { logger, clock } = this.#host;
      logger.warn({ execution: this.#state.id, error }, 'the answer to the commit of a task is lost; it is asked for');
      for (;;) {
        // the next owner reads the outcome
        if (this.#state.gone) return 'lost';
        try {
          return await this.#host.taskEndOutcome(end());
        } catch (cause) {
          logger.debug(
            { execution: this.#state.id, error: cause },
            'the database does not say what became of a commit',
          );
        }
        await delay(clock, askMs);
      }
    }
  }

  #end(run: TaskRun, output: string): TaskEnd {
    const { spec, item, attempt } = run;
    const { id, epoch } = this.#state.head;
    const at = this.#host.clock.now();
    const seq = this.#owner.nextSeq();
    return { runner: this.#host.runner, id, epoch, task: spec.name, item, attempt, seq, at, output };
  }

  #check(run: TaskRun, attempt: Attempt): void {
    if (attempt.lost !== null) throw attempt.lost;
    if (!isRunning(run.phase, attempt) || this.#state.gone) throw notOurs(run);
  }

  /** One end at a time, and none while a transition is on its way: events are numbered in the order of their commits. */
  async #seal(run: TaskRun, underway: Underway): Promise<void> {
    const { over } = underway;
    const tried = (): Promise<boolean> =>
      new Promise((resolve) => {
        this.#owner.whenQuiet(() => {
          const free = this.#state.sealed === undefined && !underway.isOver;
          if (free) {
            const { promise, resolve: open } = Promise.withResolvers<void>();
            this.#state.sealed = { run, over: promise, open, late: undefined };
          }
          resolve(free);
        });
      });
    do await Promise.race([this.#state.sealed?.over, over]);
    while (!(await Promise.race([tried(), over])));
  }

  #unseal(run: TaskRun): void {
    const { sealed } = this.#state;
    if (sealed?.run !== run) return;
    this.#state.unseal();
    this.#owner.unsealed(run, sealed.late);
  }

  #written(run: TaskRun, attempt: Attempt, { seq, at, output }: TaskEnd): void {
    this.#state.unseal();
    if (this.#state.gone) return;
    Object.assign(run, { status: 'completed', output, endedAt: at, wakeAt: null, startEvent: undefined });
    this.#state.move(run, ended);
    const item = run.item === -1 ? null : run.item;
    this.#owner.wrote({ seq, type: 'task.completed', at, task: run.spec.name, item, attempt: run.attempt, data: null });
    this.#owner.ended(run, attempt);
  }
}

function newUnderway(): Underway {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => undefined); // the waiting transaction gets the error, too
  const underway: Underway = {
    over: promise,
    isOver: false,
    fail: (error) => {
      underway.isOver = true;
      reject(error);
    },
    output: null,
  };
  return underway;
}

const notOwned = 'the execution is not owned by this runner any more; the transaction of its task is rolled back';

function notOurs(run: TaskRun): Error {
  return new Error(`the attempt of task '${run.spec.name}' is not the one that counts any more; nothing was written`);
}

function rolledBack(run: TaskRun): StoreUnavailableError {
  const message = `the connection of task '${run.spec.name}' broke as its transaction was committed; nothing was written`;
  return new StoreUnavailableError(message);
}
