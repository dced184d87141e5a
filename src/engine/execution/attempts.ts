import { isTaskEnded } from '../../core/execution.ts';
import { queueOf } from '../../core/definition/graph.ts';
import { settle } from '../../core/settle.ts';
import type { AttemptFailure } from '../../core/settle.ts';
import type { TaskError } from '../../core/task-error.ts';
import { cleanText } from '../../core/text.ts';
import { Attempt } from './attempt.ts';
import type { AbortReason, AttemptEnd } from './attempt.ts';
import type { Outcome, TaskCall, WorkflowCode } from '../workflow-code.ts';
import type { LiveState } from './live-state.ts';
import { OwnerOffers } from '../sharing/owner.ts';
import type { OfferBudget } from '../sharing/offer-budget.ts';
import type { Slots } from '../slots.ts';
import { taskCall } from './task-call.ts';
import { coalesced, isOver } from './task-run.ts';
import { TaskTransactions } from './task-transaction.ts';
import type { TransactionsHost, TransactionsOwner } from './task-transaction.ts';
import type { TaskRun } from './task-run.ts';
import type { Waits } from './waits.ts';

/** What attempts use of their runner. */
export interface AttemptsHost extends TransactionsHost {
  readonly slots: Slots;
  /** What others may run of it. */
  readonly offers: OfferBudget;
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
  readonly within: () => Pick<TransactionsOwner, 'whenQuiet' | 'nextSeq' | 'wrote'>;
}

/** Who is told how a task's attempts came out. */
export interface AttemptsOwner {
  completed(run: TaskRun): void;
  /** An attempt was cut before this runner took the execution up, and none may follow. */
  cutShort(run: TaskRun, error: TaskError): void;
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
/** Losses without progress after which an execution is a suspect. */
export const suspectLosses = 2;
const maxLogLines = 1000;

/** The attempts of the tasks of one live execution: slot, start, run, settle, and again. */
export class Attempts {
  readonly offered: OwnerOffers;
  readonly #state: LiveState;
  readonly #code: WorkflowCode;
  readonly #host: AttemptsHost;
  readonly #waits: Waits;
  readonly #owner: AttemptsOwner;
  /** Few executions have any: made when the first one begins. */
  #transactions: TaskTransactions | undefined;
  /** Who waits for a step to be durable, to be told if it never will. */
  readonly #unsaved = new Set<(reason: Error) => void>();

  constructor(
    state: LiveState,
    { code, buildId }: { readonly code: WorkflowCode; readonly buildId: string },
    host: AttemptsHost,
    waits: Waits,
    owner: AttemptsOwner,
  ) {
    this.#state = state;
    this.#code = code;
    this.#host = host;
    this.#waits = waits;
    this.#owner = owner;
    const { offers, clock, logger } = host;
    this.offered = new OwnerOffers({ state, offers, clock, logger, buildId, attempts: this });
  }

