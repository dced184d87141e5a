import { hasBegun } from '../../core/execution/commands.ts';
import { isTaskEnded } from '../../core/execution/states.ts';
import type { TaskStatus } from '../../core/execution/states.ts';
import { restoreProgress, taskEnded } from '../../core/execution/plan.ts';
import type { Follows } from '../../core/execution/plan.ts';
import type { TaskError } from '../../core/task-error.ts';
import { cleanText } from '../../core/text.ts';
import type { TaskState } from '../../store/transition.ts';
import { untilAnswered } from '../workflow-code.ts';
import type { AbortReason } from './attempt.ts';
import { Attempts } from './attempts.ts';
import type { AttemptsHost, AttemptsOwner } from './attempts.ts';
import { Children } from './children.ts';
import type { ChildrenHost, ChildrenOptions } from './children.ts';
import type { LoadedWorkflow } from '../catalog.ts';
import type { Clock } from '../clock.ts';
import type { Outcome, Question } from '../workflow-code.ts';
import type { LiveState } from './live-state.ts';
import { Maps, itemsPerCommit as defaultItems } from './maps.ts';
import type { OwnerOffers } from '../sharing/owner.ts';
import { Questions } from './questions.ts';
import { Signals } from './signals.ts';
import { ended } from './phase.ts';
import { coalesced, isOver, newTaskRun, restoreTaskRun } from './task-run.ts';
import type { TaskRun } from './task-run.ts';
import { Waits } from './waits.ts';

/** The parts of a runner that the tasks of a live execution use. */
export interface TasksHost extends AttemptsHost, ChildrenHost {}

/** The execution of the tasks. */
export type TasksOwner = Pick<AttemptsOwner, 'within'> & Pick<ChildrenOptions['owner'], 'resolveChild'>;

/** The latest time that a Date can hold. */
const latestMs = 8.64e15;

/** The tasks of one live execution: begins the ready ones, and derives the consequences of their ends. */
export class Tasks {
  readonly signals: Signals;
  /** The attempts at other runners. */
  readonly offered: OwnerOffers;
  readonly children: Children;
  readonly code: Questions;
  readonly #state: LiveState;
  readonly #clock: Clock;
  readonly #waits: Waits;
  readonly #attempts: Attempts;
  readonly #maps: Maps;
  /** While states are restored no task is dispatched: `dispatchAll` will find the ready ones. */
  #restoring = false;
  /** Tasks that begin once the ends of the tasks that they need are durable. */
  readonly #almost = new Set<number>();
  /** The end for a task whose transaction was being written when all open tasks were ended. */
  #unclosed: { readonly status: 'cancelled' | 'skipped'; readonly cause: string } | undefined;

