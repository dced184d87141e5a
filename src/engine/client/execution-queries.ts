import { ExecutionNotFoundError, OptionInvalidError } from '../../core/error.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import { executionStatuses, isEnded } from '../../core/execution/states.ts';
import { parseJson } from '../../core/json.ts';
import type { Json } from '../../core/json.ts';
import { anything, checkOptions, date, record as object, shown, text, wholeNumber } from '../../core/option-check.ts';
import type { Kind, Kinds } from '../../core/option-check.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { TaskState } from '../../store/transition.ts';
import type { EventRecord, ExecutionFilter, ExecutionRecord, Reads, LogRecord, Sharing } from '../../store/store.ts';
import { checkId } from './execution-commands.ts';
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
  /** `name` of any, `package/name`, or `embedded/name`. */
  readonly workflow?: string;
  readonly status?: ExecutionStatus;
  /** Created at this time or later. */
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

/** Positions are event numbers: after number 0 come all. */
export interface EventsOptions {
  /** Default 0. */
  readonly after?: number;
  /** Default all. */
  readonly limit?: number;
}

export interface WatchOptions {
  /** The number of an event, after which it begins; default 0. */
  readonly after?: number;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

export interface LogsOptions {
  /** Default all tasks. */
  readonly task?: string;
  /** The number of lines to leave out first; default 0. */
  readonly skip?: number;
  /** Default all. */
  readonly limit?: number;
}

const listKinds: Kinds<ListOptions> = {
  workflow: text,
  status: anything,
  since: date,
  parent: text,
  tags: object,
  limit: wholeNumber(1, 1000),
  after: text,
};
const eventsKinds: Kinds<EventsOptions> = { after: wholeNumber(0), limit: wholeNumber(1) };
const abortSignal: Kind = {
  what: 'an AbortSignal',
  fits: (value) => typeof value === 'object' && value !== null && 'aborted' in value && 'addEventListener' in value,
};
const watchKinds: Kinds<WatchOptions> = { after: wholeNumber(0), signal: abortSignal };
const logsKinds: Kinds<LogsOptions> = { task: text, skip: wholeNumber(0), limit: wholeNumber(1) };

export interface Page<T> {
  readonly items: readonly T[];
  /** Where the next page begins; null on the last. */
  readonly next: string | null;
}

/** What there is to read of the executions of one tenant. All verbs throw STORE_UNAVAILABLE where the database is away. */
export class Executions {
  readonly #store: Reads & Sharing;
  readonly #tenant: string;

  readonly #watch: Watch;

  constructor(store: Reads & Sharing, tenant: string, watch: Watch) {
    this.#store = store;
    this.#tenant = tenant;
    this.#watch = watch;
  }

