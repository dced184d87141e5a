import { isTaskEnded } from '../../core/execution/states.ts';
import { queueOf } from '../../core/definition/graph.ts';
import { settle } from '../../core/execution/settle.ts';
import { maxLogLines } from '../../core/foreign/log-data.ts';
import type { AttemptFailure } from '../../core/execution/settle.ts';
import { eventFields } from '../../core/task-error.ts';
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
import { suspectLosses, takeTurn } from '../poison-suspects.ts';
import { idle, isCharged, isRunning } from './phase.ts';
import type { Starting } from './phase.ts';
import { coalesced, isOver } from './task-run.ts';
import { TaskTransactions } from './task-transaction.ts';
import type { TransactionsHost, TransactionsOwner } from './task-transaction.ts';
import type { TaskRun } from './task-run.ts';
import type { Waits } from './waits.ts';

/** The parts of a runner that attempts use. */
export interface AttemptsHost extends TransactionsHost {
  readonly slots: Slots;
  /** What other runners may run of its executions. */
  readonly offers: OfferBudget;
  /** Lets one poison suspect at a time run. */
  readonly suspects: Slots;
  readonly graceMs: number;
  readonly maxPayload: number;
  /** Items of a map that one commit writes; default 1,000. */
  readonly itemsPerCommit?: number | undefined;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** A function begins to run; the function that is returned is called at the end of its attempt. */
  readonly onRun?: (call: TaskCall) => (() => void) | undefined;
  stepResult(id: string, task: string, item: number, name: string): Promise<string | undefined>;
  readonly onProgress: (id: string, task: string, done: number, text: string | null) => void;
}

/** Is told the results of attempts. */
export interface AttemptsOwner {
  completed(run: TaskRun): void;
  /** An attempt was cut before this runner took the execution up, and none may follow. */
  cutShort(run: TaskRun, error: TaskError): void;
  failed(run: TaskRun, error: TaskError): void;
  /** The task waits for its next attempt. */
  retrying(run: TaskRun): void;
  /** The transaction of a task has its outcome: a task that had to be left alone because of it can be ended. */
  unsealed(): void;
  /** The order of task transactions among the transitions of the execution. */
  readonly within: () => Pick<TransactionsOwner, 'whenQuiet' | 'nextSeq' | 'wrote'>;
}

