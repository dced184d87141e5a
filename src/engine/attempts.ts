import { isTaskEnded } from '../core/execution.ts';
import { settle } from '../core/settle.ts';
import type { AttemptFailure } from '../core/settle.ts';
import type { TaskError } from '../core/task-error.ts';
import { cleanText } from '../core/text.ts';
import { Attempt } from './attempt.ts';
import type { AbortReason, AttemptEnd } from './attempt.ts';
import type { Outcome, TaskCall, WorkflowCode } from './code.ts';
import type { LiveState } from './live-state.ts';
import type { Slots } from './slots.ts';
import { TaskTransactions } from './task-transaction.ts';
import type { TransactionsHost, TransactionsOwner } from './task-transaction.ts';
import { coalesced, isOver, settledText } from './task-run.ts';
import type { TaskRun } from './task-run.ts';
import type { Waits } from './waits.ts';

/** What attempts use of their runner. */
export interface AttemptsHost extends TransactionsHost {
  readonly slots: Slots;
  /** Lets one suspect at a time run. */
  readonly suspects: Slots;
  readonly graceMs: number;
  readonly maxPayload: number;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** A function begins to run; what it gives is called when its attempt has ended. */
  readonly onRun?: (call: TaskCall) => (() => void) | undefined;
  stepResult(id: string, task: string, item: number, name: string): Promise<string | undefined>;
  onProgress(id: string, task: string, done: number, text: string | null): void;
  /** The execution that the attempts are in. */
  readonly within: Pick<TransactionsOwner, 'whenQuiet' | 'nextSeq' | 'wrote'>;
}

/** Who is told how a task's attempts came out. */
export interface AttemptsOwner {
  completed(run: TaskRun): void;
  failed(run: TaskRun, error: TaskError): void;
  /** It waits for its next attempt. */
  retrying(run: TaskRun): void;
  /** What had to leave a task alone since its transaction was being written is to be done now. */
  unsealed(): void;
  /** Something changed that must be written, or may have brought the execution to its end. */
  changed(): void;
}

/** A suspect that has run for so long lets the next begin. */
const suspectTurnMs = 60_000;
const suspectLosses = 2;
const maxLogLines = 1000;

/** The attempts of the tasks of one live execution: slot, start, run, settle, and again. */
export class Attempts {
  readonly #state: LiveState;
  readonly #code: WorkflowCode;
  readonly #host: AttemptsHost;
  readonly #waits: Waits;
  readonly #owner: AttemptsOwner;
  readonly #transactions: TaskTransactions;
  /** Who waits for a step to be durable, to be told if it never will. */
  readonly #unsaved = new Set<(reason: Error) => void>();

