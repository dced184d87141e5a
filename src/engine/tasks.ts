import { isTaskEnded } from '../core/execution.ts';
import type { TaskStatus } from '../core/execution.ts';
import { restoreProgress, taskEnded } from '../core/plan.ts';
import type { Follows } from '../core/plan.ts';
import { settle } from '../core/settle.ts';
import type { AttemptFailure } from '../core/settle.ts';
import type { TaskError } from '../core/task-error.ts';
import { cleanText } from '../core/text.ts';
import type { TaskState } from '../store/batch.ts';
import { Attempt } from './attempt.ts';
import type { AbortReason, AttemptEnd } from './attempt.ts';
import type { Clock } from './clock.ts';
import type { Outcome, TaskCall, WorkflowCode } from './code.ts';
import type { LiveState } from './live-state.ts';
import type { Logger } from './logger.ts';
import type { Slots } from './slots.ts';
import { newTaskRun, restoreTaskRun, settledText } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

/** What the tasks of a live execution use of their runner. */
export interface TasksHost {
  readonly clock: Clock;
  readonly slots: Slots;
  /** Lets one suspect at a time run. */
  readonly suspects: Slots;
  readonly logger: Logger;
  readonly graceMs: number;
  readonly maxPayload: number;
  /** From 0 to below 1. */
  readonly random: () => number;
  stepResult(id: string, task: string, item: number, name: string): Promise<string | undefined>;
  onProgress(id: string, task: string, done: number, text: string | null): void;
}

/** A suspect that has run for so long lets the next begin. */
const suspectTurnMs = 60_000;
const suspectLosses = 2;
const maxLogLines = 1000;
/** The latest time that a Date can hold. */
const latestMs = 8.64e15;

/** The tasks of one live execution: dispatch, attempts, what follows from their ends. */
export class Tasks {
  readonly #state: LiveState;
  readonly #code: WorkflowCode;
  readonly #host: TasksHost;
  /** Something changed that must be written, or may have brought the execution to its end. */
  readonly #changed: () => void;
  /** While states are restored nothing is dispatched: `dispatchAll` will find what is ready. */
  #restoring = false;

  constructor(state: LiveState, code: WorkflowCode, host: TasksHost, changed: () => void) {
    this.#state = state;
    this.#code = code;
    this.#host = host;
    this.#changed = changed;
  }

  restore(tasks: readonly TaskState[]): void {
    const ended = new Map<number, TaskStatus>();
    for (const state of tasks) {
      const index = this.#state.graph.indexOf.get(state.task);
      if (index === undefined || state.item !== -1) continue;
      const run = restoreTaskRun(index, this.#state.graph.spec.tasks[index]!, state);
      this.#state.runs[index] = run;
      if (isTaskEnded(run.status)) ended.set(index, run.status);
    }
    const failed = this.#state.runs
      .filter((run) => run?.status === 'failed')
      .toSorted((a, b) => a!.endedAt! - b!.endedAt!);
    this.#state.progress = restoreProgress(
      this.#state.graph,
      ended,
      failed.map((run) => run!.index),
    );
    for (const [index] of ended) this.#state.outputs.taskEnded(this.#state.runs, index);
    this.#restoring = true;
    for (const run of this.#state.runs) if (run?.status === 'running') this.#cutOff(run);
    this.#restoring = false;
  }

  /** An attempt was running when its runner was lost. It is charged only where its start said so. */
  #cutOff(run: TaskRun): void {
    const allowance = run.spec.retry?.attempts ?? 1;
    const once = allowance === 1;
    if (once || (this.#isSuspect(run) && run.used >= allowance)) {
      const code = once && this.#state.head.losses < suspectLosses ? 'TASK_INTERRUPTED' : 'TASK_CRASHED_RUNNER';
      const message = `the process that ran attempt ${run.attempt} of task '${run.spec.name}' ended`;
      this.#fail(run, { name: 'Error', code, message });
    } else {
      run.status = 'pending';
      this.#state.pending.task(run);
    }
  }

  dispatchAll(): void {
    const open = this.#state.runs.length === 0 ? this.#state.graph.first : this.#state.graph.names.keys();
    for (const index of open) {
      const run = this.#state.runs[index];
      if (this.#state.progress.unmet[index] !== 0 || isTaskEnded(this.#state.progress.status[index]!)) continue;
      if (run === undefined || run.status === 'pending') this.#ready(index);
      else if (run.status === 'waiting') this.#await(run);
    }
  }

  #ready(index: number): void {
    if (this.#state.gone || isTaskEnded(this.#state.progress.status[index]!)) return;
    const run = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
    if (run.spec.when && run.attempt === 0) void this.#askWhen(run);
    else this.#dispatch(run);
  }

  async #askWhen(run: TaskRun): Promise<void> {
    const outcome = await this.#ask(() => this.#code.ask('when', this.#call(run)));
    if (!this.#isOver(run)) {
      if (outcome.status === 'completed' && outcome.output === 'false') {
        run.status = 'skipped';
        run.reason = 'when_false';
        run.cause = run.spec.name;
        this.#end(run);
      } else if (outcome.status === 'completed') {
        this.#dispatch(run);
      } else {
        this.#fail(run, outcome.error);
      }
    }
    this.#changed();
  }

  /** Whether what comes back for a task is too late: nothing more happens to it here. */
  #isOver(run: TaskRun): boolean {
    return this.#state.gone || this.#state.releasing || isTaskEnded(run.status);
  }

