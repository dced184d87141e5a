import type { CloacinaError } from '../../core/error.ts';
import { ExecutionNotFoundError, OptionInvalidError } from '../../core/error.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import { executionStatuses, isEnded } from '../../core/execution/states.ts';
import { storedValue, undamaged } from '../../core/json.ts';
import type { Json } from '../../core/json.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { TaskState } from '../../store/transition.ts';
import type { EventRecord, ExecutionRecord, Reads, LogRecord, Sharing } from '../../store/store.ts';
import type { Watch } from './watch.ts';

/** An execution as it is listed. Times are epoch ms. */
export interface ExecutionSummary {
  readonly id: string;
  readonly workflow: string;
  readonly package: string | null;
  readonly version: string | null;
  readonly status: ExecutionStatus;
  /** Why it is paused: `operator`, `DEFINITION_CHANGED` or `CRASH_LOOP`; else null. */
  readonly reason: string | null;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly error: TaskError | null;
  /** The execution whose task started this one and waits for it. */
  readonly parent: { readonly id: string; readonly task: string } | null;
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
  /** The queue of a task that waits for a runner which serves it; else null. */
  readonly queue: string | null;
  /** Of a map: how many items it has, and how many of them are in which state. */
  readonly items: { readonly total: number; readonly [status: string]: number } | null;
}

export interface ExecutionDetail extends ExecutionSummary {
  readonly input: Json;
  readonly output: Json;
  readonly priority: number;
  readonly tags: { readonly [name: string]: string };
  readonly runner: string | null;
  readonly schedule: { readonly name: string; readonly slot: number; readonly isCatchUp: boolean } | null;
  /** What this was forked from. */
  readonly forked: { readonly from: string; readonly task: string } | null;
  readonly tasks: readonly TaskSummary[];
}

export interface ExecutionEvent {
  readonly executionId: string;
  readonly seq: number;
  readonly type: string;
  readonly task: string | null;
  /** The place of the item in a map; else null. */
  readonly item: number | null;
  readonly attempt: number | null;
  readonly at: number;
  readonly runner: string | null;
  readonly data: Json;
}

/** A line of `ctx.log`. `at` is epoch ms. */
export interface ExecutionLog {
  readonly task: string;
  readonly item: number | null;
  readonly attempt: number;
  readonly at: number;
  readonly level: string;
  readonly message: string;
  readonly data: Json;
}

export interface ListOptions {
  readonly workflow?: string;
  readonly status?: ExecutionStatus;
  readonly since?: Date;
  /** The id of an execution: those that its tasks have started. */
  readonly parent?: string;
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

export interface ExecutionsOptions {
  readonly store: Reads & Sharing;
  readonly tenant: string;
  readonly watch: Watch;
  /** Called for a row that is left out of a list since it is damaged. */
  readonly onDamaged?: (error: CloacinaError) => void;
}

/**
 * What there is to read of the executions of one tenant. All verbs throw STORE_UNAVAILABLE where the database is away.
 * Lists leave damaged rows out, with a warning.
 */
export class Executions {
  readonly #store: Reads & Sharing;
  readonly #tenant: string;
  readonly #watch: Watch;
  readonly #onDamaged: ((error: CloacinaError) => void) | undefined;

  constructor({ store, tenant, watch, onDamaged }: ExecutionsOptions) {
    this.#store = store;
    this.#tenant = tenant;
    this.#watch = watch;
    this.#onDamaged = onDamaged;
  }

  /** Throws EXECUTION_NOT_FOUND, ROW_DAMAGED. */
  async get(id: string): Promise<ExecutionDetail> {
    const record = await this.#find(id);
    const states = await this.#store.tasks(id);
    const open = record.endedAt === null ? await this.#store.openOffers(id) : [];
    const queues = new Map(open.map(({ task, queue }) => [task, queue]));
    const items = Map.groupBy(
      states.filter(({ item }) => item !== -1),
      ({ task }) => task,
    );
    return {
      ...summary(record),
      input: storedValue(record.input, `the input of execution ${id}`),
      output: storedValue(record.output, `the output of execution ${id}`),
      priority: record.priority,
      tags: (storedValue(record.tags, `the list of tags of execution ${id}`) ?? {}) as Readonly<Record<string, string>>,
      runner: record.owner,
      schedule: record.schedule,
      forked: record.forked,
      tasks: states
        .filter(({ item }) => item === -1)
        .map((task) => taskSummary(id, task, items.get(task.task), queues.get(task.task) ?? null)),
    };
  }

  /** The newest first. Throws OPTION_INVALID. */
  async list(options: ListOptions = {}): Promise<Page<ExecutionSummary>> {
    const limit = options.limit ?? 50;
    if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
      throw new OptionInvalidError('limit', `${limit} is not a whole number from 1 to 1000`);
    }
    const { workflow = null, status = null, parent = null, after = null } = options;
    if (status !== null && !executionStatuses.includes(status)) {
      throw new OptionInvalidError('status', `'${status}' is not one of ${executionStatuses.join(', ')}`);
    }
    if (parent !== null && typeof parent !== 'string') {
      throw new OptionInvalidError('parent', 'an execution id must be a string');
    }
    const since = sinceMs(options.since);
    const filter = { tenant: this.#tenant, workflow, status, since, parent, tags: options.tags ?? {} };
    const rows = await this.#store.list({
      ...filter,
      after: after === null ? null : readCursor(after),
      limit: limit + 1,
    });
    const page = rows.slice(0, limit);
    const items = undamaged(page, summary, this.#onDamaged);
    return { items, next: rows.length > limit ? cursorOf(page.at(-1)!) : null };
  }