  #within(): TaskTransactions {
    const owner = this.#owner;
    this.#transactions ??= new TaskTransactions(this.#state, this.#host, {
      ...this.#host.within(),
      ended: (run) => {
        run.running = undefined;
        owner.completed(run);
        owner.unsealed();
        owner.changed();
      },
      unsealed: (run, late) => this.#unsealed(run, late),
    });
    return this.#transactions;
  }

  /** Begins the next attempt as soon as there is a slot. */
  begin(run: TaskRun): void {
    if (this.#state.still || run.offer !== undefined) return;
    const { slots, suspects, offers } = this.#host;
    const { priority } = this.#state.head;
    if (!offers.serves(queueOf(run.spec))) {
      // no slot of this runner will ever be its own
      run.slot = { priority, start: () => undefined, cancelled: false };
      this.offered.wait(run, this.#isSuspect(run));
      return;
    }
    const ask = (): void => {
      const request = slots.request(priority, () => this.#state.guard(() => this.#start(run)));
      if (request === undefined) return;
      run.slot = request;
      if (!this.#isSuspect(run)) this.offered.wait(run, false);
    };
    if (!this.#isSuspect(run)) {
      ask();
      return;
    }
    const turn = suspects.request(priority, () => {
      run.slot = undefined;
      run.endTurn = takeTurn(this.#host);
      this.#state.guard(ask);
    });
    if (turn !== undefined) run.slot = turn;
  }

  /** An attempt was running when its runner was lost: the error, where none may follow. It is charged only where its start said so. */
  cutOff(run: TaskRun): TaskError | null {
    const allowance = run.spec.retry?.attempts ?? 1;
    const once = allowance === 1;
    if (once || (this.#isSuspect(run) && run.chargedAttempts >= allowance)) {
      const code = once && this.#state.head.crashCount < suspectLosses ? 'TASK_INTERRUPTED' : 'TASK_CRASHED_RUNNER';
      const message = `the process that ran attempt ${run.attempt} of task '${run.spec.name}' ended`;
      return { name: 'Error', code, message };
    }
    run.status = 'pending';
    this.#state.draft.task(run);
    return null;
  }

  #isSuspect(run: TaskRun): boolean {
    return run.isPoisonSuspect || this.#state.head.crashCount >= suspectLosses;
  }

  /** A slot is there: begins the next attempt. */
  #start(run: TaskRun): void {
    run.slot = undefined;
    this.offered.leave(run);
    if (isOver(this.#state, run)) {
      this.#host.slots.release();
      run.endTurn?.();
      return;
    }
    this.#state.busy++;
    run.starting = true;
    if (run.offer === undefined) this.#startHere(run);
    else this.offered.takeBack(run, (isBack) => this.#tookBack(run, isBack));
  }

  /** An attempt that was offered has a slot here: it begins, unless a helper was quicker. */
  #tookBack(run: TaskRun, isBack: boolean): void {
    if (!run.starting) return;
    if (isBack && !isOver(this.#state, run)) {
      this.#startHere(run);
      return;
    }
    this.#giveBack(run);
    this.#owner.changed();
  }

  #startHere(run: TaskRun): void {
    this.#begun(run, this.#host.clock.now(), null);
    if (run.charged) this.#state.after(() => this.#launch(run));
    else this.#launch(run);
    this.#owner.changed();
  }

  /** Records that the next attempt begins. */
  #begun(run: TaskRun, at: number, data: object | null): void {
    run.status = 'running';
    run.attempt++;
    run.epoch = this.#state.head.epoch;
    run.startedAt = at;
    run.error = null;
    run.logLines = 0;
    run.charged = this.#isSuspect(run) || run.spec.retry?.attempts === 1;
    if (run.charged) run.chargedAttempts++;
    run.startEvent = this.#state.draft.event('task.started', at, run, data);
    this.#state.draft.task(run);
  }

  #launch(run: TaskRun): void {
    if (!run.starting) return;
    if (isOver(this.#state, run)) {
      this.#giveBack(run);
      if (run.status === 'running') this.#again(run);
      this.#owner.changed();
      return;
    }
    const call = this.call(run);
    run.starting = false;
    const attempt: Attempt = new Attempt({
      code: this.#code,
      call,
      timeoutMs: run.spec.timeout,
      graceMs: this.#host.graceMs,
      clock: this.#host.clock,
      onRun: this.#host.onRun,
      host: {
        ...this.#taskHost(run, run.attempt),
        transaction: (act, text) => this.#within().run(run, attempt, act, text),
      },
      onEnd: (end) => {
        this.#state.busy--;
        run.endTurn?.();
        this.#state.guard(() => this.#attemptOver(run, attempt, end));
        this.#host.slots.release();
      },
    });
    run.running = attempt;
    attempt.start();
  }

  #attemptOver(run: TaskRun, attempt: Attempt, end: AttemptEnd): void {
    this.#transactions?.attemptOver(run, attempt, end);
    const { sealed, gone } = this.#state;
    if (run.running === attempt && sealed?.run === run) sealed.late = end;
    else if (run.running === attempt && !gone) this.ended(run, end);
    else this.#host.logger.debug({ execution: this.#state.id, task: run.spec.name }, 'a late answer was dropped');
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
    for (const run of this.#state.allRuns()) {
      if (run.starting) this.#giveBack(run);
      this.offered.leave(run);
      if (this.#state.gone) this.offered.forget(run);
    }
    for (const reject of this.#unsaved) reject(new Error(notOwned));
    this.#unsaved.clear();
    this.#transactions?.forget();
  }

  /** Ends what runs or waits for a slot; its answers are not waited for any more. */
  stop(run: TaskRun, reason: AbortReason): void {
    this.withdraw(run);
    this.offered.revoke(run);
    run.running?.abort(reason);
    // the outcome of a transaction that is being written says what the attempt came to
    if (this.#state.sealed?.run !== run) run.running = undefined;
  }

  /** The transaction of a task was not written: what happened to its attempt meanwhile counts. */
  #unsealed(run: TaskRun, late: AttemptEnd | undefined): void {
    this.#owner.unsealed();
    if (isTaskEnded(run.status)) run.running = undefined;
    else if (late !== undefined && !this.#state.gone) this.ended(run, late);
    this.#owner.changed();
  }

  /** Nothing begins any more; what runs may end, or is cut short. */
  hold(run: TaskRun, abort: boolean): void {
    this.withdraw(run);
    this.offered.hold(run, abort);
    if (abort) run.running?.abort('shutdown');
  }

  /** Takes back the request of an attempt that has not begun. */
  withdraw(run: TaskRun): void {
    if (run.slot !== undefined) run.slot.cancelled = true;
    run.slot = undefined;
    this.offered.leave(run);
    if (run.running === undefined && !run.starting) run.endTurn?.();
  }

  call(run: TaskRun): TaskCall {
    const { graph, head, runs } = this.#state;
    return taskCall({ graph, head, run, runs, maxPayload: this.#host.maxPayload, alone: this.#isSuspect(run) });
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
          this.#state.draft.step({ task, item: run.item, name, output });
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
        this.#state.draft.log({ task, item: run.item, attempt, n, at: this.#host.clock.now(), level, message, data });
        this.#owner.changed();
      },
      progress: (done, text) => this.#host.onProgress(this.#state.id, task, done, text),
    };
  }

  ended(run: TaskRun, end: AttemptEnd): void {
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
      this.#state.draft.event('task.timed_out', this.#host.clock.now(), run);
      const error = { name: 'TimeoutError', code: 'TASK_TIMED_OUT', message };
      this.#attemptFailed(run, { error, retryable: true, retryAfter: null });
    } else {
      this.#attemptCut(run);
    }
    this.#owner.changed();
  }

  #attemptFailed(run: TaskRun, failure: AttemptFailure): void {
    if (!run.charged) run.chargedAttempts++;
    run.charged = false;
    const now = this.#host.clock.now();
    const settlement = settle(failure, run.spec.retry, run.chargedAttempts, now, this.#host.random());
    if (settlement.status === 'failed') {
      this.#owner.failed(run, settlement.error);
      return;
    }
    run.error = settlement.error;
    const { code, message } = settlement.error;
    this.#waits.until(run, settlement.at);
    const at = new Date(settlement.at).toISOString();
    this.#state.draft.event('task.retrying', now, run, { ...coalesced(run), at, code, message });
    this.#owner.retrying(run);
  }

  /** The isolate died with the attempt in it: charged only where nothing else was in there. Then it runs alone. */
  #isolateLost(run: TaskRun, { alone, error }: Extract<Outcome, { status: 'lost' }>): void {
    run.isPoisonSuspect = true;
    const crashed = { ...error, code: 'TASK_CRASHED_RUNNER' };
    if (alone) this.#attemptFailed(run, { error: crashed, retryable: true, retryAfter: null });
    else if (run.spec.retry?.attempts === 1) this.#owner.failed(run, { ...error, code: 'TASK_INTERRUPTED' });
    else this.#again(run);
  }

  /** The helper died that ran the attempt: charged where its start was, as where this runner had died. */
  lost(run: TaskRun): void {
    const message = `the process that ran attempt ${run.attempt} of task '${run.spec.name}' ended`;
    const error = { name: 'Error', code: 'TASK_CRASHED_RUNNER', message };
    if (run.spec.retry?.attempts === 1) this.#owner.failed(run, { ...error, code: 'TASK_INTERRUPTED' });
    else if (run.charged) this.#attemptFailed(run, { error, retryable: true, retryAfter: null });
    else this.#again(run);
    if (++run.helperCrashes >= suspectLosses) run.isPoisonSuspect = true;
    this.#owner.changed();
  }

  /** An attempt was cut before this runner took the execution up. */
  cut(run: TaskRun): void {
    const error = this.cutOff(run);
    if (error !== null) this.#owner.cutShort(run, error);
  }

  changed(): void {
    this.#owner.changed();
  }

  /** A helper has begun with the next attempt. */
  begun(run: TaskRun, at: number, helper: string): void {
    this.#begun(run, at, { helper });
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
    if (run.charged) run.chargedAttempts--;
    run.charged = false;
    run.status = 'pending';
    this.#state.draft.task(run);
    this.#state.after(() => this.begin(run));
  }
}

const notOwned = 'this runner no longer owns the execution; its steps are not stored';
const nothing: Promise<undefined> = Promise.resolve(undefined);

/** The turn of a suspect: the next has its own once this one has ended, or has run for long. What it gives may be called again. */
export function takeTurn(host: Pick<AttemptsHost, 'clock' | 'suspects'>): () => void {
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