/** The attempts of the tasks of one live execution: slot, start, run, settle, and again. */
export class Attempts {
  readonly offered: OwnerOffers;
  readonly #state: LiveState;
  readonly #code: WorkflowCode;
  readonly #host: AttemptsHost;
  readonly #waits: Waits;
  readonly #owner: AttemptsOwner;
  /** Undefined until the first one begins: few executions have any. */
  #transactions: TaskTransactions | undefined;
  /** Reject the promises of steps that are not durable yet. */
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
      ...owner.within(),
      ended: (run) => {
        owner.completed(run);
        owner.unsealed();
      },
      unsealed: (run, late) => this.#unsealed(run, late),
    });
    return this.#transactions;
  }

  /** Begins the next attempt as soon as there is a slot. */
  begin(run: TaskRun): void {
    if (this.#state.still || run.phase.is !== 'idle') return;
    const isSuspect = this.#isSuspect(run);
    if (!this.#host.offers.serves(queueOf(run.spec))) {
      this.#state.move(run, { is: 'queued', request: undefined, endTurn: undefined });
      this.offered.wait(run, isSuspect);
    } else if (isSuspect) {
      this.#askTurn(run);
    } else {
      this.#askSlot(run, undefined);
    }
  }

  #askTurn(run: TaskRun): void {
    const { priority, tenant } = this.#state.head;
    const request = this.#host.suspects.request(priority, tenant, () => {
      const endTurn = takeTurn(this.#host);
      this.#state.guard(() => this.#askSlot(run, endTurn));
    });
    // a free turn is taken before `request` returns
    if (request !== undefined) this.#state.move(run, { is: 'queued', request, endTurn: undefined });
  }

  #askSlot(run: TaskRun, endTurn: (() => void) | undefined): void {
    const { priority, tenant } = this.#state.head;
    const request = this.#host.slots.request(priority, tenant, () =>
      this.#state.guard(() => this.#start(run, endTurn)),
    );
    if (request === undefined) return;
    this.#state.move(run, { is: 'queued', request, endTurn });
    // a suspect that this runner serves is not offered
    if (endTurn === undefined) this.offered.wait(run, false);
  }

  /** An attempt was running when its runner was lost. Returns the error if none may follow. Only its start can have charged it. */
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

  /** A slot is there: begins the next attempt, after the withdrawal of its offer if other runners know of it. */
  #start(run: TaskRun, endTurn: (() => void) | undefined): void {
    if (isOver(this.#state, run)) {
      this.#host.slots.release();
      endTurn?.();
      return;
    }
    if (run.phase.is !== 'offered') {
      this.startHere(run, endTurn);
      return;
    }
    this.#state.move(run, { ...run.phase, request: undefined, hasSlot: true });
    this.offered.takeBack(run);
  }

  /** Begins the next attempt in the slot that it has. */
  startHere(run: TaskRun, endTurn?: () => void): void {
    const charged = this.begun(run, this.#host.clock.now(), null);
    const starting: Starting = { is: 'starting', endTurn, charged };
    this.#state.move(run, starting);
    if (charged) this.#state.after(() => this.#launch(run, starting));
    else this.#launch(run, starting);
  }

  /** Records that the next attempt begins, here or at a helper; whether that start charges it. */
  begun(run: TaskRun, at: number, data: object | null): boolean {
    run.status = 'running';
    run.attempt++;
    run.epoch = this.#state.head.epoch;
    run.startedAt = at;
    run.error = null;
    run.logLines = 0;
    const charged = this.#isSuspect(run) || run.spec.retry?.attempts === 1;
    if (charged) run.chargedAttempts++;
    run.startEvent = this.#state.draft.event('task.started', at, run, data);
    this.#state.draft.task(run);
    return charged;
  }

  #launch(run: TaskRun, starting: Starting): void {
    if (run.phase !== starting) return;
    if (isOver(this.#state, run)) {
      this.#again(run);
      return;
    }
    const attempt: Attempt = new Attempt({
      code: this.#code,
      call: this.call(run),
      timeoutMs: run.spec.timeout,
      graceMs: this.#host.graceMs,
      clock: this.#host.clock,
      onRun: this.#host.onRun,
      host: {
        ...this.#taskHost(run, run.attempt),
        transaction: (act, text) => this.#within().run(run, attempt, act, text),
      },
      onEnd: (end) => {
        starting.endTurn?.();
        this.#state.guard(() => this.#attemptOver(run, attempt, end));
        this.#host.slots.release();
      },
    });
    this.#state.move(run, { is: 'running', attempt, charged: starting.charged });
    attempt.start();
  }

  #attemptOver(run: TaskRun, attempt: Attempt, end: AttemptEnd): void {
    this.#transactions?.attemptOver(run, attempt, end);
    const { sealed, gone } = this.#state;
    const counts = isRunning(run.phase, attempt);
    if (counts && sealed?.run === run) sealed.late = end;
    else if (counts && !gone) this.ended(run, end);
    else this.#host.logger.debug({ execution: this.#state.id, task: run.spec.name }, 'a late answer was dropped');
  }

  /** The changes on the way to the database will never be durable: starts give back their slots, steps throw. */
  forget(): void {
    for (const run of this.#state.allRuns()) {
      const { is } = run.phase;
      if (is !== 'running' && is !== 'ended') this.#state.move(run, idle);
    }
    for (const reject of this.#unsaved) reject(new Error(notOwned));
    this.#unsaved.clear();
    this.#transactions?.forget();
  }

  /** Ends whatever a task does or waits for; a later answer is dropped. */
  stop(run: TaskRun, reason: AbortReason): void {
    const { phase } = run;
    if (phase.is === 'ended') return;
    if (phase.is === 'running') {
      phase.attempt.abort(reason);
      // the outcome of the transaction that is being written decides the result of the attempt
      if (this.#state.sealed?.run === run) return;
    }
    this.offered.revoke(run);
    this.#state.move(run, idle);
  }

  /** The transaction of a task was not written: the end of its attempt, if it has ended meanwhile, counts. */
  #unsealed(run: TaskRun, late: AttemptEnd | undefined): void {
    this.#owner.unsealed();
    if (late !== undefined && !this.#state.gone && !isTaskEnded(run.status)) this.ended(run, late);
  }

  /** Nothing begins from now on; attempts under way may end, or are aborted. */
  hold(run: TaskRun, abort: boolean): void {
    const { phase } = run;
    if (phase.is === 'queued' || phase.is === 'waiting') this.#state.move(run, idle);
    else if (phase.is === 'offered') this.offered.hold(run, abort);
    else if (phase.is === 'running' && abort) phase.attempt.abort('shutdown');
  }

  /** `alone`: see `TaskCall`; a suspect is alone anyway. */
  call(run: TaskRun, alone: boolean = false): TaskCall {
    const { graph, head, runs } = this.#state;
    const { maxPayload } = this.#host;
    return taskCall({ graph, head, run, runs, maxPayload, alone: alone || this.#isSuspect(run) });
  }

  #taskHost(run: TaskRun, attempt: number): ConstructorParameters<typeof Attempt>[0]['host'] {
    const { name: task } = run.spec;
    // in the first attempt of a task only the steps of that attempt itself can be stored
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
        }),
      log: (level, text, data) => {
        if (run.logLines >= maxLogLines) return;
        const n = ++run.logLines;
        const message = cleanText(text);
        this.#state.draft.log({ task, item: run.item, attempt, n, at: this.#host.clock.now(), level, message, data });
      },
      progress: (done, text) => this.#host.onProgress(this.#state.id, task, done, text),
    };
  }

  ended(run: TaskRun, end: AttemptEnd): void {
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
  }

  #attemptFailed(run: TaskRun, failure: AttemptFailure): void {
    if (!isCharged(run.phase)) run.chargedAttempts++;
    const now = this.#host.clock.now();
    const settlement = settle(failure, run.spec.retry, run.chargedAttempts, now, this.#host.random());
    if (settlement.status === 'failed') {
      this.#owner.failed(run, settlement.error);
      return;
    }
    run.error = settlement.error;
    this.#state.move(run, idle);
    this.#waits.until(run, settlement.at);
    const at = new Date(settlement.at).toISOString();
    this.#state.draft.event('task.retrying', now, run, { ...coalesced(run), at, ...eventFields(settlement.error) });
    this.#owner.retrying(run);
  }

  /** The isolate died with the attempt in it. The attempt is charged only if it was alone; from then on the task runs alone. */
  #isolateLost(run: TaskRun, { alone, error }: Extract<Outcome, { status: 'lost' }>): void {
    run.isPoisonSuspect = true;
    const crashed = { ...error, code: 'TASK_CRASHED_RUNNER' };
    if (alone) this.#attemptFailed(run, { error: crashed, retryable: true, retryAfter: null });
    else if (run.spec.retry?.attempts === 1) this.#owner.failed(run, { ...error, code: 'TASK_INTERRUPTED' });
    else this.#again(run);
  }

  /** The helper that ran the attempt died. Only the start of the attempt can have charged it, as if this runner had died. */
  lost(run: TaskRun): void {
    const message = `the process that ran attempt ${run.attempt} of task '${run.spec.name}' ended`;
    const error = { name: 'Error', code: 'TASK_CRASHED_RUNNER', message };
    if (run.spec.retry?.attempts === 1) this.#owner.failed(run, { ...error, code: 'TASK_INTERRUPTED' });
    else if (isCharged(run.phase)) this.#attemptFailed(run, { error, retryable: true, retryAfter: null });
    else this.#again(run);
    if (++run.helperCrashes >= suspectLosses) run.isPoisonSuspect = true;
  }

  /** An attempt was cut before this runner took the execution up. */
  cut(run: TaskRun): void {
    const error = this.cutOff(run);
    if (error !== null) this.#owner.cutShort(run, error);
  }

  /** An attempt that the close of its runner ended is not counted, unless it is the only one allowed. */
  #attemptCut(run: TaskRun): void {
    if (run.spec.retry?.attempts !== 1) {
      this.#again(run);
      return;
    }
    const message = `the runner closed while the only attempt of task '${run.spec.name}' was running`;
    this.#owner.failed(run, { name: 'Error', code: 'TASK_INTERRUPTED', message });
  }

  #again(run: TaskRun): void {
    if (isCharged(run.phase)) run.chargedAttempts--;
    this.#state.move(run, idle);
    run.status = 'pending';
    this.#state.draft.task(run);
    this.#state.after(() => this.begin(run));
  }
}

const notOwned = 'this runner no longer owns the execution; its steps are not stored';
const nothing: Promise<undefined> = Promise.resolve(undefined);
