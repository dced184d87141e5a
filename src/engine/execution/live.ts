import type { EventType } from '../../core/execution/event.ts';
import { storedJson } from '../../core/json.ts';
import { toTaskError } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';
import { PinRefusedError } from '../../store/transition.ts';
import type { NewEvent, NewExecution, TaskKey, Transition } from '../../store/transition.ts';
import type { ClaimedExecution, InboxMessage } from '../../store/store.ts';
import { untilAnswered } from '../workflow-code.ts';
import type { LoadedWorkflow } from '../catalog.ts';
import { withoutChildren } from './children.ts';
import { endOf, endedExecution, restOf } from './ending.ts';
import type { EndedExecution } from './ending.ts';
import { failWhole, withError } from './failing.ts';
import type { Journal, Participant } from '../journal.ts';
import { LiveState } from './live-state.ts';
import type { Head } from './live-state.ts';
import type { DraftRelease, TransitionDraft } from './draft.ts';
import type { ResolvedWorkflow } from '../client/start.ts';
import type { TaskRun } from './task-run.ts';
import { Tasks } from './tasks.ts';
import type { TasksHost, TasksOwner } from './tasks.ts';

/** The parts of a runner that its live executions use. */
export interface LiveHost extends TasksHost {
  readonly journal: Journal;
  resolveChild(live: Live, name: string): Promise<ResolvedWorkflow>;
  onEvents(live: Live, events: readonly NewEvent[]): void;
  /** An execution has sent messages to others; this runner may own these, too. */
  onMessagesSent(): void;
  /** The store did not release an execution, since it has messages to read first. */
  onKept(live: Live): void;
  onGone(live: Live, how: 'released' | 'lost' | 'moved' | EndedExecution): void;
}

/** The two outcomes of a start: it is durable, or the database refuses it for good. */
export interface StartAnswer {
  readonly durable: () => void;
  readonly refused: (cause: unknown) => void;
}

/** Events that say only that a runner took the execution. */
const takings: ReadonlySet<EventType> = new Set(['execution.started', 'execution.adopted', 'execution.resumed']);

/** The failure of an execution whose own failure the database refuses. */
const plainFailure: TaskError = {
  name: 'CloacinaError',
  code: 'STORE_REFUSED',
  message:
    'the database refuses what the execution stores, and the text of its own error; the log of the runner has it',
};
/** Failures that may prevent the storing of the failure as well: there is no second try. */
const failures: ReadonlySet<string> = new Set(['STORE_REFUSED', 'INTERNAL']);

/** One owned execution in memory: plan, dispatch, settle, finish. Nothing that depends on a change happens before its commit. */
export class Live implements Participant {
  readonly id: string;
  readonly workflow: LoadedWorkflow;
  readonly #host: LiveHost;
  readonly #state: LiveState;
  readonly #tasks: Tasks;
  /** `again`: a part of it was refused, and the rest is written before any later change. */
  #inFlight: { readonly pending: TransitionDraft; readonly transition: Transition; again: boolean } | undefined;
  #seq: number;
  #inboxSeen: number;
  #cancelled = false;
  /** The runner hands the execution back. */
  #isReleasing = false;
  /** The time of the latest change. A release that follows from it has this time, however long the commit takes. */
  #changedAt = 0;
  /** There are messages to read before the execution can be released. */
  #hasMessages = false;
  #refuse: (cause: unknown) => void = () => undefined;
  /** A failure of the execution as a whole: an invalid input, or changes that the database refuses. */
  #failure: TaskError | null = null;

