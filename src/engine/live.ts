import type { Graph } from '../core/graph.ts';
import type { EndedStatus } from '../core/execution.ts';
import { isTaskEnded } from '../core/execution.ts';
import { endingOf, firstTasks, freshProgress, restoreProgress, taskEnded } from '../core/plan.ts';
import type { Follows, Progress } from '../core/plan.ts';
import { settle } from '../core/settle.ts';
import type { AttemptFailure } from '../core/settle.ts';
import { toTaskError } from '../core/task-error.ts';
import type { TaskError } from '../core/task-error.ts';
import type { NewEvent, NewExecution, Transition } from '../store/batch.ts';
import type { ClaimedExecution, Mail } from '../store/store.ts';
import { Attempt } from './attempt.ts';
import type { AbortReason, AttemptEnd } from './attempt.ts';
import type { LoadedWorkflow } from './catalog.ts';
import type { Clock } from './clock.ts';
import type { Outcome, TaskCall } from './code.ts';
import type { Journal, Participant } from './journal.ts';
import type { Logger } from './logger.ts';
import { Outputs } from './outputs.ts';
import { Pending } from './pending.ts';
import type { Slots } from './slots.ts';
import { newTaskRun, restoreTaskRun, settledText } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

/** How an execution ended, as its owner knows it. Values are JSON text. */
export interface EndedExecution {
  readonly status: EndedStatus;
  readonly output: string | null;
  /** Null where an output was dropped from memory meanwhile: then the database has them. */
  readonly outputs: ReadonlyMap<string, string> | null;
  readonly error: string | null;
  readonly errorTask: string | null;
}

/** What the runner gives to all of its live executions. */
export interface LiveHost {
  readonly runner: string;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly slots: Slots;
  /** Lets one suspect at a time run. */
  readonly suspects: Slots;
  readonly logger: Logger;
  readonly graceMs: number;
  readonly maxPayload: number;
  /** From 0 to below 1. */
  readonly random: () => number;
  stepResult(id: string, task: string, item: number, name: string): Promise<string | undefined>;
  onEvents(live: Live, events: readonly NewEvent[]): void;
  onProgress(live: Live, task: string, done: number, text: string | null): void;
  /** It has mail that must be taken in before it can be let go. */
  onHeld(live: Live): void;
  onGone(live: Live, how: 'released' | 'lost' | 'moved' | EndedExecution): void;
}

/** An execution as its owner keeps it. */
interface Head {
  readonly id: string;
  readonly tenant: string;
  readonly epoch: number;
  readonly priority: number;
  readonly schedule: NewExecution['schedule'];
  input: string;
  inputParsed: boolean;
  losses: number;
}

/** A wake-up further away than this is left to the database: the execution waits there and costs a row. */
const nearMs = 30_000;
/** A suspect that has run for so long lets the next begin. */
const suspectTurnMs = 60_000;
const suspectLosses = 2;
const maxLogLines = 1000;

/** One owned execution in memory: plan, dispatch, settle, finish. Nothing that depends on a change happens before its commit. */
export class Live implements Participant {
  readonly id: string;
  readonly workflow: LoadedWorkflow;
  readonly #host: LiveHost;
  readonly #head: Head;
  readonly #graph: Graph;
  readonly #runs: (TaskRun | undefined)[] = [];
  #progress: Progress;
  #pending = new Pending();
  #inFlight: { readonly pending: Pending; readonly transition: Transition } | undefined;
  #seq: number;
  #inboxSeen: number;
  /** Attempts, questions and parsing under way. */
  #busy = 0;
  readonly #outputs: Outputs;
  #cancelled = false;
  #failedInput: TaskError | null = null;
  #releasing = false;
  #gone = false;

  private constructor(host: LiveHost, workflow: LoadedWorkflow, head: Head, seq: number, inboxSeen: number) {
    this.id = head.id;
    this.workflow = workflow;
    this.#host = host;
    this.#head = head;
    this.#graph = workflow.graph;
    this.#progress = freshProgress(workflow.graph);
    this.#outputs = new Outputs(workflow.graph);
    this.#seq = seq;
    this.#inboxSeen = inboxSeen;
  }

