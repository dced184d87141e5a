import { CloacinaError } from '../../core/error.ts';
import type { TaskError } from '../../core/task-error.ts';
import { boundTaskError, toTaskError } from '../../core/task-error.ts';
import { parseJson, storedValue } from '../../core/json.ts';
import type { NewEvent, PinRefusedError, Transition } from '../../store/transition.ts';
import type { ExecutionRecord, InboxMessage } from '../../store/store.ts';
import type { Clock } from '../clock.ts';
import { delay } from '../clock.ts';
import type { Outcome } from '../workflow-code.ts';
import { derivedId, timeOf } from '../id.ts';
import type { LiveState } from './live-state.ts';
import type { Questions } from './questions.ts';
import { checkInput, newExecution } from '../client/start.ts';
import type { ResolvedWorkflow } from '../client/start.ts';
import { isOver } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

/** The parts of a runner that child tasks use. */
export interface ChildrenHost {
  execution(id: string): Promise<ExecutionRecord | undefined>;
  /** Permits one more child of a root. Throws TOO_MANY_CHILDREN. */
  admitChild(rootId: string, depth: number): Promise<void>;
  /** A child was created; any runner may take it. */
  onChild(rootId: string, code: string): void;
}

export interface ChildrenOptions {
  readonly state: LiveState;
  readonly host: ChildrenHost;
  readonly clock: Clock;
  readonly maxPayload: number;
  readonly questions: Questions;
  readonly owner: {
    /** Resolves the name of a child for this execution: a workflow beside its own, or one of another package. */
    readonly resolveChild: (name: string) => Promise<ResolvedWorkflow>;
    /** Asks the task's `input`. */
    input(run: TaskRun): Promise<Outcome>;
    completed(run: TaskRun): void;
    failed(run: TaskRun, error: TaskError): void;
  };
}

const tryAgainMs = 500;
/** Errors that mean only that the database is unavailable. */
const passing: ReadonlySet<string> = new Set([
  'STORE_UNAVAILABLE',
  'DATABASE_READ_ONLY',
  'DATABASE_REPLACED',
  'DATABASE_FLUSH_FAILED',
]);

/** The child workflows that the tasks of one live execution start and wait for. */
export class Children {
  readonly #options: ChildrenOptions;
  readonly #state: LiveState;
  /** Ends of children that came while the execution was held. */
  #later: InboxMessage[] = [];

