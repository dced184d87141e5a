import type { StandardSchemaV1 } from '@standard-schema/spec';
import type {
  AnyWorkflow,
  Ctx,
  MapOptions,
  NodeOptions,
  ScheduleOptions,
  SettledTask,
  Task,
  Workflow,
  WorkflowOptions,
  WorkflowRef,
  WorkOptions,
} from './definition.ts';
import { durationMs, hourMs } from '../duration.ts';
import type { Duration } from '../duration.ts';
import { checkScheduleOptions, taskFault, workflowFault } from './definition-check.ts';
import { DefinitionInvalidError, OptionInvalidError } from '../error.ts';
import { compileGraph, fingerprint } from './graph.ts';
import { stringifyJson } from '../json.ts';
import type { Json } from '../json.ts';
import { record, shown } from '../option-check.ts';
import { retrySpec } from '../execution/retry.ts';
import { scheduleSpec } from '../schedule/schedule-spec.ts';
import { isName, maxNameLength } from '../text.ts';
import { inputSchema } from './schema.ts';
import type { NeedSpec, ScheduleSpec, TaskKind, TaskSpec, WorkflowSpec } from './spec.ts';

type AnyCtx = Ctx<never, never>;

/** The functions of one task with erased types; each takes a context. */
export interface TaskFunctions {
  readonly run: ((ctx: AnyCtx) => unknown) | undefined;
  readonly when: ((ctx: AnyCtx) => unknown) | undefined;
  readonly over: ((ctx: AnyCtx) => unknown) | undefined;
  readonly input: ((ctx: AnyCtx) => unknown) | undefined;
  readonly until: ((ctx: AnyCtx) => unknown) | undefined;
  readonly retryWhen: ((error: unknown) => boolean) | undefined;
  /** Validates the payload of a signal. */
  readonly schema: StandardSchemaV1 | undefined;
}

/** The functions of a workflow, which its spec only marks. */
export interface WorkflowFunctions {
  readonly input: StandardSchemaV1 | undefined;
  readonly tasks: ReadonlyMap<string, TaskFunctions>;
  /** Child workflows passed as objects, by the name of the child task. */
  readonly children: ReadonlyMap<string, AnyWorkflow>;
}

// a brand in the global symbol registry: a bundle may contain its own copy of this module
const brand = Symbol.for('cloacina.workflow');
const functionsKey = Symbol.for('cloacina.workflow.functions');

const defaultTimeoutMs = hourMs;

type Options = Partial<
  NodeOptions<string, never, {}> & WorkOptions<string, never, {}> & MapOptions<string, never, {}, unknown>
> & {
  settled?: boolean;
  input?: (ctx: AnyCtx) => unknown;
  signal?: string;
  schema?: StandardSchemaV1;
  for?: Duration;
  until?: (ctx: AnyCtx) => unknown;
};

class Definition {
  readonly [brand] = true;
  readonly name: string;
  readonly #options: WorkflowOptions<StandardSchemaV1>;
  readonly #tasks = new Map<string, TaskSpec>();
  readonly #nodes = new Map<object, string>();
  readonly #functions = new Map<string, TaskFunctions>();
  readonly #children = new Map<string, AnyWorkflow>();
  readonly #schedules = new Map<string, ScheduleOptions<unknown>>();
  #output: { readonly task: string; readonly settled: boolean } | null = null;
  #spec: WorkflowSpec | undefined;

  constructor(name: string, options: WorkflowOptions<StandardSchemaV1>) {
    if (typeof name !== 'string' || !/^[A-Za-z0-9_][\w.-]*$/.test(name) || name.length > maxNameLength) {
      const rule = `a name has 1 to ${maxNameLength} letters, digits, '_', '-' or '.'`;
      throw new DefinitionInvalidError(typeof name === 'string' ? name : shown(name), rule);
    }
    this.name = name;
    const fault = workflowFault(options);
    if (fault !== null) this.#refuse(fault);
    this.#options = options;
    const limit = options.concurrency?.limit;
    if (limit !== undefined && !isCount(limit))
      this.#refuse(`concurrency.limit must be a whole number of at least 1, not ${limit}`);
  }

  task(name: string, ...rest: [TaskFunctions['run']] | [Options, TaskFunctions['run']]): object {
    const [options, run] = rest.length === 2 ? rest : [{}, rest[0]];
    return this.#add(name, 'task', options, { run });
  }

