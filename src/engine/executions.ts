import { ExecutionNotFoundError, OptionInvalidError } from '../core/error.ts';
import type { ExecutionStatus } from '../core/execution.ts';
import { executionStatuses } from '../core/execution.ts';
import { parseJson } from '../core/json.ts';
import type { Json } from '../core/json.ts';
import type { TaskError } from '../core/task-error.ts';
import type { EventRecord, ExecutionRecord, Store } from '../store/store.ts';

/** An execution as it is listed. Times are epoch ms. */
export interface ExecutionSummary {
  readonly id: string;
  readonly workflow: string;
  readonly package: string | null;
  readonly version: string | null;
  readonly status: ExecutionStatus;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly error: TaskError | null;
}

export interface TaskSummary {
  readonly name: string;
  readonly status: string;
  readonly attempt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly output: Json;
  readonly error: TaskError | null;
  readonly reason: string | null;
}

export interface ExecutionDetail extends ExecutionSummary {
  readonly input: Json;
  readonly output: Json;
  readonly priority: number;
  readonly tags: { readonly [name: string]: string };
  readonly runner: string | null;
  readonly schedule: { readonly name: string; readonly slot: number; readonly isCatchUp: boolean } | null;
  readonly tasks: readonly TaskSummary[];
}

export interface ExecutionEvent {
  readonly executionId: string;
  readonly seq: number;
  readonly type: string;
  readonly task: string | null;
  readonly attempt: number | null;
  readonly at: number;
  readonly runner: string | null;
  readonly data: Json;
}

export interface ListOptions {
  readonly workflow?: string;
  readonly status?: ExecutionStatus;
  readonly since?: Date;
  /** Those that have all of these tags with these values. */
  readonly tags?: Readonly<Record<string, string>>;
  /** 1 to 1000; default 50. */
  readonly limit?: number;
  /** `next` of the page before. */
  readonly after?: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Where the next page begins; null on the last. */
  readonly next: string | null;
}

/** What there is to read of the executions of one tenant. All verbs throw STORE_UNAVAILABLE where the database is away. */
export class Executions {
  readonly #store: Store;
  readonly #tenant: string;

  constructor(store: Store, tenant: string) {
    this.#store = store;
    this.#tenant = tenant;
  }

  /** Throws EXECUTION_NOT_FOUND. */
  async get(id: string): Promise<ExecutionDetail> {
    const record = await this.#find(id);
    const tasks = (await this.#store.tasks(id)).filter((task) => task.item === -1);
    return {
      ...summary(record),
      input: parseJson(record.input),
      output: parseJson(record.output),
      priority: record.priority,
      tags: (parseJson(record.tags) ?? {}) as Readonly<Record<string, string>>,
      runner: record.owner,
      schedule: record.schedule,
      tasks: tasks.map((task) => ({
        name: task.task,
        status: task.status,
        attempt: task.attempt,
        startedAt: task.startedAt,
        endedAt: task.endedAt,
        output: parseJson(task.output),
        error: parseJson(task.error) as TaskError | null,
        reason: task.reason,
      })),
    };
  }

  /** The newest first. Throws OPTION_INVALID. */
  async list(options: ListOptions = {}): Promise<Page<ExecutionSummary>> {
    const limit = options.limit ?? 50;
    if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
      throw new OptionInvalidError('limit', `${limit} is not a whole number from 1 to 1000`);
    }
    const { workflow = null, status = null, after = null } = options;
    if (status !== null && !executionStatuses.includes(status)) {
      throw new OptionInvalidError('status', `'${status}' is not one of ${executionStatuses.join(', ')}`);
    }
    const since = options.since?.getTime() ?? null;
    const filter = { tenant: this.#tenant, workflow, status, since, tags: options.tags ?? {}, after };
    const rows = await this.#store.list({ ...filter, limit: limit + 1 });
    const items = rows.slice(0, limit).map(summary);
    return { items, next: rows.length > limit ? items.at(-1)!.id : null };
  }

  /** Events of an execution after a number, in order; at most `limit` (default all). Throws EXECUTION_NOT_FOUND. */
  async events(
    id: string,
    options: { readonly after?: number; readonly limit?: number } = {},
  ): Promise<readonly ExecutionEvent[]> {
    await this.#find(id);
    return (await this.#store.events(id, options.after ?? 0, options.limit ?? 1_000_000)).map(eventOf);
  }

  async #find(id: string): Promise<ExecutionRecord> {
    const record = await this.#store.execution(id);
    if (record === undefined || record.tenant !== this.#tenant) throw new ExecutionNotFoundError(id);
    return record;
  }
}

function summary(record: ExecutionRecord): ExecutionSummary {
  const { id, workflow, pin, status, createdAt, startedAt, endedAt, error } = record;
  return {
    id,
    workflow,
    package: pin?.package ?? null,
    version: pin?.version ?? null,
    status,
    createdAt,
    startedAt,
    endedAt,
    error: parseJson(error) as TaskError | null,
  };
}

function eventOf({ executionId, seq, type, task, attempt, at, runner, data }: EventRecord): ExecutionEvent {
  return { executionId, seq, type, task, attempt, at, runner, data: parseJson(data) };
}