  constructor(state: LiveState, { code: own, buildId }: LoadedWorkflow, host: TasksHost, owner: TasksOwner) {
    const code = new Questions(state, own, host);
    this.#state = state;
    this.code = code;
    this.#clock = host.clock;
    const { clock, logger, maxPayload, itemsPerCommit = defaultItems } = host;
    const ends = {
      completed: (run: TaskRun): void => this.#end(run),
      failed: (run: TaskRun, error: TaskError): void => this.#fail(run, error),
      resolveChild: owner.resolveChild,
      over: (run: TaskRun): Promise<Outcome> => this.#ask('over', run),
      input: (run: TaskRun): Promise<Outcome> => this.#ask('input', run),
    };
    const waits = new Waits(state, clock, (run) => this.#woken(run));
    this.#waits = waits;
    const attempts = new Attempts(state, { code, buildId }, host, waits, {
      completed: (run) => (run.item === -1 ? this.#end(run) : this.#maps.completed(run)),
      failed: (run, error) => (run.item === -1 ? this.#fail(run, error) : this.#maps.failed(run, error)),
      cutShort: (run, error) => (run.item === -1 ? this.#fail(run, error) : this.#maps.cutShort(run, error)),
      retrying: (run) => (run.item === -1 ? undefined : this.#maps.retrying(run)),
      unsealed: () => this.#closeRest(),
      within: owner.within,
    });
    this.#attempts = attempts;
    this.offered = attempts.offered;
    const { offers } = host;
    this.#maps = new Maps({ state, attempts, waits, clock, maxPayload, itemsPerCommit, offers, owner: ends });
    this.children = new Children({ state, host, clock, maxPayload, questions: code, waits, owner: ends });
    this.signals = new Signals({ state, code, waits, clock, logger, maxPayload, owner: ends });
  }

  restore(tasks: readonly TaskState[]): void {
    const { graph, runs } = this.#state;
    const statuses = new Map<number, TaskStatus>();
    const items = Map.groupBy(
      tasks.filter(({ item }) => item !== -1),
      ({ task }) => task,
    );
    for (const state of tasks) {
      const index = graph.indexOf.get(state.task);
      if (index === undefined || state.item !== -1) continue;
      const run = restoreTaskRun(index, graph.spec.tasks[index]!, state);
      runs[index] = run;
      if (isTaskEnded(run.status)) statuses.set(index, run.status);
    }
    const failed = runs.filter((run) => run?.status === 'failed').toSorted((a, b) => a!.endedAt! - b!.endedAt!);
    this.#state.progress = restoreProgress(
      graph,
      statuses,
      failed.map((run) => run!.index),
    );
    for (const index of statuses.keys()) this.#state.outputs.taskEnded(runs, index);
    this.#restoring = true;
    for (const [index, { kind, name }] of graph.spec.tasks.entries()) {
      if (kind === 'map') this.#restoreMap(index, runs[index], items.get(name) ?? []);
    }
    // an attempt that was cut may fail the rest of the graph, maps included
    for (const run of runs) if (run?.status === 'running' && run.spec.kind !== 'map') this.#restoreRunning(run);
    this.#restoring = false;
  }

  #restoreMap(index: number, run: TaskRun | undefined, items: readonly TaskState[]): void {
    if (run === undefined && items.length === 0) return;
    const map = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
    if (!isTaskEnded(map.status)) this.#maps.restore(map, items);
  }

  #restoreRunning(run: TaskRun): void {
    const error = this.#attempts.cutOff(run);
    if (error !== null) this.#fail(run, error);
  }

  /** Begins with every task that is ready and idle. */
  dispatchAll(): void {
    const { runs, graph, progress } = this.#state;
    const open = runs.length === 0 ? graph.first : graph.names.keys();
    for (const index of open) {
      const run = runs[index];
      if (progress.unmet[index] !== 0 || isTaskEnded(progress.status[index]!) || this.#almost.has(index)) continue;
      if (run === undefined || run.status === 'pending') this.#ready(index);
      else if (run.status === 'waiting') this.#waitOn(run);
    }
    this.#maps.resumeAll();
    this.children.resume();
  }

  #waitOn(run: TaskRun): void {
    this.#waits.resume(run);
    if (run.spec.kind === 'wait') this.signals.look(run);
  }

  #ready(index: number): void {
    if (this.#state.gone || isTaskEnded(this.#state.progress.status[index]!)) return;
    const run = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
    if (run.phase.is !== 'idle') return;
    if (run.spec.when && run.attempt === 0) this.#askWhen(run);
    else this.#dispatch(run);
  }

  #askWhen(run: TaskRun): void {
    if (this.#state.still) return;
    const asked = this.#state.asking(
      run,
      () => this.#ask('when', run),
      (outcome) => {
        if (this.#state.gone || isTaskEnded(run.status)) return;
        if (outcome.status === 'completed' && outcome.output === 'false') {
          // also while the execution is held: a skip begins nothing
          run.status = 'skipped';
          run.reason = 'when_false';
          run.cause = run.spec.name;
          this.#end(run);
        } else if (this.#state.still) {
          // `#ask` has kept the answer
        } else if (outcome.status === 'completed') {
          this.#dispatch(run);
        } else {
          this.#fail(run, outcome.error);
        }
      },
    );
    this.#state.watch(asked);
  }

  async #ask(question: Question, run: TaskRun): Promise<Outcome> {
    const known = run.answer;
    run.answer = undefined;
    const outcome =
      known?.question === question
        ? known.outcome
        : await untilAnswered((alone) => this.code.ask(question, this.#attempts.call(run, alone)));
    if (this.#state.holding !== null && outcome.status !== 'lost') run.answer = { question, outcome };
    return outcome;
  }

  #dispatch(run: TaskRun): void {
    if (this.#state.still) return;
    switch (run.spec.kind) {
      case 'task':
        return this.#attempts.begin(run);
      case 'map':
        return this.#state.watch(this.#maps.begin(run));
      case 'child':
        return this.#state.watch(this.children.begin(run));
      case 'sleep':
        return this.#sleep(run);
      case 'wait':
        return this.signals.begin(run);
    }
  }

  #sleep(run: TaskRun): void {
    const now = this.#clock.now();
    if (run.spec.sleep !== null && 'for' in run.spec.sleep) {
      this.#sleepUntil(run, now, now + run.spec.sleep.for);
      return;
    }
    const asked = this.#state.asking(
      run,
      () => this.#ask('until', run),
      (outcome) => {
        if (isOver(this.#state, run)) return;
        const answer: unknown = outcome.status === 'completed' ? JSON.parse(outcome.output) : null;
        if (outcome.status !== 'completed') this.#fail(run, outcome.error);
        else if (typeof answer !== 'number' || Math.abs(answer) > latestMs) this.#fail(run, notATime(run, answer));
        else this.#sleepUntil(run, now, Math.round(answer));
      },
    );
    this.#state.watch(asked);
  }

  #sleepUntil(run: TaskRun, now: number, until: number): void {
    run.startedAt = now;
    run.attempt++;
    this.#waits.until(run, until);
    this.#state.draft.event('task.waiting', now, run, { until: new Date(until).toISOString() });
  }

  /** The time that a task waited for has come. */
  #woken(run: TaskRun): void {
    if (run.item !== -1) {
      this.#maps.woken(run);
    } else if (run.spec.kind === 'sleep') {
      run.status = 'completed';
      run.output = 'null';
      this.#end(run);
    } else if (run.spec.kind === 'wait') {
      this.#state.draft.event('task.timed_out', this.#clock.now(), run);
      const { signal, timeout } = run.spec.wait!;
      const message = `task '${run.spec.name}' received no signal '${signal}' within ${timeout} ms`;
      this.#fail(run, { name: 'TimeoutError', code: 'TASK_TIMED_OUT', message });
    } else if (run.spec.kind === 'child') {
      this.#state.draft.event('task.timed_out', this.#clock.now(), run);
      this.children.timedOut(run);
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

  /** Records the end of a task, and its consequences in the graph. */
  #end(run: TaskRun): void {
    this.#state.recordEnd(run, this.#clock.now());
    this.#state.after(() => this.#state.outputs.taskEnded(this.#state.runs, run.index));
    this.#follow(taskEnded(this.#state.graph, this.#state.progress, run.index, run.status));
  }

  #follow({ ready, skipped }: Follows): void {
    for (const { task, skip } of skipped) this.#skip(task, skip.reason, skip.cause);
    if (ready.length > 0 && !this.#restoring) {
      for (const index of ready) this.#almost.add(index);
      this.#state.after(() => {
        for (const index of ready) this.#almost.delete(index);
        for (const index of ready) this.#ready(index);
      });
    }
  }

