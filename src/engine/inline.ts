import type { Log } from '../core/definition/definition.ts';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { durationMs } from '../core/duration.ts';
import { CloacinaError, NonRetryableError, NotSerializableError, RetryAfterError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import { parseJson, storedValue, stringifyJson } from '../core/json.ts';
import type { Json } from '../core/json.ts';
import { issuesOf } from '../core/definition/schema.ts';
import { toTaskError } from '../core/task-error.ts';
import { checkText, cleanText } from '../core/text.ts';
import { functionsOf } from '../core/definition/workflow.ts';
import type { TaskFunctions } from '../core/definition/workflow.ts';
import type { AnyWorkflow } from '../core/definition/definition.ts';
import type { InputOutcome, Outcome, Question, TaskCall, TaskHost, WorkflowCode } from './workflow-code.ts';
import { mapItemsText } from './execution/map-items.ts';

export interface InlineOptions {
  /** The content of `ctx.env`; default the environment of the process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Runs the functions of a workflow in this process. The guest of an isolate uses it for a package's functions. */
export function inlineCode(workflow: AnyWorkflow, options: InlineOptions = {}): WorkflowCode {
  const { input: schema, tasks } = functionsOf(workflow);
  const env = options.env ?? process.env;

  const call = async (
    functions: TaskFunctions | undefined,
    name: 'run' | Question,
    task: TaskCall,
    host: TaskHost,
  ): Promise<Outcome> => {
    const context = new TaskContext(task, host, env);
    try {
      const value: unknown = await functions?.[name]?.(context as never);
      const answer =
        name === 'when' ? Boolean(value) : value instanceof Date && name === 'until' ? value.getTime() : value;
      const what = name === 'run' ? `output of ${task.task}` : `${name} of ${task.task}`;
      const isMap = name === 'over';
      const output = isMap ? mapItemsText(answer, task.task) : stringifyJson(answer, what, task.maxPayload);
      return { status: 'completed', output };
    } catch (thrown) {
      return failure(thrown, functions);
    } finally {
      context.end();
    }
  };

  return {
    run: (task, host) => call(tasks.get(task.task), 'run', task, host),
    ask: async (question, task) => {
      const outcome = await call(tasks.get(task.task), question, task, silentHost);
      return outcome.status === 'failed' ? { ...outcome, retryable: false, retryAfter: null } : outcome;
    },
    parseInput: (text, maxPayload) => parse(schema, text, 'input', maxPayload),
    parseSignal: (task, text, maxPayload) => parse(tasks.get(task)?.schema, text, `signal of ${task}`, maxPayload),
    abandon: () => undefined,
  };
}

async function parse(
  schema: StandardSchemaV1 | undefined,
  text: string,
  what: string,
  maxPayload: number,
): Promise<InputOutcome> {
  if (schema === undefined) return { status: 'valid', input: text };
  try {
    return judged(await schema['~standard'].validate(parseJson(text)), what, maxPayload);
  } catch (thrown) {
    return unfit(thrown, what);
  }
}

/** Parses an input synchronously; null if the schema is asynchronous. */
export function parseInputNow(workflow: AnyWorkflow, text: string, maxPayload: number): InputOutcome | null {
  const { input: schema } = functionsOf(workflow);
  if (schema === undefined) return { status: 'valid', input: text };
  try {
    const result = schema['~standard'].validate(parseJson(text));
    return result instanceof Promise ? null : judged(result, 'input', maxPayload);
  } catch (thrown) {
    return unfit(thrown, 'input');
  }
}

function judged(result: StandardSchemaV1.Result<unknown>, what: string, maxPayload: number): InputOutcome {
  if (result.issues !== undefined) return { status: 'invalid', issues: issuesOf(result.issues) };
  return { status: 'valid', input: stringifyJson(result.value, what, maxPayload) };
}

function unfit(thrown: unknown, what: string): InputOutcome {
  // the result of a transform is no JSON: the path is within the value
  const path = thrown instanceof NotSerializableError ? thrown.path.slice(what.length).replace(/^\./, '') : '';
  return { status: 'invalid', issues: [{ path, message: toTaskError(thrown).message }] };
}

function failure(thrown: unknown, functions: TaskFunctions | undefined): Outcome {
  try {
    const retryAfter = thrown instanceof RetryAfterError ? durationMs(thrown.delay, 'RetryAfterError.delay') : null;
    return { status: 'failed', error: toTaskError(thrown), retryable: isRetryable(thrown, functions), retryAfter };
  } catch (malformed) {
    return { status: 'failed', error: toTaskError(malformed), retryable: true, retryAfter: null };
  }
}

function isRetryable(thrown: unknown, functions: TaskFunctions | undefined): boolean {
  if (thrown instanceof NonRetryableError) return false;
  // an invalid return value would probably be returned again, and its side effects repeated
  if (thrown instanceof CloacinaError && useless.has(thrown.code)) return false;
  if (functions?.retryWhen === undefined) return true;
  try {
    return functions.retryWhen(thrown);
  } catch {
    return false; // the error of the attempt is reported; a policy that throws does not prolong the task
  }
}

/** Errors that recur with every attempt. */
const useless: ReadonlySet<ErrorCode> = new Set([
  'NOT_SERIALIZABLE',
  'PAYLOAD_TOO_LARGE',
  'TRANSACTION_ASYNC',
  'TRANSACTION_ENDED',
  'TRANSACTION_UNAVAILABLE',
]);

/** A question runs no task: it has nothing to abort, to remember or to log. */
const silentHost: TaskHost = {
  signal: new AbortController().signal,
  stepResult: () => Promise.reject(new Error('ctx.step is available only in the function of a task')),
  saveStep: () => Promise.reject(new Error('ctx.step is available only in the function of a task')),
  transaction: () => Promise.reject(new Error('ctx.transaction is available only in the function of a task')),
  log: () => undefined,
  progress: () => undefined,
};

/** `ctx`: its values are parsed on access, a copy for each attempt. Its functions can be destructured. */
class TaskContext {
  readonly executionId: string;
  readonly workflow: string;
  readonly task: string;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly #call: TaskCall;
  readonly #host: TaskHost;
  #input: Json | undefined;
  #needs: Record<string, Json> | undefined;
  #item: { readonly value: Json } | undefined;
  #steps: Set<string> | undefined;
  #ended = false;

  constructor(call: TaskCall, host: TaskHost, env: Readonly<Record<string, string | undefined>>) {
    this.#call = call;
    this.#host = host;
    this.env = env;
    this.executionId = call.executionId;
    this.workflow = call.workflow;
    this.task = call.task;
    this.attempt = call.attempt;
    this.idempotencyKey = call.idempotencyKey;
  }

  get input(): Json {
    return (this.#input ??= storedValue(this.#call.input, `the input of execution ${this.executionId}`));
  }

  get needs(): Record<string, Json> {
    if (this.#needs === undefined) {
      this.#needs = {};
      for (const [alias, value] of this.#call.needs) {
        this.#needs[alias] = storedValue(
          value,
          `the need '${alias}' of task '${this.task}' of execution ${this.executionId}`,
        );
      }
    }
    return this.#needs;
  }

  get item(): Json {
    const what = (): string => `an item of map '${this.task}' of execution ${this.executionId}`;
    this.#item ??= { value: storedValue(this.#call.itemValue, what()) };
    return this.#item.value;
  }

  get index(): number | null {
    return this.#call.item;
  }

  get signal(): AbortSignal {
    return this.#host.signal;
  }

  get schedule(): { name: string; slot: Date; isCatchUp: boolean } | undefined {
    const { schedule } = this.#call;
    return schedule === null ? undefined : { ...schedule, slot: new Date(schedule.slot) };
  }

  get log(): Log {
    const write = (level: 'debug' | 'info' | 'warn' | 'error') => (message: string, data?: unknown) => {
      if (!this.#ended) this.#host.log(level, message, data === undefined ? null : logData(data));
    };
    return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  }

  get progress(): (done: number, text?: string) => void {
    return (done, text) => {
      if (!this.#ended) this.#host.progress(done, text ?? null);
    };
  }

  get step(): (name: string, fn: () => unknown) => Promise<unknown> {
    return (name, fn) => this.#step(name, fn);
  }

  get transaction(): (run: (tx: unknown) => unknown) => Promise<unknown> {
    return (run) => this.#transaction(run);
  }

  /** Disables all writes of functions that the attempt left running. */
  end(): void {
    this.#ended = true;
  }

  async #transaction(run: (tx: unknown) => unknown): Promise<unknown> {
    if (this.#ended) throw new Error('ctx.transaction: the attempt has ended');
    if (this.#host.transaction === undefined) {
      const why = 'a task of a package runs in a separate process without a database';
      throw new CloacinaError('TRANSACTION_UNAVAILABLE', `ctx.transaction: ${why}; use it in embedded workflows`);
    }
    const text = (value: unknown): string => stringifyJson(value, `output of ${this.task}`, this.#call.maxPayload);
    return parseJson(await this.#host.transaction(run, text));
  }

  async #step(name: string, fn: () => unknown): Promise<unknown> {
    if (this.#ended) throw new Error(`step '${name}': the attempt has ended`);
    checkText('the name of a step', name);
    this.#steps ??= new Set();
    if (this.#steps.has(name)) {
      // the second would be given the result of the first
      throw new Error(`step '${name}' was already used in this attempt; each step of a task needs its own name`);
    }
    this.#steps.add(name);
    try {
      const saved = await this.#host.stepResult(name);
      if (saved !== undefined) {
        return storedValue(saved, `the step '${name}' of task '${this.task}' of execution ${this.executionId}`);
      }
      const text = stringifyJson(await fn(), `step '${name}' of ${this.task}`, this.#call.maxPayload);
      await this.#host.saveStep(name, text);
      return parseJson(text);
    } catch (error) {
      this.#steps.delete(name); // a failed step may be repeated
      throw error;
    }
  }
}

function logData(data: unknown): string {
  try {
    return stringifyJson(data, 'data', maxLogBytes);
  } catch (error) {
    return JSON.stringify(error instanceof Error ? cleanText(error.message, maxLogFault) : 'not JSON');
  }
}

/** Maximum size of a log line's data as JSON, bytes, and maximum length of its replacement text, characters. */
export const maxLogBytes = 65_536;
const maxLogFault = 1000;