  /** A new execution, owned from its creation on; it begins once that is durable. */
  static create(host: LiveHost, workflow: LoadedWorkflow, create: NewExecution, onDurable: () => void): Live {
    const { id, tenant, priority, schedule, input, inputParsed } = create;
    const head = { id, tenant, epoch: 1, priority, schedule, input, inputParsed, losses: 0 };
    const live = new Live(host, workflow, head, 0, 0);
    live.#pending.create = create;
    live.#pending.event('execution.created', create.createdAt);
    live.#after(onDurable);
    live.#after(() => live.#begin());
    live.#changed();
    return live;
  }

  /** An execution that was claimed: it goes on from what is stored. */
  static adopt(host: LiveHost, workflow: LoadedWorkflow, claimed: ClaimedExecution): Live {
    const { execution, seq, because } = claimed;
    const { id, tenant, epoch, priority, schedule, input, inputParsed, losses, taken } = execution;
    const head = { id, tenant, epoch, priority, schedule, input, inputParsed, losses };
    const live = new Live(host, workflow, head, seq, taken);
    live.#restore(claimed);
    const type =
      because === null ? 'execution.started' : because === 'lost' ? 'execution.adopted' : 'execution.resumed';
    live.#pending.event(type, host.clock.now());
    live.#after(() => live.#begin());
    live.#changed();
    return live;
  }

  get tenant(): string {
    return this.#head.tenant;
  }

  get epoch(): number {
    return this.#head.epoch;
  }

  // -- what the journal asks