  map(name: string, options: Options, run: TaskFunctions['run']): object {
    this.#checkOptions('map', name, options);
    if (options.over === undefined) this.#refuse(`map '${name}' has no function 'over'`);
    const concurrency = options.concurrency ?? null;
    if (concurrency !== null && !isCount(concurrency)) {
      this.#refuse(`concurrency of map '${name}' must be a whole number of at least 1, not ${concurrency}`);
    }
    const map = { concurrency, settled: options.settled === true };
    return this.#add(name, 'map', options, { run, over: options.over }, { map });
  }

  child(name: string, child: string | AnyWorkflow, options: Options): object {
    this.#checkOptions('child', name, options);
    if (options.input === undefined) return this.#refuse(`child '${name}' has no function 'input'`);
    if (typeof child !== 'string' && !isWorkflow(child)) {
      return this.#refuse(`child '${name}' needs a workflow or its name, not ${shown(child)}`);
    }
    const workflow = typeof child === 'string' ? child : child.name;
    const task = this.#add(name, 'child', options, { input: orEmpty(options.input) }, { child: { workflow } });
    if (typeof child !== 'string') this.#children.set(name, child);
    return task;
  }

  wait(name: string, options: Options): object {
    this.#checkOptions('wait', name, options);
    const { signal, schema, timeout } = options;
    if (typeof signal !== 'string' || signal === '') return this.#refuse(`wait '${name}' names no signal`);
    this.#checkName('signal', signal);
    const timeoutMs = timeout === undefined ? null : durationMs(timeout, `${this.name}.${name}.timeout`);
    const wait = { signal, schema: schema === undefined ? null : inputSchema(schema), timeout: timeoutMs };
    return this.#add(name, 'wait', options, { schema }, { wait });
  }

  sleep(name: string, options: Options): object {
    this.#checkOptions('sleep', name, options);
    if (options.for !== undefined) {
      return this.#add(
        name,
        'sleep',
        options,
        {},
        { sleep: { for: durationMs(options.for, `${this.name}.${name}.for`) } },
      );
    }
    if (options.until === undefined) this.#refuse(`sleep '${name}' has neither 'for' nor a function 'until'`);
    return this.#add(name, 'sleep', options, { until: options.until }, { sleep: { until: true } });
  }

  schedule(name: string, options: ScheduleOptions<unknown>): void {
    this.#open();
    this.#checkName('schedule', name);
    checkScheduleOptions(this.name, name, options);
    if (this.#schedules.has(name)) this.#refuse(`there are two schedules named '${name}'`);
    this.#schedules.set(name, options);
  }

  returns(task: Task<unknown, unknown> | SettledTask<unknown, unknown>): this {
    const settledNeed = settledOf.get(task);
    const name = this.#nodes.get(settledNeed ?? task);
    if (name === undefined) this.#refuse('it returns a task of another workflow');
    const output = { task: name, settled: settledNeed !== undefined };
    const same = this.#output?.task === output.task && this.#output.settled === output.settled;
    if (this.#output !== null && !same) this.#refuse(`it returns both '${this.#output.task}' and '${name}'`);
    this.#open();
    this.#output = output;
    return this;
  }

  get spec(): WorkflowSpec {
    this.#spec ??= this.#freeze();
    return this.#spec;
  }

  get [functionsKey](): WorkflowFunctions {
    return { input: this.#options.input, tasks: this.#functions, children: this.#children };
  }

  #add(
    name: string,
    kind: TaskKind,
    options: Options,
    functions: Partial<TaskFunctions>,
    own: Partial<TaskSpec> = {},
  ): object {
    this.#open();
    this.#checkName('task', name);
    this.#checkOptions(kind, name, options);
    if (this.#tasks.has(name)) this.#refuse(`there are two tasks named '${name}'`);
    const works = kind === 'task' || kind === 'map';
    if (works && typeof functions.run !== 'function') this.#refuse(`task '${name}' has no function`);
    const place = `${this.name}.${name}`;
    this.#tasks.set(name, {
      name,
      kind,
      description: options.description ?? null,
      needs: this.#needs(name, options.needs ?? {}),
      when: options.when !== undefined,
      timeout: works ? durationMs(options.timeout ?? defaultTimeoutMs, `${place}.timeout`) : null,
      queue: works ? (options.queue ?? null) : null,
      retry: works ? retrySpec(options.retry, `${place}.retry`) : null,
      map: null,
      child: null,
      sleep: null,
      wait: null,
      ...own,
    });
    const none = { run: undefined, over: undefined, input: undefined, until: undefined, schema: undefined };
    this.#functions.set(name, { ...none, when: options.when, retryWhen: options.retry?.when, ...functions });
    const node = Object.freeze({ name });
    this.#nodes.set(node, name);
    return node;
  }

  #needs(task: string, needs: Readonly<Record<string, object>>): Record<string, NeedSpec> {
    const entries = Object.entries(needs).map(([alias, need]) => {
      const settledNeed = settledOf.get(need);
      const name = this.#nodes.get(settledNeed ?? need);
      if (name === undefined) {
        const other = (settledNeed ?? need) as { name?: string } | undefined;
        this.#refuse(
          `task '${task}' needs '${other?.name ?? alias}' (as '${alias}'), which is not a task of this workflow`,
        );
      }
      this.#checkName('need', alias);
      return [alias, { task: name, settled: settledNeed !== undefined }] as const;
    });
    return Object.fromEntries(entries);
  }

  #freeze(): WorkflowSpec {
    const tasks = [...this.#tasks.values()];
    if (tasks.length === 0) this.#refuse('it has no task');
    const { description, failFast, concurrency, retention, input } = this.#options;
    const spec: WorkflowSpec = {
      name: this.name,
      description: description ?? null,
      input: input === undefined ? null : inputSchema(input),
      output: this.#output,
      failFast: failFast ?? false,
      concurrency: concurrency === undefined ? null : { limit: concurrency.limit, key: concurrency.key ?? null },
      retention: retention === undefined ? null : durationMs(retention, `${this.name}.retention`),
      fingerprint: fingerprint(tasks),
      tasks,
      schedules: [...this.#schedules].map(([name, options]) => this.#scheduleSpec(name, options)),
    };
    compileGraph(spec);
    return Object.freeze(spec);
  }

  #scheduleSpec(name: string, options: ScheduleOptions<unknown>): ScheduleSpec {
    const input = JSON.parse(
      stringifyJson(options.input === undefined ? {} : options.input, `schedule '${name}'.input`),
    ) as Json;
    return scheduleSpec(this.name, name, options, input);
  }

  #checkName(what: string, name: string): void {
    if (isName(name)) return;
    const rule = `a name of 1 to ${maxNameLength} characters without control characters and invisible ones`;
    this.#refuse(`a ${what} needs ${rule}, not ${JSON.stringify(name)}`);
  }

  #checkOptions(kind: TaskKind, name: string, options: unknown): void {
    const fault = taskFault(kind, name, options);
    if (fault !== null) this.#refuse(fault);
  }

  #open(): void {
    if (this.#spec !== undefined) this.#refuse('it is in use, so its definition can no longer change');
  }

  #refuse(message: string): never {
    throw new DefinitionInvalidError(this.name, message);
  }
}

