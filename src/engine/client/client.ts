import type { DatabaseSync } from 'node:sqlite';
import type { AnyWorkflow, WorkflowRef } from '../../core/definition/definition.ts';
import {
  CloacinaError,
  ExecutionNotFoundError,
  IdempotencyConflictError,
  OptionInvalidError,
  StoreUnavailableError,
} from '../../core/error.ts';
import type { EndedStatus } from '../../core/execution/states.ts';
import { storedValue } from '../../core/json.ts';
import type { Json } from '../../core/json.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { NewExecution } from '../../store/transition.ts';
import type { CreatedExecution, Store } from '../../store/store.ts';
import { Control } from './execution-commands.ts';
import type { Controlled, ControlOptions } from './execution-commands.ts';
import { Executions } from './execution-queries.ts';
import { ExecutionFailedError } from './execution-failed.ts';
import type { EndedExecution } from '../execution/ending.ts';
import type { Engine } from '../engine.ts';
import { delay } from '../clock.ts';
import { checkInput, newExecution, resolveEmbedded, resolveWorkflow } from './start.ts';
import type { ResolvedWorkflow, Resolving, StartOptions } from './start.ts';
import { transact } from './runner-transaction.ts';
import type { Synchronous } from './runner-transaction.ts';
import type { Watch } from './watch.ts';

/** The pause after a question that the database did not answer. */
const retryMs = 500;

/** What a completed execution gave. */
export interface Result<Out> {
  readonly executionId: string;
  readonly output: Out;
  /** The output of every completed task, by name. */
  readonly outputs: { readonly [task: string]: Json };
}

/** How an execution ended. */
export type ExecutionOutcome<Out> =
  | ({ readonly status: 'completed' } & Result<Out>)
  | {
      readonly status: 'failed' | 'cancelled';
      readonly executionId: string;
      /** The task that failed the execution, where one did. */
      readonly task: string | null;
      readonly error: TaskError | null;
      readonly outputs: { readonly [task: string]: Json };
    };

/** An execution that was started. */
export interface ExecutionHandle<Out> {
  readonly id: string;
  /** Resolves once the execution is durably completed. Throws ExecutionFailedError where it failed or was cancelled. */
  result(): Promise<Result<Out>>;
  /** How it ended; does not throw for a failure. */
  outcome(): Promise<ExecutionOutcome<Out>>;
}

type Input<Given, Options = StartOptions> = undefined extends Given
  ? [input?: Given, options?: Options]
  : [input: Given, options?: Options];

/** Where there is no transaction of the caller's to start in. */
type OwnStartOptions = Omit<StartOptions, 'tx'>;

/** Starts an execution within a transaction on SQLite: it exists if and only if that commits. */
export type StartNow = <Given, Out>(
  workflow: WorkflowRef<Out, Given>,
  ...args: Input<Given, OwnStartOptions>
) => ExecutionHandle<Out>;

export interface EngineClientOptions extends Resolving, ControlOptions {
  readonly store: Store;
  readonly engine: Engine | null;
  readonly watch: Watch;
  /** See `ExecutionsOptions`. */
  readonly onDamaged?: (error: CloacinaError) => void;
}

/** The verbs that need no task to run here: start, follow, control, look. */
export class EngineClient {
  readonly executions: Executions;
  readonly #options: EngineClientOptions;
  readonly #control: Control;
  #closed = false;

  constructor(options: EngineClientOptions) {
    this.#options = options;
    this.#control = new Control(options);
    this.executions = new Executions(options);
  }

  /**
   * Starts an execution, durable once this resolves. Throws INPUT_INVALID, WORKFLOW_NOT_FOUND, AMBIGUOUS_WORKFLOW,
   * IDEMPOTENCY_CONFLICT, NOT_SERIALIZABLE, PAYLOAD_TOO_LARGE, STORE_UNAVAILABLE, OUTCOME_UNKNOWN; of a package,
   * PACKAGE_UNAVAILABLE where its live version is yanked or quarantined, and PACKAGE_NOT_FOUND where it is unregistered
   * at this moment.
   */
  start<Given, Out>(workflow: WorkflowRef<Out, Given>, ...args: Input<Given>): Promise<ExecutionHandle<Out>>;
  start(workflow: string, input?: unknown, options?: StartOptions): Promise<ExecutionHandle<Json>>;
  async start(
    workflow: AnyWorkflow | string,
    input?: unknown,
    options?: StartOptions,
  ): Promise<ExecutionHandle<never>> {
    const id = await this.#start(await this.resolve(workflow), input, options ?? {});
    return this.handle(id);
  }