  async #ask(question: () => Promise<Outcome>): Promise<Outcome> {
    this.#state.busy++;
    const outcome = await question();
    this.#state.busy--;
    return outcome;
  }

  #dispatch(run: TaskRun): void {
    if (this.#state.releasing || this.#state.gone) return;
    if (run.spec.kind === 'sleep') {
      void this.#sleep(run);
      return;
    }
    const { slots, suspects } = this.#host;
    const { priority } = this.#state.head;
    if (!this.#isSuspect(run)) {
      run.slot = slots.request(priority, () => this.#start(run));
      return;
    }
    run.slot = suspects.request(priority, () => {
      run.endTurn = takeTurn(this.#host);
      run.slot = slots.request(priority, () => this.#start(run));
    });
  }

  async #sleep(run: TaskRun): Promise<void> {
    const now = this.#host.clock.now();
    let until = run.spec.sleep !== null && 'for' in run.spec.sleep ? now + run.spec.sleep.for : null;
    if (until === null) {
      const outcome = await this.#ask(() => this.#code.ask('until', this.#call(run)));
      if (this.#isOver(run)) {
        this.#changed();
        return;
      }
      const answer: unknown = outcome.status === 'completed' ? JSON.parse(outcome.output) : outcome.error;
      if (typeof answer === 'number' && Math.abs(answer) <= latestMs) until = Math.round(answer);
      else this.#fail(run, outcome.status === 'completed' ? notATime(run, answer) : outcome.error);
    }
    if (until !== null) {
      run.startedAt = now;
      this.#waitUntil(run, until);
      this.#state.pending.event('task.waiting', now, run, { until: new Date(until).toISOString() });
    }
    this.#changed();
  }

  #isSuspect(run: TaskRun): boolean {
    return run.suspect || this.#state.head.losses >= suspectLosses;
  }

  /** A slot is there: begins the next attempt. */
  #start(run: TaskRun): void {
    run.slot = undefined;
    if (this.#isOver(run)) {
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
    if (run.charged) this.#state.after(() => this.#launch(run));
    else this.#launch(run);
    this.#changed();
  }

  #launch(run: TaskRun): void {
    if (this.#isOver(run)) {
      this.#state.busy--;
      run.endTurn?.();
      this.#host.slots.release();
      if (run.status === 'running') this.#again(run);
      this.#changed();
      return;
    }
    const attempt: Attempt = new Attempt({
      code: this.#code,
      call: this.#call(run),
      timeoutMs: run.spec.timeout,
      graceMs: this.#host.graceMs,
      clock: this.#host.clock,
      host: this.#taskHost(run, run.attempt),
      onEnd: (end) => {
        this.#state.busy--;
        run.endTurn?.();
        if (run.running === attempt && !this.#state.gone) this.#attemptEnded(run, end);
        else this.#host.logger.debug({ execution: this.#state.id, task: run.spec.name }, 'a late answer was dropped');
        this.#host.slots.release();
      },
    });
    run.running = attempt;
    attempt.start();
  }

  #call(run: TaskRun): TaskCall {
    const { epoch, input, schedule } = this.#state.head;
    const needs = this.#state.graph.needs[run.index]!.map(({ alias, task, settled }): readonly [string, string] => {
      const need = this.#state.runs[task]!;
      return [alias, settled ? settledText(need) : (need.output ?? 'null')];
    });
    return {
      executionId: this.#state.id,
      workflow: this.#state.graph.spec.name,
      task: run.spec.name,
      item: null,
      itemValue: null,
      epoch,
      attempt: run.attempt,
      idempotencyKey: `${this.#state.id}/${run.spec.name}`,
      input,
      needs,
      schedule,
      maxPayload: this.#host.maxPayload,
      alone: run.suspect,
    };
  }

  #taskHost(run: TaskRun, attempt: number): ConstructorParameters<typeof Attempt>[0]['host'] {
    const { name: task } = run.spec;
    // nothing can be remembered of a task execution in its first attempt but what that attempt itself has done
    let remembers = attempt > 1;
    return {
      stepResult: (name) => (remembers ? this.#host.stepResult(this.#state.id, task, -1, name) : nothing),
      saveStep: (name, output) =>
        new Promise((resolve) => {
          remembers = true;
          this.#state.pending.step({ task, item: -1, name, output });
          this.#state.after(resolve);
          this.#changed();
        }),
      log: (level, text, data) => {
        if (run.logLines >= maxLogLines) return;
        const n = ++run.logLines;
        const message = cleanText(text);
        this.#state.pending.log({ task, item: -1, attempt, n, at: this.#host.clock.now(), level, message, data });
        this.#changed();
      },
      progress: (done, text) => this.#host.onProgress(this.#state.id, task, done, text),
    };
  }

  // -- settle

  #attemptEnded(run: TaskRun, end: AttemptEnd): void {
    run.running = undefined;
    if (end.status === 'completed') {
      run.status = 'completed';
      run.output = end.output;
      this.#end(run);
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
    this.#changed();
  }

  #attemptFailed(run: TaskRun, failure: AttemptFailure): void {
    if (!run.charged) run.used++;
    run.charged = false;
    const now = this.#host.clock.now();
    const settlement = settle(failure, run.spec.retry, run.used, now, this.#host.random());
    if (settlement.status === 'failed') {
      this.#fail(run, settlement.error);
      return;
    }
    run.error = settlement.error;
    const { code, message } = settlement.error;
    this.#waitUntil(run, settlement.at);
    const at = new Date(settlement.at).toISOString();
    this.#state.pending.event('task.retrying', now, run, { ...this.#coalesced(run), at, code, message });
  }

  /** The isolate died with the attempt in it: charged only where nothing else was in there. Then it runs alone. */
  #isolateLost(run: TaskRun, { alone, error }: Extract<Outcome, { status: 'lost' }>): void {
    run.suspect = true;
    const crashed = { ...error, code: 'TASK_CRASHED_RUNNER' };
    if (alone) this.#attemptFailed(run, { error: crashed, retryable: true, retryAfter: null });
    else if (run.spec.retry?.attempts === 1) this.#fail(run, { ...error, code: 'TASK_INTERRUPTED' });
    else this.#again(run);
  }

  /** An attempt ended by the runner's close is not counted, unless it is the only one allowed. */
  #attemptCut(run: TaskRun): void {
    if (run.spec.retry?.attempts !== 1) {
      this.#again(run);
      return;
    }
    const message = `the runner closed while the only attempt of task '${run.spec.name}' was running`;
    this.#fail(run, { name: 'Error', code: 'TASK_INTERRUPTED', message });
  }

  #again(run: TaskRun): void {
    if (run.charged) run.used--;
    run.charged = false;
    run.status = 'pending';
    this.#state.pending.task(run);
    this.#state.after(() => this.#dispatch(run));
  }

  #waitUntil(run: TaskRun, at: number): void {
    run.status = 'waiting';
    run.wakeAt = at;
    this.#state.pending.task(run);
    this.#state.after(() => this.#await(run));
  }

  /** Wakes a task at its time, if that is near; one that is far keeps the execution only while something else runs. */
  #await(run: TaskRun): void {
    if (this.#state.gone || this.#state.releasing || run.status !== 'waiting' || run.wakeAt === null) return;
    run.timer?.cancel();
    run.timer = this.#host.clock.timer(Math.max(0, run.wakeAt - this.#host.clock.now()), () => this.#wake(run));
    this.#changed();
  }

  #wake(run: TaskRun): void {
    run.timer = undefined;
    if (this.#state.gone || this.#state.releasing || run.status !== 'waiting') return;
    run.wakeAt = null;
    if (run.spec.kind === 'sleep') {
      run.status = 'completed';
      run.output = 'null';
      this.#end(run);
    } else {
      run.status = 'pending';
      this.#dispatch(run);
    }
    this.#changed();
  }

  #fail(run: TaskRun, error: TaskError): void {
    run.status = 'failed';
    run.error = error;
    run.output = null;
    this.#end(run);
    if (!this.#state.graph.spec.failFast) return;
    this.stopAll('fail_fast');
    this.closeOpen('skipped', run.spec.name);
  }

  /** A task has ended: records it with all that follows from it in the graph. */
  #end(run: TaskRun): void {
    const now = this.#host.clock.now();
    const { status } = run;
    run.endedAt = now;
    run.wakeAt = null;
    const started = this.#coalesced(run);
    const why = run.error === null ? null : { code: run.error.code, message: run.error.message };
    const skip = status === 'skipped' ? { reason: run.reason, cause: run.cause } : null;
    const data = started === null && why === null && skip === null ? null : { ...started, ...why, ...skip };
    if (status === 'completed' || status === 'failed' || status === 'skipped' || status === 'cancelled') {
      this.#state.pending.event(`task.${status}`, now, run, data);
    }
    this.#state.pending.task(run);
    if (this.#state.head.losses > 0 && status !== 'skipped' && status !== 'cancelled') {
      this.#state.head.losses = 0;
      this.#state.pending.progressed = true;
    }
    this.#state.after(() => this.#state.outputs.taskEnded(this.#state.runs, run.index));
    this.#follow(taskEnded(this.#state.graph, this.#state.progress, run.index, status));
  }

  /** The start of an attempt that ends within the same commit has no event of its own: that of its end tells the time. */
  #coalesced(run: TaskRun): { readonly startedAt: string } | null {
    if (run.startEvent === undefined || run.startedAt === null) return null;
    run.startEvent.dropped = true;
    run.startEvent = undefined;
    return { startedAt: new Date(run.startedAt).toISOString() };
  }

  #follow({ ready, skipped }: Follows): void {
    for (const { task, skip } of skipped) this.#skip(task, skip.reason, skip.cause);
    if (ready.length > 0 && !this.#restoring) {
      this.#state.after(() => {
        for (const index of ready) this.#ready(index);
      });
    }
  }

  /** Records a skip that the plan already knows of. */
  #skip(index: number, reason: NonNullable<TaskRun['reason']>, cause: string): void {
    const run = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
    run.status = 'skipped';
    run.reason = reason;
    run.cause = cause;
    run.endedAt = this.#host.clock.now();
    this.#state.pending.task(run);
    this.#state.pending.event('task.skipped', run.endedAt, run, { reason, cause });
    this.#state.after(() => this.#state.outputs.taskEnded(this.#state.runs, index));
  }

  /** Ends what is running or waiting in memory; its answers are not waited for any more. */
  stopAll(reason: AbortReason): void {
    for (const run of this.#state.runs) {
      if (run === undefined) continue;
      if (run.slot !== undefined) run.slot.cancelled = true;
      run.timer?.cancel();
      run.running?.abort(reason);
      if (run.running === undefined) run.endTurn?.();
      run.running = undefined;
    }
  }

  /** Gives every open task its end: those that had begun are cancelled, the others as told. */
  closeOpen(status: 'cancelled' | 'skipped', cause = ''): void {
    const now = this.#host.clock.now();
    for (const [index, name] of this.#state.graph.names.entries()) {
      if (isTaskEnded(this.#state.progress.status[index]!)) continue;
      const run = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
      if (isTaskEnded(run.status)) continue;
      const begun = run.status === 'running' || run.status === 'waiting';
      run.status = begun ? 'cancelled' : status;
      if (run.status === 'skipped') Object.assign(run, { reason: 'fail_fast', cause: cause === '' ? name : cause });
      run.endedAt = now;
      run.wakeAt = null;
      const data = run.status === 'skipped' ? { reason: run.reason, cause: run.cause } : this.#coalesced(run);
      this.#state.pending.event(run.status === 'skipped' ? 'task.skipped' : 'task.cancelled', now, run, data);
      this.#state.pending.task(run);
      this.#state.progress.status[index] = run.status;
      this.#state.progress.open--;
    }
  }
}

const nothing: Promise<undefined> = Promise.resolve(undefined);

function takeTurn(host: TasksHost): () => void {
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

function notATime(run: TaskRun, answer: unknown): TaskError {
  const message = `'until' of sleep '${run.spec.name}' gave ${JSON.stringify(answer)}, which is no time: neither epoch ms nor a Date`;
  return { name: 'Error', code: 'TASK_FAILED', message };
}