  /** Events of an execution after a number, in order; at most `limit` (default all). Throws EXECUTION_NOT_FOUND. */
  async events(
    id: string,
    options: { readonly after?: number; readonly limit?: number } = {},
  ): Promise<readonly ExecutionEvent[]> {
    await this.#find(id);
    const rows = await this.#store.events(id, options.after ?? 0, options.limit ?? 1_000_000);
    return undamaged(rows, eventOf, this.#onDamaged);
  }

  /**
   * Every event after a number, in order, none missed and none repeated, as they happen; ends with the execution, or
   * when the signal fires. Throws EXECUTION_NOT_FOUND.
   */
  async *watch(
    id: string,
    options: { readonly after?: number; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<ExecutionEvent, void, undefined> {
    const { signal } = options;
    const stopped = (): boolean => signal?.aborted === true;
    const fired = Promise.withResolvers<void>();
    const fire = (): void => fired.resolve();
    signal?.addEventListener('abort', fire);
    try {
      for (let seq = options.after ?? 0; !stopped();) {
        // asked for before reading: what comes meanwhile is not missed
        const next = this.#watch.nextChange();
        try {
          // read before the events: the last event is written together with the status, so that it is among them
          const ended = isEnded((await this.#find(id)).status);
          const events = await this.#store.events(id, seq, watchPage);
          for (const event of events) {
            seq = event.seq;
            yield* undamaged([event], eventOf, this.#onDamaged);
          }
          if (events.length === watchPage) continue;
          if (ended) return;
          await Promise.race([next.happened, fired.promise]);
        } finally {
          next.cancel();
        }
      }
    } finally {
      signal?.removeEventListener('abort', fire);
    }
  }

  /**
   * What the tasks of an execution logged, in the order of time; of one task where it is named. At most `limit` lines
   * (default all) after the first `skip`. Throws EXECUTION_NOT_FOUND.
   */
  async logs(
    id: string,
    options: { readonly task?: string; readonly skip?: number; readonly limit?: number } = {},
  ): Promise<readonly ExecutionLog[]> {
    await this.#find(id);
    const { task = null, skip = 0, limit = 1_000_000 } = options;
    return undamaged(await this.#store.logs(id, task, skip, limit), (line) => logOf(id, line), this.#onDamaged);
  }

  async #find(id: string): Promise<ExecutionRecord> {
    if (typeof id !== 'string') throw new OptionInvalidError('id', 'an execution id must be a string');
    const record = await this.#store.execution(id);
    if (record === undefined || record.tenant !== this.#tenant) throw new ExecutionNotFoundError(id);
    return record;
  }
}

function summary(record: ExecutionRecord): ExecutionSummary {
  const { id, workflow, pin, status, reason, createdAt, startedAt, endedAt, error, parent } = record;
  return {
    id,
    workflow,
    package: pin?.package ?? null,
    version: pin?.version ?? null,
    status,
    reason: status === 'paused' ? reason : null,
    createdAt,
    startedAt,
    endedAt,
    error: storedValue(error, `the error of execution ${id}`) as TaskError | null,
    parent: parent === null ? null : { id: parent.id, task: parent.task },
  };
}

function taskSummary(
  id: string,
  task: TaskState,
  items: readonly TaskState[] | undefined,
  queue: string | null,
): TaskSummary {
  const where = `of task '${task.task}' of execution ${id}`;
  return {
    name: task.task,
    status: task.status,
    attempt: task.attempt,
    startedAt: task.startedAt,
    endedAt: task.endedAt,
    output: storedValue(task.output, `the output ${where}`),
    error: storedValue(task.error, `the error ${where}`) as TaskError | null,
    reason: task.reason,
    queue: isIdle(task, items) ? queue : null,
    items: items === undefined ? null : itemCounts(items),
  };
}

/** Whether nothing of a task runs: an offer of it is more than help then. */
function isIdle(task: TaskState, items: readonly TaskState[] | undefined): boolean {
  return items === undefined ? task.status === 'pending' : items.every(({ status }) => status !== 'running');
}

function itemCounts(items: readonly TaskState[]): NonNullable<TaskSummary['items']> {
  const counts: Record<string, number> = {};
  for (const { status } of items) counts[status] = (counts[status] ?? 0) + 1;
  return { total: items.length, ...counts };
}

function eventOf({ executionId, seq, type, task, item, attempt, at, runner, data }: EventRecord): ExecutionEvent {
  const value = storedValue(data, `the data of event ${seq} of execution ${executionId}`);
  return { executionId, seq, type, task, item, attempt, at, runner, data: value };
}

function logOf(id: string, { task, item, attempt, n, at, level, message, data }: LogRecord): ExecutionLog {
  const value = storedValue(data, `the data of log line ${n} of task '${task}' of execution ${id}`);
  return { task, item: item === -1 ? null : item, attempt, at, level, message, data: value };
}

function sinceMs(since: Date | undefined): number | null {
  if (since === undefined) return null;
  if (since instanceof Date && !Number.isNaN(since.getTime())) return since.getTime();
  throw new OptionInvalidError('since', 'it is not a valid Date');
}

/** Where a page ends, as a text that says nothing to others. */
function cursorOf({ createdAt, id }: Pick<ExecutionRecord, 'createdAt' | 'id'>): string {
  return Buffer.from(`${createdAt} ${id}`).toString('base64url');
}

function readCursor(cursor: string): { readonly createdAt: number; readonly id: string } {
  const [, createdAt, id] = /^(\d+) (\S+)$/.exec(Buffer.from(cursor, 'base64url').toString('utf8')) ?? [];
  if (createdAt === undefined || id === undefined) {
    throw new OptionInvalidError('after', `'${cursor}' is not a valid cursor; use \`next\` of the previous page`);
  }
  return { createdAt: Number(createdAt), id };
}

/** Events read at once by whoever follows an execution. */
const watchPage = 1000;