  constructor(state: LiveState, code: WorkflowCode, host: AttemptsHost, waits: Waits, owner: AttemptsOwner) {
    this.#state = state;
    this.#code = code;
    this.#host = host;
    this.#waits = waits;
    this.#owner = owner;
    this.#transactions = new TaskTransactions(state, host, {
      ...host.within,
      ended: (run) => {
        run.running = undefined;
        owner.completed(run);
        owner.unsealed();
        owner.changed();
      },
      unsealed: (run, late) => this.#unsealed(run, late),
    });
  }

  /** Begins the next attempt as soon as there is a slot. */
  begin(run: TaskRun): void {
    if (this.#state.still) return;
    const { slots, suspects } = this.#host;
    const { priority } = this.#state.head;
    const ask = (): void => {
      const request = slots.request(priority, () => this.#start(run));
      if (request !== undefined) run.slot = request;
    };
    if (!this.#isSuspect(run)) {
      ask();
      return;
    }
    const turn = suspects.request(priority, () => {
      run.slot = undefined;
      run.endTurn = takeTurn(this.#host);
      ask();
    });
    if (turn !== undefined) run.slot = turn;
  }

  /** An attempt was running when its runner was lost: the error, where none may follow. It is charged only where its start said so. */
  cutOff(run: TaskRun): TaskError | null {
    const allowance = run.spec.retry?.attempts ?? 1;
    const once = allowance === 1;
    if (once || (this.#isSuspect(run) && run.used >= allowance)) {
      const code = once && this.#state.head.losses < suspectLosses ? 'TASK_INTERRUPTED' : 'TASK_CRASHED_RUNNER';
      const message = `the process that ran attempt ${run.attempt} of task '${run.spec.name}' ended`;
      return { name: 'Error', code, message };
    }
    run.status = 'pending';
    this.#state.pending.task(run);
    return null;
  }

  #isSuspect(run: TaskRun): boolean {
    return run.suspect || this.#state.head.losses >= suspectLosses;
  }

  /** A slot is there: begins the next attempt. */
  #start(run: TaskRun): void {
    run.slot = undefined;
    if (isOver(this.#state, run)) {
      this.#host.slots.release();
      run.endTurn?.();
      return;
    }
    run.status = 'running';
    run.attempt++;
    run.epoch = this.#state.head.epoch;
    run.startedAt = this.#host.clock.now();
    run.error = null;
    run.logLines = 0;
    run.charged = this.#isSuspect(run) || run.spec.retry?.attempts === 1;
    if (run.charged) run.used++;
    run.startEvent = this.#state.pending.event('task.started', run.startedAt, run);
    this.#state.pending.task(run);
    this.#state.busy++;
    run.starting = true;
    if (run.charged) this.#state.after(() => this.#launch(run));
    else this.#launch(run);
    this.#owner.changed();
  }

  #launch(run: TaskRun): void {
    if (!run.starting) return;
    if (isOver(this.#state, run)) {
      this.#giveBack(run);
      if (run.status === 'running') this.#again(run);
      this.#owner.changed();
      return;
    }
    run.starting = false;
    const attempt: Attempt = new Attempt({
      code: this.#code,
      call: this.call(run),
      timeoutMs: run.spec.timeout,
      graceMs: this.#host.graceMs,
      clock: this.#host.clock,
      onRun: this.#host.onRun,
      host: {
        ...this.#taskHost(run, run.attempt),
        transaction: (act, text) => this.#transactions.run(run, attempt, act, text),
      },
      onEnd: (end) => {
        this.#state.busy--;
        run.endTurn?.();
        this.#transactions.attemptOver(run, attempt, end);
        const { sealed, gone } = this.#state;
        try {
          if (run.running === attempt && sealed?.run === run) sealed.late = end;
          else if (run.running === attempt && !gone) this.#attemptEnded(run, end);
          else this.#host.logger.debug({ execution: this.#state.id, task: run.spec.name }, 'a late answer was dropped');
        } finally {
          this.#host.slots.release();
        }
      },
    });
    run.running = attempt;
    attempt.start();
  }

  /** An attempt that never began gives back what it held. */
  #giveBack(run: TaskRun): void {
    run.starting = false;
    this.#state.busy--;
    run.endTurn?.();
    this.#host.slots.release();
  }

  /** What is on its way to the database will never be durable: starts give back their slots, steps throw. */
  forget(): void {
    for (const run of this.#state.allRuns()) if (run.starting) this.#giveBack(run);
    for (const reject of this.#unsaved) reject(new Error(notOwned));
    this.#unsaved.clear();
    this.#transactions.forget();
  }

  /** Ends what runs or waits for a slot; its answers are not waited for any more. */
  stop(run: TaskRun, reason: AbortReason): void {
    this.withdraw(run);
    run.running?.abort(reason);
    // the outcome of a transaction that is being written says what the attempt came to
    if (this.#state.sealed?.run !== run) run.running = undefined;
  }

  /** The transaction of a task was not written: what happened to its attempt meanwhile counts. */
  #unsealed(run: TaskRun, late: AttemptEnd | undefined): void {
    this.#owner.unsealed();
    if (isTaskEnded(run.status)) run.running = undefined;
    else if (late !== undefined && !this.#state.gone) this.#attemptEnded(run, late);
    this.#owner.changed();
  }

  /** Takes back the request of an attempt that has not begun. */
  withdraw(run: TaskRun): void {
    if (run.slot !== undefined) run.slot.cancelled = true;
    run.slot = undefined;
    if (run.running === undefined && !run.starting) run.endTurn?.();
  }

  call(run: TaskRun): TaskCall {
    const { epoch, input, schedule } = this.#state.head;
    const needs = this.#state.graph.needs[run.index]!.map(({ alias, task, settled }): readonly [string, string] => {
      const need = this.#state.runs[task]!;
      return [alias, settled ? settledText(need) : (need.output ?? 'null')];
    });
    return {
      executionId: this.#state.id,
      workflow: this.#state.graph.spec.name,
      task: run.spec.name,
      item: run.item === -1 ? null : run.item,
      itemValue: run.value,
      epoch,
      attempt: run.attempt,
      idempotencyKey: `${this.#state.id}/${run.spec.name}${run.item === -1 ? '' : `/${run.item}`}`,
      input,
      needs,
      schedule,
      maxPayload: this.#host.maxPayload,
      alone: this.#isSuspect(run),
    };
  }

  #taskHost(run: TaskRun, attempt: number): ConstructorParameters<typeof Attempt>[0]['host'] {
    const { name: task } = run.spec;
    // nothing can be remembered of a task execution in its first attempt but what that attempt itself has done
    let remembers = attempt > 1;
    return {
      stepResult: (name) => (remembers ? this.#host.stepResult(this.#state.id, task, run.item, name) : nothing),
      saveStep: (name, output) =>
        new Promise((resolve, reject) => {
          if (this.#state.gone) throw new Error(notOwned);
          remembers = true;
          this.#state.pending.step({ task, item: run.item, name, output });
          this.#unsaved.add(reject);
          this.#state.after(() => {
            this.#unsaved.delete(reject);
            resolve();
          });
          this.#owner.changed();
        }),
      log: (level, text, data) => {
        if (run.logLines >= maxLogLines) return;
        const n = ++run.logLines;
        const message = cleanText(text);
        this.#state.pending.log({ task, item: run.item, attempt, n, at: this.#host.clock.now(), level, message, data });
        this.#owner.changed();
      },
      progress: (done, text) => this.#host.onProgress(this.#state.id, task, done, text),
    };
  }

  #attemptEnded(run: TaskRun, end: AttemptEnd): void {
    run.running = undefined;
    if (end.status === 'completed') {
      run.status = 'completed';
      run.output = end.output;
      this.#owner.completed(run);
    } else if (end.status === 'failed') {
      this.#attemptFailed(run, end);
    } else if (end.status === 'lost') {
      this.#isolateLost(run, end);
    } else if (end.reason === 'timeout') {
      const message = `attempt ${run.attempt} of task '${run.spec.name}' took longer than ${run.spec.timeout} ms`;
      this.#state.pending.event('task.timed_out', this.#host.clock.now(), run);
      const error = { name: 'TimeoutError', code: 'TASK_TIMED_OUT', message };
      this.#attemptFailed(run, { error, retryable: true, retryAfter: null });
    } else {
      this.#attemptCut(run);
    }
    this.#owner.changed();
  }

  #attemptFailed(run: TaskRun, failure: AttemptFailure): void {
    if (!run.charged) run.used++;
    run.charged = false;
    const now = this.#host.clock.now();
    const settlement = settle(failure, run.spec.retry, run.used, now, this.#host.random());
    if (settlement.status === 'failed') {
      this.#owner.failed(run, settlement.error);
      return;
    }
    run.error = settlement.error;
    const { code, message } = settlement.error;
    this.#waits.until(run, settlement.at);
    const at = new Date(settlement.at).toISOString();
    this.#state.pending.event('task.retrying', now, run, { ...coalesced(run), at, code, message });
    this.#owner.retrying(run);
  }

  /** The isolate died with the attempt in it: charged only where nothing else was in there. Then it runs alone. */
  #isolateLost(run: TaskRun, { alone, error }: Extract<Outcome, { status: 'lost' }>): void {
    run.suspect = true;
    const crashed = { ...error, code: 'TASK_CRASHED_RUNNER' };
    if (alone) this.#attemptFailed(run, { error: crashed, retryable: true, retryAfter: null });
    else if (run.spec.retry?.attempts === 1) this.#owner.failed(run, { ...error, code: 'TASK_INTERRUPTED' });
    else this.#again(run);
  }

  /** An attempt ended by the runner's close is not counted, unless it is the only one allowed. */
  #attemptCut(run: TaskRun): void {
    if (run.spec.retry?.attempts !== 1) {
      this.#again(run);
      return;
    }
    const message = `the runner closed while the only attempt of task '${run.spec.name}' was running`;
    this.#owner.failed(run, { name: 'Error', code: 'TASK_INTERRUPTED', message });
  }

  #again(run: TaskRun): void {
    if (run.charged) run.used--;
    run.charged = false;
    run.status = 'pending';
    this.#state.pending.task(run);
    this.#state.after(() => this.begin(run));
  }
}

const notOwned = 'the execution is not owned by this runner any more; its steps are not remembered';
const nothing: Promise<undefined> = Promise.resolve(undefined);

function takeTurn(host: AttemptsHost): () => void {
  let over = false;
  const end = (): void => {
    if (over) return;
    over = true;
    timer.cancel();
    host.suspects.release();
  };
  const timer = host.clock.timer(suspectTurnMs, end);
  return end;
}