  /**
   * Starts and waits for the result. Throws what `start` throws, PACKAGE_UNAVAILABLE and PACKAGE_NOT_FOUND among them, and
   * ExecutionFailedError where the execution failed or was cancelled.
   */
  execute<Given, Out>(workflow: WorkflowRef<Out, Given>, ...args: Input<Given, OwnStartOptions>): Promise<Result<Out>>;
  execute(workflow: string, input?: unknown, options?: OwnStartOptions): Promise<Result<Json>>;
  async execute(workflow: AnyWorkflow | string, input?: unknown, options?: StartOptions): Promise<Result<never>> {
    if (options?.tx !== undefined) {
      const why = 'execute waits for a result, which cannot exist before the transaction commits; use start';
      throw new OptionInvalidError('tx', why);
    }
    const handle = await this.start(workflow as string, input, options);
    return handle.result() as Promise<Result<never>>;
  }

  /**
   * Starts one execution for each input in one transaction: all, or none where it throws. Throws what `start` throws,
   * PACKAGE_UNAVAILABLE and PACKAGE_NOT_FOUND among them, but for IDEMPOTENCY_CONFLICT.
   */
  startMany<Given, Out>(
    workflow: WorkflowRef<Out, Given>,
    inputs: readonly NoInfer<Given>[],
    options?: Omit<StartOptions, 'idempotencyKey'>,
  ): Promise<readonly ExecutionHandle<Out>[]>;
  startMany(
    workflow: string,
    inputs: readonly unknown[],
    options?: Omit<StartOptions, 'idempotencyKey'>,
  ): Promise<readonly ExecutionHandle<Json>[]>;
  async startMany(
    workflow: AnyWorkflow | string,
    inputs: readonly unknown[],
    options: Omit<StartOptions, 'idempotencyKey'> = {},
  ): Promise<readonly ExecutionHandle<never>[]> {
    this.#checkOpen();
    const { tenant, clock, maxPayload, store, engine } = this.#options;
    const resolved = await this.resolve(workflow);
    const creates: NewExecution[] = [];
    for (const input of inputs) {
      const checked = await checkInput(resolved, input, maxPayload);
      creates.push(newExecution({ resolved, input: checked, options, tenant, now: clock.now() }));
    }
    const { tx } = options;
    const created = tx === undefined ? await store.createExecutions(creates) : await this.#createWithin(tx, creates);
    for (const { id, buildId } of created) engine?.mayTake(id, buildId);
    return creates.map(({ id }) => this.handle<never>(id));
  }

  /**
   * SQLite: runs a function as one transaction on the engine's own connection. What it writes with `db` and the executions
   * that it starts are there together, or none of it where it throws. It is synchronous, and gives what it returns. Throws
   * TRANSACTION_ASYNC, TRANSACTION_ENDED, STORE_UNAVAILABLE, TRANSACTION_UNAVAILABLE on PostgreSQL (there: `tx` of `start`).
   */
  async transaction<T>(run: (db: DatabaseSync, start: StartNow) => Synchronous<T>): Promise<T> {
    this.#checkOpen();
    const { clock, engine } = this.#options;
    return transact<T, ExecutionHandle<never>>(
      {
        ...this.#options,
        now: () => clock.now(),
        idOf,
        handle: (id) => this.handle<never>(id),
        onStarted: ({ id, buildId }) => engine?.mayTake(id, buildId),
      },
      run,
    );
  }

  /** An execution by its id, to wait for it; the id is not looked up before. */
  handle<Out = Json>(id: string): ExecutionHandle<Out> {
    const outcome = (): Promise<ExecutionOutcome<Out>> => this.#outcome<Out>(id);
    return {
      id,
      outcome,
      result: async () => {
        const ended = await outcome();
        if (ended.status === 'completed') return { executionId: id, output: ended.output, outputs: ended.outputs };
        throw new ExecutionFailedError(id, ended.status, ended.task, ended.error);
      },
    };
  }

  /** Cancels an execution, and the children that it waits for. Throws EXECUTION_NOT_FOUND, EXECUTION_ENDED. */
  cancel(id: string): Promise<Controlled> {
    return this.#act((control) => control.cancel(id));
  }

  /**
   * Nothing new starts; what runs may end. The status is `pausing` while something does. Throws EXECUTION_NOT_FOUND,
   * EXECUTION_ENDED.
   */
  pause(id: string): Promise<Controlled> {
    return this.#act((control) => control.pause(id));
  }

  /** Lets a paused execution go on. Throws EXECUTION_STATE where it is not paused, EXECUTION_NOT_FOUND, EXECUTION_ENDED. */
  resume(id: string): Promise<Controlled> {
    return this.#act((control) => control.resume(id));
  }

  /**
   * Lets one that failed or was cancelled go on: what completed stays, the rest has all its attempts again. Throws
   * EXECUTION_STATE, EXECUTION_NOT_FOUND, PACKAGE_NOT_FOUND.
   */
  retry(id: string): Promise<Controlled> {
    return this.#act((control) => control.retry(id));
  }

  /**
   * A new execution that reuses what completed and does not come after the task `from`, which runs again. Throws
   * TASK_NOT_FOUND, EXECUTION_NOT_FOUND, EXECUTION_STATE, PACKAGE_NOT_FOUND.
   */
  async fork(id: string, options: { readonly from: string }): Promise<ExecutionHandle<Json>> {
    const forked = await this.#act((control) => control.fork(id, options.from));
    this.#options.engine?.mayTake(forked.id, forked.code);
    return this.handle(forked.id);
  }

