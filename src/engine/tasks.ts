import { isTaskEnded } from '../core/execution.ts';
import type { TaskStatus } from '../core/execution.ts';
import { restoreProgress, taskEnded } from '../core/plan.ts';
import type { Follows } from '../core/plan.ts';
import type { TaskError } from '../core/task-error.ts';
import type { TaskState } from '../store/batch.ts';
import { untilAnswered } from './ask.ts';
import type { AbortReason } from './attempt.ts';
import { Attempts, coalesced } from './attempts.ts';
import type { AttemptsHost } from './attempts.ts';
import type { Clock } from './clock.ts';
import type { Outcome, WorkflowCode } from './code.ts';
import type { LiveState } from './live-state.ts';
import { isOver, newTaskRun, restoreTaskRun } from './task-run.ts';
import type { TaskRun } from './task-run.ts';
import { Waits } from './waits.ts';

/** The latest time that a Date can hold. */
const latestMs = 8.64e15;

/** The tasks of one live execution: which are ready, and what follows from their ends. */
export class Tasks {
  readonly #state: LiveState;
  readonly #code: WorkflowCode;
  readonly #clock: Clock;
  /** Something changed that must be written, or may have brought the execution to its end. */
  readonly #changed: () => void;
  readonly #waits: Waits;
  readonly #attempts: Attempts;
  /** While states are restored nothing is dispatched: `dispatchAll` will find what is ready. */
  #restoring = false;

  constructor(state: LiveState, code: WorkflowCode, host: AttemptsHost, changed: () => void) {
    this.#state = state;
    this.#code = code;
    this.#clock = host.clock;
    this.#changed = changed;
    this.#waits = new Waits(state, host.clock, changed, (run) => this.#woken(run));
    this.#attempts = new Attempts(state, code, host, this.#waits, {
      completed: (run) => this.#end(run),
      failed: (run, error) => this.#fail(run, error),
      changed,
    });
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
    for (const run of this.#state.runs) {
      const error = run?.status === 'running' ? this.#attempts.cutOff(run) : null;
      if (error !== null) this.#fail(run!, error);
    }
    this.#restoring = false;
  }

  dispatchAll(): void {
    const open = this.#state.runs.length === 0 ? this.#state.graph.first : this.#state.graph.names.keys();
    for (const index of open) {
      const run = this.#state.runs[index];
      if (this.#state.progress.unmet[index] !== 0 || isTaskEnded(this.#state.progress.status[index]!)) continue;
      if (run === undefined || run.status === 'pending') this.#ready(index);
      else if (run.status === 'waiting') this.#waits.resume(run);
    }
  }

  #ready(index: number): void {
    if (this.#state.gone || isTaskEnded(this.#state.progress.status[index]!)) return;
    const run = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
    if (run.spec.when && run.attempt === 0) void this.#askWhen(run);
    else this.#dispatch(run);
  }

  async #askWhen(run: TaskRun): Promise<void> {
    const outcome = await this.#ask(() => this.#code.ask('when', this.#attempts.call(run)));
    if (!isOver(this.#state, run)) {
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

  async #ask(question: () => Promise<Outcome>): Promise<Outcome> {
    this.#state.busy++;
    const outcome = await untilAnswered(question);
    this.#state.busy--;
    return outcome;
  }

  #dispatch(run: TaskRun): void {
    if (this.#state.releasing || this.#state.gone) return;
    if (run.spec.kind === 'sleep') void this.#sleep(run);
    else this.#attempts.begin(run);
  }

  async #sleep(run: TaskRun): Promise<void> {
    const now = this.#clock.now();
    let until = run.spec.sleep !== null && 'for' in run.spec.sleep ? now + run.spec.sleep.for : null;
    if (until === null) {
      const outcome = await this.#ask(() => this.#code.ask('until', this.#attempts.call(run)));
      if (isOver(this.#state, run)) {
        this.#changed();
        return;
      }
      const answer: unknown = outcome.status === 'completed' ? JSON.parse(outcome.output) : outcome.error;
      if (typeof answer === 'number' && Math.abs(answer) <= latestMs) until = Math.round(answer);
      else this.#fail(run, outcome.status === 'completed' ? notATime(run, answer) : outcome.error);
    }
    if (until !== null) {
      run.startedAt = now;
      this.#waits.until(run, until);
      this.#state.pending.event('task.waiting', now, run, { until: new Date(until).toISOString() });
    }
    this.#changed();
  }

  #woken(run: TaskRun): void {
    if (run.spec.kind === 'sleep') {
      run.status = 'completed';
      run.output = 'null';
      this.#end(run);
    } else {
      run.status = 'pending';
      this.#dispatch(run);
    }
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
    const now = this.#clock.now();
    const { status } = run;
    run.endedAt = now;
    run.wakeAt = null;
    const started = coalesced(run);
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
    run.endedAt = this.#clock.now();
    this.#state.pending.task(run);
    this.#state.pending.event('task.skipped', run.endedAt, run, { reason, cause });
    this.#state.after(() => this.#state.outputs.taskEnded(this.#state.runs, index));
  }

  /** Ends what is running or waiting in memory; its answers are not waited for any more. */
  stopAll(reason: AbortReason): void {
    for (const run of this.#state.runs) {
      if (run === undefined) continue;
      run.timer?.cancel();
      this.#attempts.stop(run, reason);
    }
  }

  /** What is on its way to the database will never be durable: starts give back their slots, steps throw. */
  forget(): void {
    this.#attempts.forget();
  }

  /** Nothing wakes by itself until `resumeAll`. */
  rest(): void {
    this.#waits.rest();
  }

  resumeAll(): void {
    this.#waits.resumeAll();
  }

  /** Gives every open task its end: those that had begun are cancelled, the others as told. */
  closeOpen(status: 'cancelled' | 'skipped', cause = ''): void {
    const now = this.#clock.now();
    for (const [index, name] of this.#state.graph.names.entries()) {
      if (isTaskEnded(this.#state.progress.status[index]!)) continue;
      const run = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
      if (isTaskEnded(run.status)) continue;
      const begun = run.status === 'running' || run.status === 'waiting';
      run.status = begun ? 'cancelled' : status;
      if (run.status === 'skipped') Object.assign(run, { reason: 'fail_fast', cause: cause === '' ? name : cause });
      run.endedAt = now;
      run.wakeAt = null;
      const data = run.status === 'skipped' ? { reason: run.reason, cause: run.cause } : coalesced(run);
      this.#state.pending.event(run.status === 'skipped' ? 'task.skipped' : 'task.cancelled', now, run, data);
      this.#state.pending.task(run);
      this.#state.progress.status[index] = run.status;
      this.#state.progress.open--;
    }
  }
}

function notATime(run: TaskRun, answer: unknown): TaskError {
  const message = `'until' of sleep '${run.spec.name}' gave ${JSON.stringify(answer)}, which is no time: neither epoch ms nor a Date`;
  return { name: 'Error', code: 'TASK_FAILED', message };
}