  constructor(options: ChildrenOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /** Starts the child of a task in the same transition as the change of the task: both are durable, or neither. */
  async begin(run: TaskRun): Promise<void> {
    const { owner, clock, maxPayload, questions, host } = this.#options;
    const { rootId, depth } = this.#state.head;
    const create = async (): Promise<TaskError | null> => {
      const outcome = await owner.input(run);
      if (outcome.status !== 'completed') return outcome.error;
      if (isOver(this.#state, run)) return null;
      try {
        const resolved = await this.#untilThere(run, () => owner.resolveChild(run.spec.child!.workflow));
        if (resolved === undefined) return null;
        await this.#untilThere(run, () => host.admitChild(rootId, depth + 1));
        const input = await questions.charged(() => checkInput(resolved, parseJson(outcome.output), maxPayload));
        if (input !== undefined && !isOver(this.#state, run)) this.#create(run, resolved, input, clock.now());
        return null;
      } catch (error) {
        return toTaskError(error);
      }
    };
    await this.#state.asking(run, create, (failure) => {
      if (failure !== null && !isOver(this.#state, run)) owner.failed(run, failure);
    });
  }

  #create(run: TaskRun, resolved: ResolvedWorkflow, input: Awaited<ReturnType<typeof checkInput>>, now: number): void {
    const { id, tenant, rootId, depth, priority } = this.#state.head;
    run.attempt++;
    run.startedAt = now;
    run.status = 'waiting';
    run.epoch = this.#state.head.epoch;
    const child = this.#idOf(run);
    const create = newExecution({ resolved, input, options: { priority }, tenant, now, id: child });
    const parent = { id, task: run.spec.name, item: run.item };
    const { draft } = this.#state;
    draft.effects.children.push({ ...create, rootId, depth: depth + 1, parent });
    draft.task(run);
    draft.event('task.waiting', now, run, { child, workflow: resolved.spec.name });
    this.#state.after(() => this.#options.host.onChild(rootId, create.buildId));
  }

  /** The store refused to start children, since their versions are gone: their tasks fail. */
  refused(refused: PinRefusedError['refused']): void {
    for (const run of this.#state.runs) {
      if (run?.spec.kind !== 'child' || run.status !== 'waiting') continue;
      const why = refused.get(this.#idOf(run));
      if (why !== undefined) this.#options.owner.failed(run, toTaskError(why));
    }
  }

  /** A child has ended: its output is the output of its task. */
  async ended(message: InboxMessage): Promise<void> {
    const { host } = this.#options;
    const index = this.#state.graph.indexOf.get(message.name ?? '');
    const run = index === undefined ? undefined : this.#state.runs[index];
    const child = storedValue(message.payload, `message ${message.n} of execution ${this.#state.head.id}`);
    // no task waits for the child of an earlier attempt
    if (run?.status !== 'waiting' || child !== this.#idOf(run)) {
      this.#state.draft.effects.messagesDone.push(message.n);
      return;
    }
    const read = async (): Promise<ExecutionRecord> => {
      const found = await host.execution(child);
      if (found !== undefined) return found;
      throw new CloacinaError('EXECUTION_NOT_FOUND', `the child execution '${child}' no longer exists`);
    };
    await this.#state.asking(
      run,
      () => this.#untilThere(run, read).catch((error: unknown) => toTaskError(error)),
      (record) => this.#endedAs(run, message, record),
    );
  }

  #endedAs(run: TaskRun, message: InboxMessage, record: ExecutionRecord | TaskError | undefined): void {
    const { owner } = this.#options;
    if (this.#state.holding !== null) this.#later.push(message);
    if (record !== undefined && !isOver(this.#state, run) && run.status === 'waiting') {
      this.#state.draft.effects.messagesDone.push(message.n);
      if ('status' in record && record.endedAt === null) {
        // the child was retried meanwhile, and will send another message at its end
      } else if ('status' in record && record.status === 'completed') {
        run.status = 'completed';
        run.output = record.output ?? 'null';
        owner.completed(run);
      } else {
        owner.failed(run, 'status' in record ? childFailure(record) : record);
      }
    }
  }

  /** Reads the messages that came while the execution was held. */
  resume(): void {
    const later = this.#later;
    this.#later = [];
    for (const message of later) this.#state.watch(this.ended(message));
  }

  /** Cancels the child of a task that will not wait for it. */
  cancel(run: TaskRun): void {
    if (run.spec.kind === 'child' && run.status === 'waiting')
      this.#state.draft.effects.cancelChildren.push(this.#idOf(run));
  }

  #idOf(run: TaskRun): string {
    const { id } = this.#state.head;
    return derivedId(timeOf(id), `${id} ${run.spec.name} ${run.item} ${run.attempt}`);
  }

  /** Asks again while the database is unavailable; undefined if the task is over before. */
  async #untilThere<T>(run: TaskRun, ask: () => Promise<T>): Promise<T | undefined> {
    while (!isOver(this.#state, run)) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof CloacinaError) || !passing.has(error.code)) throw error;
      }
      await delay(this.#options.clock, tryAgainMs);
    }
    return undefined;
  }
}

/**
 * A transition without the children that cannot be started. Tasks that wait for them are written as if they had not begun: a
 * crash before the next transition leaves them like that. (The transition does not release the execution to wait: the callback
 * for a new child comes first.)
 */
export function withoutChildren(transition: Transition, refused: PinRefusedError['refused']): Transition {
  const effects = transition.effects!;
  const gone = effects.children.filter(({ id }) => refused.has(id));
  const waits = transition.tasks.filter(({ task, item, status }) => {
    return status === 'waiting' && gone.some(({ parent }) => parent!.task === task && parent!.item === item);
  });
  const begins = ({ type, task, item }: NewEvent): boolean =>
    type === 'task.waiting' && waits.some((one) => one.task === task && one.item === (item ?? -1));
  let seq = transition.events[0]?.seq ?? 0;
  const events: NewEvent[] = [];
  for (const event of transition.events) if (!begins(event)) events.push({ ...event, seq: seq++ });
  return {
    ...transition,
    tasks: transition.tasks.filter((task) => !waits.includes(task)),
    events,
    effects: { ...effects, children: effects.children.filter((child) => !gone.includes(child)) },
  };
}

function childFailure({ id, workflow, status, error }: ExecutionRecord): TaskError {
  const cause = storedValue(error, `the error of execution ${id}`) as TaskError | null;
  const why = cause === null ? '' : `: ${cause.message}`;
  const message = `the child execution '${id}' of workflow '${workflow}' ${status === 'failed' ? 'failed' : 'was cancelled'}${why}`;
  const code = cause?.code ?? 'EXECUTION_FAILED';
  // each level of children wraps the error once more
  return boundTaskError({ name: 'Error', code, message, ...(cause === null ? {} : { cause }) });
}