  transition(): Transition | undefined {
    if (this.#gone) return undefined;
    const pending = this.#pending;
    this.#pending = new Pending();
    const transition = pending.transition(this.id, this.#head.epoch, this.#seq, this.#inboxSeen);
    this.#seq += transition.events.length;
    for (const run of this.#runs) if (run !== undefined) run.startEvent = undefined;
    this.#inFlight = { pending, transition };
    return transition;
  }

  committed(how: 'written' | 'held' | 'moved'): void {
    const { pending, transition } = this.#inFlight!;
    this.#inFlight = undefined;
    const { letGo } = transition;
    const gone = letGo !== null && how === 'written' ? letGo : null;
    if (gone !== null) this.#seq += gone.events.length;
    this.#host.onEvents(this, gone === null ? transition.events : [...transition.events, ...gone.events]);
    if (how === 'moved') {
      for (const after of pending.after.slice(0, 1)) after();
      this.#leave('moved');
      return;
    }
    for (const after of pending.after) after();
    if (how === 'held') this.#host.onHeld(this);
    if (gone === null) return;
    if (gone.endedAt === null) this.#leave('released');
    else this.#leave(this.#ended(gone.status as EndedStatus, gone));
  }

  lost(): void {
    this.#host.logger.warn({ execution: this.id }, 'the execution is owned by another runner now');
    this.abandon();
  }

  /** Forgets the execution without a word to the database: this runner does not own it any more. */
  abandon(): void {
    if (this.#gone) return;
    this.#stopAll('lease_lost');
    this.#leave('lost');
  }

  refused(cause: unknown): void {
    const { pending, transition } = this.#inFlight!;
    this.#inFlight = undefined;
    this.#seq -= transition.events.length;
    if (pending.create !== null) {
      this.#leave('lost');
      return;
    }
    const error = toTaskError(cause, 'STORE_REFUSED');
    this.#failedInput ??= error;
    this.#stopAll('cancel');
    for (const { task } of transition.tasks) {
      const index = this.#graph.indexOf.get(task)!;
      const run = this.#runs[index]!;
      Object.assign(run, { status: 'failed', output: null, error, endedAt: this.#host.clock.now(), wakeAt: null });
      if (!isTaskEnded(this.#progress.status[index]!)) this.#progress.open--;
      this.#progress.status[index] = 'failed';
      this.#pending.task(run);
    }
    this.#closeOpen('cancelled');
    this.#changed();
  }

  // -- what the runner asks

  takeMail(mail: readonly Mail[]): void {
    for (const { kind, n } of mail) {
      if (n <= this.#inboxSeen || this.#gone) continue;
      this.#inboxSeen = n;
      this.#pending.mailTaken = n;
      if (kind === 'cancel') this.#cancel();
    }
    this.#changed();
  }

  /** Ends attempts and hands the execution back; attempts end by their signal, at the latest after the grace period. */
  release(): void {
    if (this.#gone || this.#releasing) return;
    this.#releasing = true;
    for (const run of this.#runs) {
      if (run === undefined) continue;
      if (run.slot !== undefined) run.slot.cancelled = true;
      run.timer?.cancel();
      run.running?.abort('shutdown');
    }
    this.#changed();
  }

  // -- begin

  #begin(): void {
    if (this.#gone || this.#cancelled || this.#releasing) return;
    if (!this.#head.inputParsed) {
      void this.#parseInput();
      return;
    }
    this.#dispatchAll();
    this.#changed();
  }

  async #parseInput(): Promise<void> {
    this.#busy++;
    const outcome = await this.workflow.code.parseInput(this.#head.input);
    this.#busy--;
    if (this.#gone || this.#cancelled) return;
    if (outcome.status === 'valid') {
      this.#head.input = outcome.input;
      this.#head.inputParsed = true;
      this.#pending.parsedInput = outcome.input;
      this.#after(() => this.#begin());
    } else {
      const issues = outcome.status === 'invalid' ? outcome.issues : [];
      const text = issues.map((issue) => `${issue.path === '' ? 'input' : `input.${issue.path}`}: ${issue.message}`);
      this.#failedInput =
        outcome.status === 'lost'
          ? outcome.error
          : { name: 'InputInvalidError', code: 'INPUT_INVALID', message: `the input is not valid: ${text.join('; ')}` };
      this.#closeOpen('cancelled');
    }
    this.#changed();
  }

  #restore({ tasks }: ClaimedExecution): void {
    const ended = new Map<number, TaskRun['status']>();
    for (const state of tasks) {
      const index = this.#graph.indexOf.get(state.task);
      if (index === undefined || state.item !== -1) continue;
      const run = restoreTaskRun(index, this.#graph.spec.tasks[index]!, state);
      this.#runs[index] = run;
      if (isTaskEnded(run.status)) ended.set(index, run.status);
    }
    const failed = this.#runs.filter((run) => run?.status === 'failed').toSorted((a, b) => a!.endedAt! - b!.endedAt!);
    this.#progress = restoreProgress(
      this.#graph,
      ended,
      failed.map((run) => run!.index),
    );
    for (const run of this.#runs) if (run?.status === 'running') this.#cutOff(run);
  }

  /** An attempt was running when its runner was lost. It is charged only where its start said so. */
  #cutOff(run: TaskRun): void {
    const allowance = run.spec.retry?.attempts ?? 1;
    const once = allowance === 1;
    if (once || (this.#isSuspect(run) && run.used >= allowance)) {
      const code = once && this.#head.losses < suspectLosses ? 'TASK_INTERRUPTED' : 'TASK_CRASHED_RUNNER';
      const message = `the process that ran attempt ${run.attempt} of task '${run.spec.name}' ended`;
      this.#fail(run, { name: 'Error', code, message });
    } else {
      run.status = 'pending';
      this.#pending.task(run);
    }
  }

  #dispatchAll(): void {
    const open = this.#runs.length === 0 ? firstTasks(this.#graph) : this.#graph.names.keys();
    for (const index of open) {
      const run = this.#runs[index];
      if (this.#progress.unmet[index] !== 0 || isTaskEnded(this.#progress.status[index]!)) continue;
      if (run === undefined || run.status === 'pending') this.#ready(index);
      else if (run.status === 'waiting') this.#await(run);
    }
  }

  // -- dispatch

  #ready(index: number): void {
    if (this.#gone || isTaskEnded(this.#progress.status[index]!)) return;
    const run = (this.#runs[index] ??= newTaskRun(index, this.#graph.spec.tasks[index]!));
    if (run.spec.when && run.attempt === 0) void this.#askWhen(run);
    else this.#dispatch(run);
  }

  async #askWhen(run: TaskRun): Promise<void> {
    const outcome = await this.#ask(() => this.workflow.code.ask('when', this.#call(run)));
    if (this.#gone || isTaskEnded(run.status) || this.#releasing) return;
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
    this.#changed();
  }

  async #ask(question: () => Promise<Outcome>): Promise<Outcome> {
    this.#busy++;
    const outcome = await question();
    this.#busy--;
    return outcome;
  }

  #dispatch(run: TaskRun): void {
    if (this.#releasing || this.#gone) return;
    if (run.spec.kind === 'sleep') {
      void this.#sleep(run);
      return;
    }
    const { slots, suspects } = this.#host;
    const { priority } = this.#head;
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
      const outcome = await this.#ask(() => this.workflow.code.ask('until', this.#call(run)));
      if (this.#gone || isTaskEnded(run.status) || this.#releasing) return;
      const answer: unknown = outcome.status === 'completed' ? JSON.parse(outcome.output) : outcome.error;
      if (typeof answer === 'number') until = answer;
      else this.#fail(run, outcome.status === 'completed' ? notATime(run, answer) : outcome.error);
    }
    if (until !== null) {
      run.startedAt = now;
      this.#waitUntil(run, until);
      this.#pending.event('task.waiting', now, run, { until: new Date(until).toISOString() });
    }
    this.#changed();
  }

  #isSuspect(run: TaskRun): boolean {
    return run.suspect || this.#head.losses >= suspectLosses;
  }

  /** A slot is there: begins the next attempt. */
  #start(run: TaskRun): void {
    run.slot = undefined;
    if (this.#gone || this.#releasing || isTaskEnded(run.status)) {
      this.#host.slots.release();
      return;
    }
    run.status = 'running';
    run.attempt++;
    run.epoch = this.#head.epoch;
    run.startedAt = this.#host.clock.now();
    run.error = null;
    run.logLines = 0;
    run.charged = this.#isSuspect(run) || run.spec.retry?.attempts === 1;
    if (run.charged) run.used++;
    run.startEvent = this.#pending.event('task.started', run.startedAt, run);
    this.#pending.task(run);
    this.#busy++;
    if (run.charged) this.#after(() => this.#launch(run));
    else this.#launch(run);
    this.#changed();
  }

  #launch(run: TaskRun): void {
    const attempt: Attempt = new Attempt({
      code: this.workflow.code,
      call: this.#call(run),
      timeoutMs: run.spec.timeout,
      graceMs: this.#host.graceMs,
      clock: this.#host.clock,
      host: this.#taskHost(run, run.attempt),
      onEnd: (end) => {
        this.#busy--;
        run.endTurn?.();
        if (run.running === attempt && !this.#gone) this.#attemptEnded(run, end);
        else this.#host.logger.debug({ execution: this.id, task: run.spec.name }, 'a late answer was dropped');
        this.#host.slots.release();
      },
    });
    run.running = attempt;
    attempt.start();
    if (this.#gone || isTaskEnded(run.status)) attempt.abort('cancel');
    else if (this.#releasing) attempt.abort('shutdown');
  }

  #call(run: TaskRun): TaskCall {
    const { epoch, input, schedule } = this.#head;
    const needs = this.#graph.needs[run.index]!.map(({ alias, task, settled }): readonly [string, string] => {
      const need = this.#runs[task]!;
      return [alias, settled ? settledText(need) : (need.output ?? 'null')];
    });
    return {
      executionId: this.id,
      workflow: this.#graph.spec.name,
      task: run.spec.name,
      item: null,
      itemValue: null,
      epoch,
      attempt: run.attempt,
      idempotencyKey: `${this.id}/${run.spec.name}`,
      input,
      needs,
      schedule,
      maxPayload: this.#host.maxPayload,
      alone: run.suspect,
    };
  }

  #taskHost(run: TaskRun, attempt: number): ConstructorParameters<typeof Attempt>[0]['host'] {
    const { name: task } = run.spec;
    return {
      // nothing can be remembered of a task execution in its first attempt
      stepResult: (name) => (attempt === 1 ? nothing : this.#host.stepResult(this.id, task, -1, name)),
      saveStep: (name, output) =>
        new Promise((resolve) => {
          this.#pending.step({ task, item: -1, name, output });
          this.#after(resolve);
          this.#changed();
        }),
      log: (level, message, data) => {
        if (run.logLines >= maxLogLines) return;
        const n = ++run.logLines;
        this.#pending.log({ task, item: -1, attempt, n, at: this.#host.clock.now(), level, message, data });
        this.#changed();
      },
      progress: (done, text) => this.#host.onProgress(this, task, done, text),
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
      this.#pending.event('task.timed_out', this.#host.clock.now(), run);
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
    this.#pending.event('task.retrying', now, run, { at: new Date(settlement.at).toISOString(), code, message });
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
    this.#pending.task(run);
    this.#after(() => this.#dispatch(run));
  }

  #waitUntil(run: TaskRun, at: number): void {
    run.status = 'waiting';
    run.wakeAt = at;
    this.#pending.task(run);
    this.#after(() => this.#await(run));
  }

  /** Wakes a task at its time, if that is near; one that is far keeps the execution only while something else runs. */
  #await(run: TaskRun): void {
    if (this.#gone || this.#releasing || run.status !== 'waiting' || run.wakeAt === null) return;
    run.timer?.cancel();
    run.timer = this.#host.clock.timer(Math.max(0, run.wakeAt - this.#host.clock.now()), () => this.#wake(run));
    this.#changed();
  }

  #wake(run: TaskRun): void {
    run.timer = undefined;
    if (this.#gone || this.#releasing || run.status !== 'waiting') return;
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
    if (!this.#graph.spec.failFast) return;
    this.#stopAll('fail_fast');
    this.#closeOpen('skipped', run.spec.name);
  }

  /** A task has ended: records it with all that follows from it in the graph. */
  #end(run: TaskRun): void {
    const now = this.#host.clock.now();
    const { status } = run;
    run.endedAt = now;
    run.wakeAt = null;
    const begun = run.startEvent !== undefined && run.startedAt !== null;
    if (begun) run.startEvent!.dropped = true;
    const started = begun ? { startedAt: new Date(run.startedAt!).toISOString() } : null;
    const why = run.error === null ? null : { code: run.error.code, message: run.error.message };
    const skip = status === 'skipped' ? { reason: run.reason, cause: run.cause } : null;
    const data = started === null && why === null && skip === null ? null : { ...started, ...why, ...skip };
    if (status === 'completed' || status === 'failed' || status === 'skipped' || status === 'cancelled') {
      this.#pending.event(`task.${status}`, now, run, data);
    }
    this.#pending.task(run);
    if (this.#head.losses > 0 && status !== 'skipped' && status !== 'cancelled') {
      this.#head.losses = 0;
      this.#pending.progressed = true;
    }
    this.#after(() => this.#outputs.taskEnded(this.#runs, run.index));
    this.#follow(taskEnded(this.#graph, this.#progress, run.index, status));
  }

  #follow({ ready, skipped }: Follows): void {
    for (const { task, skip } of skipped) this.#skip(task, skip.reason, skip.cause);
    if (ready.length > 0) {
      this.#after(() => {
        for (const index of ready) this.#ready(index);
      });
    }
  }

  /** Records a skip that the plan already knows of. */
  #skip(index: number, reason: NonNullable<TaskRun['reason']>, cause: string): void {
    const run = (this.#runs[index] ??= newTaskRun(index, this.#graph.spec.tasks[index]!));
    run.status = 'skipped';
    run.reason = reason;
    run.cause = cause;
    run.endedAt = this.#host.clock.now();
    this.#pending.task(run);
    this.#pending.event('task.skipped', run.endedAt, run, { reason, cause });
    this.#after(() => this.#outputs.taskEnded(this.#runs, index));
  }

  // -- cancel, finish

  #cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#pending.event('execution.cancelling', this.#host.clock.now());
    this.#stopAll('cancel');
    this.#closeOpen('cancelled');
  }

  /** Ends what is running or waiting in memory; its answers are not waited for any more. */
  #stopAll(reason: AbortReason): void {
    for (const run of this.#runs) {
      if (run === undefined) continue;
      if (run.slot !== undefined) run.slot.cancelled = true;
      run.timer?.cancel();
      run.running?.abort(reason);
      if (run.running === undefined) run.endTurn?.();
      run.running = undefined;
    }
  }

  /** Gives every open task its end: those that had begun are cancelled, the others as told. */
  #closeOpen(status: 'cancelled' | 'skipped', cause = ''): void {
    const now = this.#host.clock.now();
    for (const [index, name] of this.#graph.names.entries()) {
      if (isTaskEnded(this.#progress.status[index]!)) continue;
      const run = (this.#runs[index] ??= newTaskRun(index, this.#graph.spec.tasks[index]!));
      if (isTaskEnded(run.status)) continue;
      const begun = run.status === 'running' || run.status === 'waiting';
      run.status = begun ? 'cancelled' : status;
      if (run.status === 'skipped') Object.assign(run, { reason: 'fail_fast', cause: cause === '' ? name : cause });
      run.endedAt = now;
      run.wakeAt = null;
      const data = run.status === 'skipped' ? { reason: run.reason, cause: run.cause } : null;
      this.#pending.event(run.status === 'skipped' ? 'task.skipped' : 'task.cancelled', now, run, data);
      this.#pending.task(run);
      this.#progress.status[index] = run.status;
      this.#progress.open--;
    }
  }

  #after(then: () => void): void {
    this.#pending.after.push(then);
  }

  /** Something changed: it is to be written, and the execution may be at its end, or have nothing to do until later. */
  #changed(): void {
    if (this.#gone) return;
    if (this.#pending.letGo === null) {
      if (this.#progress.open === 0) this.#finish();
      else if (this.#busy === 0 && this.#pending.after.length === 0) this.#consider();
    }
    this.#host.journal.mark(this);
  }

  #finish(): void {
    const ending = endingOf(this.#graph, this.#progress, this.#cancelled);
    const failed = ending.status === 'failed' ? this.#runs[ending.task] : undefined;
    const error = this.#failedInput ?? (ending.status === 'failed' ? failureOf(ending.because, failed!) : null);
    const status = error === null ? ending.status : 'failed';
    const now = this.#host.clock.now();
    const why = error === null ? null : { code: error.code, message: error.message };
    this.#pending.letGo = {
      status,
      reason: null,
      wakeAt: null,
      endedAt: now,
      output: status === 'completed' ? this.#output() : null,
      error: error === null ? null : JSON.stringify(error),
      errorTask: this.#failedInput === null ? (failed?.spec.name ?? null) : null,
      event: { type: `execution.${status}`, at: now, run: null, data: why, dropped: false },
    };
  }

  #output(): string | null {
    const { output } = this.#graph.spec;
    if (output === null) return null;
    const run = this.#runs[this.#graph.indexOf.get(output.task)!]!;
    return output.settled ? settledText(run) : run.output;
  }

  /** Nothing runs: lets go where it should (close), or where nothing is to do for long. */
  #consider(): void {
    const now = this.#host.clock.now();
    const none = { endedAt: null, output: null, error: null, errorTask: null };
    if (this.#releasing) {
      const event = { type: 'execution.released' as const, at: now, run: null, data: null, dropped: false };
      this.#pending.letGo = { ...none, status: 'pending', reason: 'released', wakeAt: null, event };
      return;
    }
    let wakeAt = Infinity;
    for (const run of this.#runs) {
      if (run === undefined || isTaskEnded(run.status)) continue;
      if (run.status !== 'waiting' || run.wakeAt === null) {
        if (run.slot !== undefined || run.status === 'running') return;
        continue;
      }
      wakeAt = Math.min(wakeAt, run.wakeAt);
    }
    if (wakeAt === Infinity || wakeAt - now <= nearMs) return;
    const data = { until: new Date(wakeAt).toISOString() };
    const event = { type: 'execution.waiting' as const, at: now, run: null, data, dropped: false };
    this.#pending.letGo = { ...none, status: 'waiting', reason: null, wakeAt, event };
  }

  #ended(
    status: EndedStatus,
    letGo: { output: string | null; error: string | null; errorTask: string | null },
  ): EndedExecution {
    const { output, error, errorTask } = letGo;
    if (!this.#outputs.complete) return { status, output, outputs: null, error, errorTask };
    const outputs = new Map<string, string>();
    for (const run of this.#runs) {
      if (run?.status === 'completed') outputs.set(run.spec.name, run.output ?? 'null');
    }
    return { status, output, outputs, error, errorTask };
  }

  #leave(how: 'released' | 'lost' | 'moved' | EndedExecution): void {
    this.#gone = true;
    for (const run of this.#runs) run?.timer?.cancel();
    this.#host.onGone(this, how);
  }
}

const nothing: Promise<undefined> = Promise.resolve(undefined);

function takeTurn(host: LiveHost): () => void {
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
  const message = `'until' of sleep '${run.spec.name}' gave ${JSON.stringify(answer)}, which is neither epoch ms nor a Date`;
  return { name: 'Error', code: 'TASK_FAILED', message };
}

function failureOf(because: 'task_failed' | 'output_skipped', run: TaskRun): TaskError {
  if (because === 'task_failed') return run.error!;
  const why = `task '${run.spec.name}', whose output the workflow returns, was ${run.status}`;
  return {
    name: 'Error',
    code: 'OUTPUT_SKIPPED',
    message: run.cause === null ? why : `${why} because of '${run.cause}'`,
  };
}