/** Absent input becomes {}, while null stays null; JSON alone could not distinguish them. */
function orEmpty(input: (ctx: AnyCtx) => unknown): (ctx: AnyCtx) => Promise<unknown> {
  return async (ctx) => {
    const given: unknown = await input(ctx);
    return given === undefined ? {} : given;
  };
}

function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 1;
}

const settledOf = new WeakMap<object, object>();

/**
 * Defines a workflow. Without a schema the input is any JSON and is optional. Throws DEFINITION_INVALID for an invalid
 * name.
 */
export function workflow<const Name extends string>(
  name: Name,
  options?: WorkflowOptions<never>,
): Workflow<Json, null, Name, unknown>;
export function workflow<const Name extends string, I extends StandardSchemaV1>(
  name: Name,
  options: WorkflowOptions<I> & { input: I },
): Workflow<StandardSchemaV1.InferOutput<I>, null, Name, StandardSchemaV1.InferInput<I>>;
export function workflow(name: string, options: WorkflowOptions<StandardSchemaV1> = {}): unknown {
  return new Definition(name, options);
}

/** Turns a task into a need that is met when the task ends in any way; its value is a `Settled`. */
export function settled<S, O>(task: Task<S, O>): SettledTask<S, O> {
  if (!record.fits(task)) throw new OptionInvalidError('task', `settled() takes a task, not ${shown(task)}`);
  const need = Object.freeze({ name: task.name, settled: true });
  settledOf.set(need, task);
  return need as unknown as SettledTask<S, O>;
}

/** Types the input without validating it: `input: unchecked<Order>()`. */
export function unchecked<T>(): StandardSchemaV1<T, T> {
  return { '~standard': { version: 1, vendor: 'cloacina', validate: (value) => ({ value: value as T }) } };
}

export function isWorkflow(value: unknown): value is AnyWorkflow {
  return typeof value === 'object' && value !== null && Reflect.get(value, brand) === true;
}

export function functionsOf(definition: WorkflowRef<unknown, unknown>): WorkflowFunctions {
  return Reflect.get(definition, functionsKey) as WorkflowFunctions;
}
