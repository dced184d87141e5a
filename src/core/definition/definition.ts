import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Duration } from '../duration.ts';
import type { Json, Jsonable } from '../json.ts';
import type { Catchup, Overlap, WorkflowSpec } from './spec.ts';
import type { TaskError } from '../task-error.ts';

declare const scope: unique symbol;
declare const shape: unique symbol;

/** A task of the workflow named S that other tasks can need; its output has type Out. */
export interface Task<S, Out> {
  readonly [scope]: S;
  readonly name: string;
  readonly output?: Out;
}

/** A need that is met when its task ends in any way; see `settled`. */
export interface SettledTask<S, Out> {
  readonly [scope]: S;
  readonly settled: true;
  readonly output?: Out;
}

export type SkipReason = 'when_false' | 'need_failed' | 'need_skipped' | 'need_cancelled' | 'fail_fast';

/** The end of a task, as a settled need receives it. */
export type Settled<O> =
  | { readonly status: 'completed'; readonly output: O }
  | { readonly status: 'failed'; readonly error: TaskError }
  | { readonly status: 'skipped'; readonly reason: SkipReason }
  | { readonly status: 'cancelled' };

type Need<S> = Task<S, unknown> | SettledTask<S, unknown>;
export type Needs<S> = { readonly [alias: string]: Need<S> };
type Value<N> = N extends SettledTask<unknown, infer O> ? Settled<O> : N extends Task<unknown, infer O> ? O : never;
type Values<N> = { readonly [K in keyof N]: Value<N[K]> };

/** The return type of a task's function: a JSON value or a promise of one. */
export type Returned<R> = R & NoInfer<R extends PromiseLike<infer O> ? PromiseLike<Jsonable<O>> : Jsonable<R>>;

/**
 * Writes the log lines of one attempt; they are stored with it. `data` may be anything: an error is stored with its name,
 * code, message, stack and causes, a Date as ISO text, and other values that are not JSON as text where they stand. At most
 * 64 KiB of JSON; more is cut, member by member.
 */
export interface Log {
  debug(message: string, data?: unknown): void;
  info(message: string, data?: unknown): void;
  warn(message: string, data?: unknown): void;
  error(message: string, data?: unknown): void;
}

/** The only argument of every function of a workflow. */
export interface Ctx<In, N = {}> {
  /** The input of the execution, as its schema parsed it. */
  readonly input: In;
  /** The outputs of the needs by alias; a settled need holds the end of its task (`Settled`). */
  readonly needs: Values<N>;
  /** Aborts on timeout, cancellation, shutdown and loss of the lease. */
  readonly signal: AbortSignal;
  readonly executionId: string;
  readonly workflow: string;
  readonly task: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** Identical for every attempt of one task execution; in a map, for every attempt of one item. */
  readonly idempotencyKey: string;
  /** The schedule and slot that started this execution; absent if no schedule did. */
  readonly schedule?: { readonly name: string; readonly slot: Date; readonly isCatchUp: boolean };
  /** The environment of the process; in a package only the granted variables. */
  readonly env: { readonly [name: string]: string | undefined };
  readonly log: Log;
  /** Runs `fn` once and remembers its JSON result for later attempts of this task execution. Resolves once durable. */
  readonly step: <R>(name: string, fn: () => Returned<R>) => Promise<Awaited<R>>;
  /**
   * `return ctx.transaction((tx) => ...)`: the writes that `run` makes through `tx` and the task's completion commit
   * together, once. The result of `run` is the task's output. PostgreSQL: `tx` is a `pg` client. SQLite: `tx` is a
   * `DatabaseSync` and `run` is synchronous. If `run` throws, nothing is written. Not available in packages: they have
   * no database.
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- `Tx` is what the function says that it takes
  readonly transaction: <R, Tx = unknown>(run: (tx: Tx) => Returned<R>) => Promise<Awaited<R>>;
  /** Reports the progress of the attempt: 0 to 1. */
  readonly progress: (done: number, text?: string) => void;
}

/** Number and timing of the attempts after a failure. */
export interface Retry {
  /** Maximum number of attempts, the first included; default 3. */
  attempts?: number;
  /** Default exponential: the delay doubles with each attempt. */
  backoff?: 'exponential' | 'linear' | 'fixed';
  /** Default 1s. */
  delay?: Duration;
  /** Default 60s. */
  maxDelay?: Duration;
  /** Random variation as a share of the delay, 0 to 1; default 0.25. */
  jitter?: number;
  /**
   * Returns true, or a promise of it, if the error is worth another attempt; default: always. If it throws or rejects,
   * there is none. The timeout of the attempt includes it.
   */
  when?: (error: unknown) => boolean | Promise<boolean>;
}

export interface NodeOptions<S, In, N extends Needs<S>> {
  needs?: N;
  /** Called once all needs are met; false skips the task. */
  when?: (ctx: Ctx<In, N>) => boolean;
  description?: string;
}

export interface WorkOptions<S, In, N extends Needs<S>> extends NodeOptions<S, In, N> {
  retry?: Retry;
  /** Per attempt (in a map, per attempt of one item); default 1h. */
  timeout?: Duration;
  /** Runs only on runners that serve this queue; default `default`. */
  queue?: string;
}