  /** Throws EXECUTION_NOT_FOUND. */
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
      input: parseJson(record.input),
      output: parseJson(record.output),
      priority: record.priority,
      tags: (parseJson(record.tags) ?? {}) as Readonly<Record<string, string>>,
      runner: record.owner,
      schedule: record.schedule,
      forked: record.forked,
      tasks: states
        .filter(({ item }) => item === -1)
        .map((task) => taskSummary(task, items.get(task.task), queues.get(task.task) ?? null)),
    };
  }

  /** The newest first. Throws OPTION_INVALID. */
  async list(options: ListOptions = {}): Promise<Page<ExecutionSummary>> {
    checkOptions(options, listKinds);
    const { status, parent = null, after, limit = 50, tags = {} } = options;
    if (status !== undefined && !executionStatuses.includes(status)) {
      throw new OptionInvalidError('status', `${shown(status)} is not one of ${executionStatuses.join(', ')}`);
    }
    const unfit = Object.entries(tags).find(([, value]) => typeof value !== 'string');
    if (unfit !== undefined) throw new OptionInvalidError('tags', `'${unfit[0]}' is not a string`);
    const since = options.since?.getTime() ?? null;
    const rows = await this.#store.list({
      tenant: this.#tenant,
      ...workflowFilter(options.workflow),
      status: status ?? null,
      since,
      parent,
      tags,
      after: after === undefined ? null : readCursor(after),
      limit: limit + 1,
    });
    const items = rows.slice(0, limit).map(summary);
    return { items, next: rows.length > limit ? cursorOf(items.at(-1)!) : null };
  }

  /**
   * Events of an execution after a number, in order; at most `limit` (default all). Throws EXECUTION_NOT_FOUND,
   * OPTION_INVALID.
   */
  async events(id: string, options: EventsOptions = {}): Promise<readonly ExecutionEvent[]> {
    checkOptions(options, eventsKinds);
    await this.#find(id);
    const { after = 0, limit } = options;
    if (limit !== undefined) return (await this.#store.events(id, after, limit)).map(eventOf);
    const events = await allPages<EventRecord>((last) => this.#store.events(id, last?.seq ?? after, readPage));
    return events.map(eventOf);
  }

  /**
   * Every event after a number, in order, none missed and none repeated, as they happen; ends with the execution, or
   * when the signal fires. Throws EXECUTION_NOT_FOUND, OPTION_INVALID.
   */
  async *watch(id: string, options: WatchOptions = {}): AsyncGenerator<ExecutionEvent, void, undefined> {
    checkOptions(options, watchKinds);
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
            yield eventOf(event);
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
   * (default all) after the first `skip`. Throws EXECUTION_NOT_FOUND, OPTION_INVALID.
   */
  async logs(id: string, options: LogsOptions = {}): Promise<readonly ExecutionLog[]> {
    checkOptions(options, logsKinds);
    await this.#find(id);
    const { task = null, skip = 0, limit } = options;
    if (limit !== undefined) return (await this.#store.logs(id, task, skip, limit)).map(logOf);
    const lines = await allPages<LogRecord>((last) => this.#store.logPage(id, task, last ?? null, readPage));
    // the pages are in the order of the lines' keys, which stays among lines of the same time
    return lines
      .toSorted((a, b) => a.at - b.at)
      .slice(skip)
      .map(logOf);
  }

  async #find(id: string): Promise<ExecutionRecord> {
    checkId(id);
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
    error: parseJson(error) as TaskError | null,
    parent: parent === null ? null : { id: parent.id, task: parent.task },
  };
}

function taskSummary(task: TaskState, items: readonly TaskState[] | undefined, queue: string | null): TaskSummary {
  return {
    name: task.task,
    status: task.status,
    attempt: task.attempt,
    startedAt: task.startedAt,
    endedAt: task.endedAt,
    output: parseJson(task.output),
    error: parseJson(task.error) as TaskError | null,
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
  return { executionId, seq, type, task, item, attempt, at, runner, data: parseJson(data) };
}

function logOf({ task, item, attempt, at, level, message, data }: LogRecord): ExecutionLog {
  return { task, item: item === -1 ? null : item, attempt, at, level, message, data: parseJson(data) };
}

/** The names by which a workflow is started; see `resolveWorkflow`. */
function workflowFilter(given: string | undefined): Pick<ExecutionFilter, 'workflow' | 'package'> {
  if (given === undefined) return { workflow: null, package: undefined };
  const slash = given.lastIndexOf('/');
  const workflow = given.slice(slash + 1);
  if (slash === -1) return { workflow, package: undefined };
  const owner = given.slice(0, slash);
  return { workflow, package: owner === 'embedded' ? null : owner };
}

/** Where a page ends, as a text that says nothing to others. */
function cursorOf({ createdAt, id }: ExecutionSummary): string {
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
/** Events or lines read at once where all of them are wanted. */
const readPage = 10_000;

/** All rows of a question that is asked page by page. */
async function allPages<Row>(ask: (last: Row | undefined) => Promise<readonly Row[]>): Promise<Row[]> {
  const rows: Row[] = [];
  for (;;) {
    const page = await ask(rows.at(-1));
    for (const row of page) rows.push(row);
    if (page.length < readPage) return rows;
  }
}