  /**
   * Hands a signal to an execution: the first task that waits for its name takes it, or the first that will. The payload
   * is JSON; left out it is null. Durable once this resolves. Throws SIGNAL_UNKNOWN, SIGNAL_INVALID,
   * EXECUTION_NOT_FOUND, EXECUTION_ENDED, NOT_SERIALIZABLE, PAYLOAD_TOO_LARGE.
   */
  signal(id: string, name: string, payload: unknown = null): Promise<Controlled> {
    return this.#act((control) => control.signal(id, name, payload));
  }

  async #act<T>(act: (control: Control) => Promise<T>): Promise<T> {
    this.#checkOpen();
    const done = await act(this.#control);
    this.#options.engine?.notify();
    await this.#options.watch.poll();
    return done;
  }

  /** What a workflow or its name means. Throws WORKFLOW_NOT_FOUND, AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE. */
  async resolve(workflow: AnyWorkflow | string): Promise<ResolvedWorkflow> {
    return typeof workflow === 'string' ? resolveWorkflow(this.#options, workflow) : resolveEmbedded(workflow);
  }

  /** Refuses every later call; whoever waits for a result is told. */
  protected endClient(): void {
    this.#closed = true;
    this.#options.watch.close(
      new CloacinaError('RUNNER_CLOSED', 'the client was closed while a call waited for a result'),
    );
  }

  async #start(resolved: ResolvedWorkflow, input: unknown, options: StartOptions): Promise<string> {
    this.#checkOpen();
    const { tenant, clock, maxPayload, store, engine } = this.#options;
    const loaded = engine?.catalog.find(resolved.buildId, resolved.spec.name, tenant);
    const known = loaded === undefined ? resolved : { ...resolved, code: loaded.code };
    const checked = await checkInput(known, input, maxPayload);
    const create = newExecution({ resolved, input: checked, options, tenant, now: clock.now() });
    if (engine !== null && create.idempotencyKey === null && options.tx === undefined) {
      await engine.start(create, loaded);
      return create.id;
    }
    const { tx } = options;
    const [created] =
      tx === undefined ? await store.createExecutions([create]) : await this.#createWithin(tx, [create]);
    const id = idOf(created!, create);
    engine?.mayTake(id, created!.buildId);
    return id;
  }

  /** In the caller's own transaction: until that commits nobody else sees them. */
  async #createWithin(tx: object, creates: readonly NewExecution[]): Promise<readonly CreatedExecution[]> {
    const { createWithin } = this.#options.store;
    if (createWithin !== undefined) return createWithin(tx, creates);
    const how = "SQLite has one writer: use runner.transaction((db, start) => ...), the option 'tx' is for PostgreSQL";
    throw new CloacinaError('TRANSACTION_UNAVAILABLE', how);
  }

  async #outcome<Out>(id: string): Promise<ExecutionOutcome<Out>> {
    this.#checkOpen();
    const { store, watch, tenant, engine } = this.#options;
    const live = engine?.has(id, tenant) ?? false;
    const record = live ? undefined : await this.#onceAvailable(() => store.execution(id));
    if (!live && record?.tenant !== tenant) throw new ExecutionNotFoundError(id);
    const ended = await watch.end(id, !live);
    return outcomeOf<Out>(id, ended, ended.outputs ?? (await this.#onceAvailable(() => store.outputs(id))));
  }

  /** The answer of the database, however long it is unavailable: the execution goes on, and its caller has nothing but this answer. */
  async #onceAvailable<T>(ask: () => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    const release = clock.hold?.();
    try {
      for (;;) {
        try {
          return await ask();
        } catch (error) {
          if (!(error instanceof StoreUnavailableError)) throw error;
        }
        await delay(clock, retryMs);
        this.#checkOpen();
      }
    } finally {
      release?.();
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new CloacinaError('RUNNER_CLOSED', 'the client is closed; open a new one');
  }
}

function idOf(created: CreatedExecution, create: NewExecution): string {
  if (!created.created && created.inputHash !== create.inputHash) {
    throw new IdempotencyConflictError(create.idempotencyKey!, created.id);
  }
  return created.id;
}

function outcomeOf<Out>(id: string, ended: EndedExecution, texts: ReadonlyMap<string, string>): ExecutionOutcome<Out> {
  const outputs = Object.fromEntries(
    Array.from(texts, ([task, text]) => [task, storedValue(text, `the output of task '${task}' of execution ${id}`)]),
  );
  const status: EndedStatus = ended.status;
  if (status === 'completed') {
    const output = storedValue(ended.output, `the output of execution ${id}`) as Out;
    return { status, executionId: id, output, outputs };
  }
  const error = storedValue(ended.error, `the error of execution ${id}`) as TaskError | null;
  return { status, executionId: id, task: ended.errorTask, error, outputs };
}