/** Options of a child task, beside its input. */
export interface ChildOptions<S, In, N extends Needs<S>> extends NodeOptions<S, In, N> {
  /** Counted from the start of the child. After it the child is cancelled and the task fails with TASK_TIMED_OUT; default: none. */
  timeout?: Duration;
}

export interface MapOptions<S, In, N extends Needs<S>, Item> extends WorkOptions<S, In, N> {
  /** Returns the items; they are persisted when the map starts. */
  over: (ctx: Ctx<In, N>) => readonly Item[];
  /** Maximum number of items that run at once; default: limited only by the slots of the runner. */
  concurrency?: number;
}

/** Options of a schedule; exactly one of `cron`, `every` and `at`. */
export interface ScheduleOptions<Given> {
  /** 5 fields, or 6 with seconds first. */
  cron?: string;
  every?: Duration;
  at?: string | Date;
  /** IANA name; default UTC. */
  timezone?: string;
  input?: Given;
  /** Default skip. */
  overlap?: Overlap;
  /** Default latest. */
  catchup?: Catchup;
  /** For catchup `all`; default 100. */
  max?: number;
  /** Slots older than this are missed; default 24h. */
  window?: Duration;
  paused?: boolean;
  jitter?: Duration;
  startAt?: string | Date;
  endAt?: string | Date;
}

/** The part of a workflow's type that child tasks, `start()` and runner options use. */
export interface WorkflowRef<Out, Given> {
  readonly [shape]?: { readonly output: Out };
  readonly name: string;
  /**
   * The type that `start()` accepts: the schema's input type, defaults optional. Tasks see the schema's output type.
   */
  readonly given?: Given;
  /** The checked definition as plain JSON. The first access freezes the workflow. Throws DEFINITION_INVALID. */
  readonly spec: WorkflowSpec;
}

/** A workflow of any input and output type. */
export type AnyWorkflow = WorkflowRef<unknown, unknown>;

type MapCtx<In, N, Item> = Ctx<In, N> & { readonly item: Item; readonly index: number };

/** A named, static graph of tasks with typed input and output. */
export interface Workflow<In, Out, S, Given = In> extends WorkflowRef<Out, Given> {
  task<R>(name: string, run: (ctx: Ctx<In>) => Returned<R>): Task<S, Awaited<R>>;
  task<R, const N extends Needs<S> = {}>(
    name: string,
    options: WorkOptions<S, In, N>,
    run: (ctx: Ctx<In, N>) => Returned<R>,
  ): Task<S, Awaited<R>>;
  /** With `settled: true` the output is one `Settled` per item, and no failed item fails the map. */
  map<Item, R, const N extends Needs<S> = {}>(
    name: string,
    options: MapOptions<S, In, N, Item> & { settled: true },
    run: (ctx: MapCtx<In, N, Item>) => Returned<R>,
  ): Task<S, Settled<Awaited<R>>[]>;
  map<Item, R, const N extends Needs<S> = {}>(
    name: string,
    options: MapOptions<S, In, N, Item>,
    run: (ctx: MapCtx<In, N, Item>) => Returned<R>,
  ): Task<S, Awaited<R>[]>;
  child<ChildGiven, ChildOut, const N extends Needs<S> = {}>(
    name: string,
    child: WorkflowRef<ChildOut, ChildGiven>,
    options: ChildOptions<S, In, N> & { input: (ctx: Ctx<In, N>) => ChildGiven },
  ): Task<S, ChildOut>;
  child<const N extends Needs<S> = {}>(
    name: string,
    child: string,
    options: ChildOptions<S, In, N> & { input: (ctx: Ctx<In, N>) => unknown },
  ): Task<S, Json>;
  wait<P = Json, const N extends Needs<S> = {}>(
    name: string,
    options: NodeOptions<S, In, N> & { signal: string; schema?: StandardSchemaV1<unknown, P>; timeout?: Duration },
  ): Task<S, P>;
  sleep<const N extends Needs<S> = {}>(
    name: string,
    options: NodeOptions<S, In, N> & ({ for: Duration } | { until: (ctx: Ctx<In, N>) => number | Date }),
  ): Task<S, null>;
  schedule(name: string, options: ScheduleOptions<Given>): void;
  /**
   * Declares the output of the execution. A plain task that is skipped fails the execution (OUTPUT_SKIPPED); a settled
   * task returns its `Settled` union.
   */
  returns<O>(task: Task<S, O>): Workflow<In, O, S, Given>;
  returns<O>(task: SettledTask<S, O>): Workflow<In, Settled<O>, S, Given>;
}

export interface WorkflowOptions<I> {
  /** Any Standard Schema; without one the input is any JSON and is optional. */
  input?: I;
  description?: string;
  /** If true, the first task that fails for good aborts running tasks and skips pending ones; default false. */
  failFast?: boolean;
  /** Maximum number of running executions over all runners; `key` is a path into the input and counts per value. */
  concurrency?: { limit: number; key?: string };
  /** Time that ended executions are kept; default 30 days. */
  retention?: Duration;
}