  private constructor(host: LiveHost, workflow: LoadedWorkflow, head: Head, seq: number, inboxSeen: number) {
    this.id = head.id;
    this.workflow = workflow;
    this.#host = host;
    this.#state = new LiveState(head, workflow.graph, host, this);
    this.#tasks = new Tasks(this.#state, workflow, host, {
      resolveChild: (name) => host.resolveChild(this, name),
      within: () => this.#within(),
    });
    this.#seq = seq;
    this.#inboxSeen = inboxSeen;
  }

  /** A new execution, owned from its creation on. It begins once its creation is durable. */
  static create(host: LiveHost, workflow: LoadedWorkflow, create: NewExecution, answer: StartAnswer): Live {
    const { id, tenant, priority, schedule, rootId, depth, parent, input, inputParsed } = create;
    const head = { id, tenant, epoch: 1, priority, schedule, rootId, depth, parent, input, inputParsed, crashCount: 0 };
    const live = new Live(host, workflow, head, 0, 0);
    live.#state.draft.create = create;
    live.#state.draft.event('execution.created', create.createdAt);
    live.#refuse = answer.refused;
    live.#state.after(answer.durable);
    live.#state.after(() => live.#begin());
    return live;
  }

  /** An execution that was claimed: it goes on from its stored state. `endTurn` ends the turn that a suspect has for its loading. */
  static adopt(
    host: LiveHost,
    workflow: LoadedWorkflow,
    claimed: ClaimedExecution,
    endTurn: (() => void) | undefined,
  ): Live {
    const { execution, seq, pendingReason, inbox } = claimed;
    const { id, tenant, epoch, priority, schedule, rootId, depth, parent, input, inputParsed, crashCount, inboxAcked } =
      execution;
    const head = { id, tenant, epoch, priority, schedule, rootId, depth, parent, input, inputParsed, crashCount };
    const live = new Live(host, workflow, head, seq, inboxAcked);
    const again = epoch === 1 ? 'execution.started' : takenAgain(pendingReason);
    if (again !== null) live.#state.draft.event(again, host.clock.now());
    live.#tasks.code.loading(execution, endTurn);
    live.#state.guard(() => live.#restore(claimed));
    live.receive(inbox);
    live.#seen(execution.inboxSeq);
    return live;
  }

  #restore({ execution: { inboxAcked }, tasks, inbox }: ClaimedExecution): void {
    this.#tasks.restore(tasks);
    this.#state.after(() => this.#begin());
    // the beginning is a part of the loading
    this.#state.after(() => this.#tasks.code.loaded());
    // messages that the previous owner had read, but not completed, come before anything begins
    this.#tasks.signals.restore(inbox.filter(({ n, kind }) => n <= inboxAcked && kind === 'signal'));
    for (const one of inbox)
      if (one.n <= inboxAcked && one.kind === 'child_ended') this.#state.watch(this.#tasks.children.ended(one));
    // attempts that helpers had begun come before other messages; a second reading in the order of the inbox changes nothing
    for (const one of inbox) if (one.n > inboxAcked && one.kind === 'helper_started') this.#tasks.offered.read(one);
  }

  get tenant(): string {
    return this.#state.head.tenant;
  }

  get hasParent(): boolean {
    return this.#state.head.parent !== null;
  }

  get epoch(): number {
    return this.#state.head.epoch;
  }

  // -- calls of the journal

  transition(): Transition | undefined {
    if (this.#state.gone || this.#state.sealed !== undefined) return undefined;
    if (this.#inFlight?.again === true) return this.#inFlight.transition;
    let pending: TransitionDraft | null = null;
    try {
      const release = this.#release();
      pending = this.#state.takeDraft();
      pending.release = release;
      if (pending.isEmpty) return undefined;
      const transition = pending.transition(this.id, this.#state.head.epoch, this.#seq, this.#inboxSeen);
      this.#seq += transition.events.length;
      this.#inFlight = { pending, transition, again: false };
      // no timer fires during the release
      if (transition.release !== null) this.#tasks.rest();
      return transition;
    } catch (cause) {
      this.#thrown(cause, pending);
      return undefined;
    }
  }

  /** The order of task transactions among the transitions of the execution. */
  #within(): ReturnType<TasksOwner['within']> {
    return {
      whenQuiet: (then) => {
        if (this.#inFlight === undefined && this.#state.isWritten) then();
        else this.#state.after(then);
      },
      nextSeq: () => this.#seq + 1,
      wrote: (event) => {
        this.#seq = event.seq;
        this.#host.onEvents(this, [event]);
      },
    };
  }

  committed(how: 'written' | 'held' | 'moved', taken: readonly TaskKey[]): void {
    const { pending, transition, again } = this.#inFlight!;
    this.#inFlight = undefined;
    if (again) this.#host.journal.mark(this);
    const { release } = transition;
    const gone = release !== null && how === 'written' ? release : null;
    if (gone !== null) this.#seq += gone.events.length;
    this.#state.guard(() => {
      this.#host.onEvents(this, gone === null ? transition.events : [...transition.events, ...gone.events]);
    });
    if (how === 'moved') {
      for (const after of pending.after.slice(0, 1)) this.#state.guard(after);
      this.#leave('moved');
      return;
    }
    if (transition.effects !== null) this.#tasks.offered.withdrawn(transition.effects.offersWithdrawn, taken);
    for (const after of pending.after) this.#state.guard(after);
    if ((transition.effects?.cancelChildren.length ?? 0) > 0) this.#host.onMessagesSent();
    if (how === 'held') {
      // unless they were read while the commit was on its way
      this.#hasMessages = release?.inboxSeen === this.#inboxSeen;
      this.#tasks.resumeAll();
      this.#host.onKept(this);
    }
    if (gone === null) {
      // a function that waited for this commit may have been the last thing to do
      if (!this.#state.gone && how === 'written' && this.#release() !== null) this.#host.journal.mark(this);
      return;
    }
    if (gone.endedAt === null) this.#leave('released');
    else this.#leave(endedExecution(this.#state, gone));
  }

  lost(): void {
    this.#host.logger.warn({ execution: this.id }, 'the execution is owned by another runner now');
    this.abandon();
  }

  /** Forgets the execution without a write: another runner may own it. */
  abandon(): void {
    if (this.#state.gone) return;
    this.#tasks.stopAll('lease_lost');
    this.#leave('lost');
  }

  refused(cause: unknown): void {
    const { pending, transition } = this.#inFlight!;
    if (cause instanceof PinRefusedError && pending.create === null) return this.#refusedChildren(cause);
    if (this.#failure !== null && this.#failure !== plainFailure && failures.has(this.#failure.code)) {
      // the text of the error may repeat what the database refuses
      this.#inFlight = { pending, transition: withError(transition, this.#failure, plainFailure), again: true };
      this.#failure = plainFailure;
      return this.changed();
    }
    this.#inFlight = undefined;
    this.#seq -= transition.events.length;
    if (pending.create !== null) {
      this.#refuse(cause);
      this.#leave('lost');
      return;
    }
    if (this.#failure !== null && failures.has(this.#failure.code)) {
      this.#host.logger.error(
        { execution: this.id, error: cause },
        'the database refuses to store the failure of an execution; this runner gives it up',
      );
      this.abandon();
      return;
    }
    // read messages stay read; events that say only that a runner took the execution cannot be the cause
    this.#state.draft.inboxAcked ??= transition.inboxAcked;
    this.#state.draft.restore(transition.events.filter(({ type, data }) => takings.has(type) && data === null));
    const unwritten = transition.tasks.map(({ task, item }) => this.#runOf(task, item));
    this.#failAs('STORE_REFUSED', cause, unwritten);
  }

  /** A function that moves this execution has thrown. The execution fails; its runner goes on. */
  threw(cause: unknown): void {
    this.#thrown(cause, null);
  }

  /** `unwritten`: changes that could not be put together as a transition. */
  #thrown(cause: unknown, unwritten: TransitionDraft | null): void {
    const { logger } = this.#host;
    logger.error({ execution: this.id, error: cause }, 'an internal error stopped an execution; it fails');
    if (this.#state.gone) return;
    try {
      if (unwritten !== null && unwritten.create !== null) {
        this.#refuse(cause);
        this.#leave('lost');
      } else if (this.#failure !== null && failures.has(this.#failure.code)) {
        this.abandon();
      } else {
        this.#state.draft.inboxAcked ??= unwritten?.inboxAcked ?? null;
        this.#failAs('INTERNAL', cause, [...(unwritten?.runs ?? [])]);
      }
    } catch (error) {
      logger.error(
        { execution: this.id, error },
        'the failure of the execution could not be stored; this runner gives it up',
      );
      this.#leave('lost');
    }
  }

  #failAs(code: 'STORE_REFUSED' | 'INTERNAL', cause: unknown, unwritten: readonly TaskRun[]): void {
    const error = { ...toTaskError(cause), code };
    this.#failure = error;
    failWhole(this.#state, this.#tasks, { error, now: this.#host.clock.now(), unwritten });
  }

  #runOf(task: string, item: number): TaskRun {
    const index = this.#state.graph.indexOf.get(task)!;
    const items = this.#state.maps?.get(index)?.items;
    return (item === -1 ? undefined : items?.[item]) ?? this.#state.runs[index]!;
  }

  #refusedChildren({ refused }: PinRefusedError): void {
    const { pending, transition } = this.#inFlight!;
    const without = withoutChildren(transition, refused);
    this.#inFlight = { pending, transition: without, again: true };
    this.#seq -= transition.events.length - without.events.length;
    this.#tasks.children.refused(refused);
  }

  // -- calls of the runner

  receive(messages: readonly InboxMessage[]): void {
    this.#hasMessages = false;
    for (const message of messages) {
      if (message.n <= this.#inboxSeen || this.#state.gone) continue;
      this.#inboxSeen = message.n;
      this.#state.draft.inboxAcked = message.n;
      this.#state.guard(() => this.#read(message));
    }
    // with all messages read, the execution may be released
    this.changed();
  }

  #read(message: InboxMessage): void {
    const { draft } = this.#state;
    if (message.kind === 'signal') return this.#tasks.signals.received(message);
    if (message.kind === 'child_ended') return this.#state.watch(this.#tasks.children.ended(message));
    draft.effects.messagesDone.push(message.n);
    if (message.kind === 'cancel') this.#cancel();
    else if (message.kind === 'pause') this.#pause();
    else if (message.kind === 'resume') this.#goOn();
    else if (message.kind !== 'forked') this.#tasks.offered.read(message);
    else
      draft.event(
        'execution.forked',
        this.#host.clock.now(),
        null,
        storedJson(message.payload!, `message ${message.n} of execution ${this.id}`) as object,
      );
  }

  /** All messages up to this number count as read: missing ones were removed at an earlier end of the execution. */
  #seen(inbox: number): void {
    if (inbox <= this.#inboxSeen) return;
    this.#inboxSeen = inbox;
    this.#state.draft.inboxAcked = inbox;
  }

  /** Starts no task. Once the running ones have ended, the execution is released. */
  #pause(): void {
    if (this.#cancelled || this.#state.holding === 'pause') return;
    // a release that is under way already has cut the attempts short
    if (this.#state.holding === null) this.#tasks.hold(false);
    this.#state.holding = 'pause';
  }

  /** Ends a pause that is not written yet. A runner that closes releases the execution all the same. */
  #goOn(): void {
    if (this.#state.holding !== 'pause') return;
    this.#state.holding = this.#isReleasing ? 'release' : null;
    if (!this.#isReleasing) this.#state.after(() => this.#begin());
  }

  /** Other runners have more slots than before. */
  moreHelp(): void {
    if (!this.#state.still) this.#state.guard(() => this.#tasks.moreHelp());
  }

  /** Aborts attempts and hands the execution back. Attempts end by their signal, at the latest after the grace period. */
  release(): void {
    if (this.#state.gone || this.#isReleasing) return;
    this.#isReleasing = true;
    // a pause that is not written yet stays a pause, with its attempts cut short
    this.#state.holding ??= 'release';
    this.#tasks.hold(true);
    this.changed();
  }

  // -- begin

  #begin(): void {
    if (this.#state.still || this.#cancelled) return;
    if (!this.#state.head.inputParsed) {
      this.#state.watch(this.#parseInput());
      return;
    }
    this.#tasks.dispatchAll();
  }

  async #parseInput(): Promise<void> {
    const { head } = this.#state;
    const outcome = await this.#state.busyWith(() =>
      untilAnswered(() => this.#tasks.code.parseInput(head.input, this.#host.maxPayload)),
    );
    if (this.#state.gone || this.#cancelled) return;
    if (outcome.status === 'lost' && this.#state.still) {
      // the next owner asks again
    } else if (outcome.status === 'valid') {
      head.input = outcome.input;
      head.inputParsed = true;
      this.#state.draft.parsedInput = outcome.input;
      this.#state.after(() => this.#begin());
    } else {
      const issues = outcome.status === 'invalid' ? outcome.issues : [];
      const text = issues.map((issue) => `${issue.path === '' ? 'input' : `input.${issue.path}`}: ${issue.message}`);
      this.#failure =
        outcome.status === 'lost'
          ? outcome.error
          : { name: 'InputInvalidError', code: 'INPUT_INVALID', message: `the input is not valid: ${text.join('; ')}` };
      this.#tasks.closeOpen('cancelled');
    }
  }

  // -- cancel, finish

  #cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#state.holding = null;
    this.#state.draft.event('execution.cancelling', this.#host.clock.now());
    this.#tasks.stopAll('cancel');
    this.#tasks.closeOpen('cancelled');
  }

  /** There may be something to write, or the execution may be at its end, or have nothing to do until later. */
  changed(): void {
    if (this.#state.gone) return;
    this.#changedAt = this.#host.clock.now();
    this.#host.journal.mark(this);
  }

  /** How the next commit releases the execution: it is at its end, or has nothing to do; null if it stays. */
  #release(): DraftRelease | null {
    // the store would not release it before its messages were read
    if (this.#hasMessages) return null;
    const { progress, isAtRest } = this.#state;
    if (progress.open === 0) return endOf(this.#state, this.#cancelled, this.#failure, this.#changedAt);
    return isAtRest ? restOf(this.#state, this.#changedAt) : null;
  }

  #leave(how: 'released' | 'lost' | 'moved' | EndedExecution): void {
    this.#state.gone = true;
    this.#tasks.forget();
    this.#host.onGone(this, how);
  }
}

/** The event of a claim after the first, by the reason for which the execution was pending. */
function takenAgain(because: string | null): 'execution.adopted' | 'execution.resumed' | null {
  if (because === 'resumed' || because === 'retried') return null; // the command has written its own event
  return because === 'lost' ? 'execution.adopted' : 'execution.resumed';
}