  /** Records a skip that is part of the plan already. */
  #skip(index: number, reason: NonNullable<TaskRun['reason']>, cause: string): void {
    const run = (this.#state.runs[index] ??= newTaskRun(index, this.#state.graph.spec.tasks[index]!));
    Object.assign(run, { status: 'skipped', reason, cause });
    this.#state.recordEnd(run, this.#clock.now());
    this.#state.after(() => this.#state.outputs.taskEnded(this.#state.runs, index));
  }

  /** Nothing begins until `dispatchAll`; attempts under way may end, or are aborted. */
  hold(abort: boolean): void {
    this.code.drop();
    for (const run of this.#state.allRuns()) this.#attempts.hold(run, abort);
  }

  /** Ends whatever runs or waits in memory; later answers are dropped. */
  stopAll(reason: AbortReason): void {
    this.code.drop();
    for (const run of this.#state.allRuns()) this.#attempts.stop(run, reason);
  }

  /** The changes on the way to the database will never be durable: starts give back their slots, steps throw. */
  forget(): void {
    this.code.drop();
    this.#attempts.forget();
  }

  /** Other runners have more slots than before: maps may go on with more items. */
  moreHelp(): void {
    this.#maps.resumeSome();
  }

  /** Cancels all timers until `resumeAll`. */
  rest(): void {
    this.#waits.rest();
  }

  resumeAll(): void {
    this.#waits.resumeAll();
  }

  /** Ends the items of the task if it is a map. */
  closeItems(index: number): void {
    this.#maps.close(index);
  }

  #closeRest(): void {
    const unclosed = this.#unclosed;
    this.#unclosed = undefined;
    if (unclosed !== undefined) this.closeOpen(unclosed.status, unclosed.cause);
  }

  /** Ends every open task: with `cancelled` if it had begun, else with the given status. */
  closeOpen(status: 'cancelled' | 'skipped', cause = ''): void {
    const { graph, progress, runs, draft } = this.#state;
    const now = this.#clock.now();
    for (const [index, name] of graph.names.entries()) {
      if (isTaskEnded(progress.status[index]!)) continue;
      if (this.#state.sealed?.run.index === index) {
        this.#unclosed = { status, cause };
        continue;
      }
      const run = (runs[index] ??= newTaskRun(index, graph.spec.tasks[index]!));
      if (isTaskEnded(run.status)) continue;
      this.children.cancel(run);
      this.#maps.close(index);
      run.status = hasBegun(run.status) ? 'cancelled' : status;
      if (run.status === 'skipped') Object.assign(run, { reason: 'fail_fast', cause: cause === '' ? name : cause });
      this.#state.move(run, ended);
      run.endedAt = now;
      run.wakeAt = null;
      const data = run.status === 'skipped' ? { reason: run.reason, cause: run.cause } : coalesced(run);
      draft.event(run.status === 'skipped' ? 'task.skipped' : 'task.cancelled', now, run, data);
      draft.task(run);
      progress.status[index] = run.status;
      progress.open--;
    }
  }
}

function notATime(run: TaskRun, answer: unknown): TaskError {
  const message = `'until' of sleep '${run.spec.name}' returned ${cleanText(JSON.stringify(answer), 100)}; it must return epoch ms or a Date`;
  return { name: 'Error', code: 'TASK_FAILED', message };
}
