import { first, run } from '../script.ts';
import type { On, Script } from '../script.ts';

/** The end of a task that is written by a transaction of the task's own. */
export interface TaskEnd {
  readonly runner: string;
  readonly id: string;
  readonly epoch: number;
  readonly task: string;
  /** -1 for a task that is no map. */
  readonly item: number;
  readonly attempt: number;
  /** The number of its event. */
  readonly seq: number;
  readonly at: number;
  /** JSON text. */
  readonly output: string;
}

/** How a user's function becomes a transaction that ends its task. */
export interface TaskTransaction {
  /** The user's function; its writes go through `tx`. */
  run(tx: unknown): unknown;
  /** Resolves once the other transitions of the execution wait; rejects where the attempt is over meanwhile. */
  ready(): Promise<void>;
  /** What is written of the value that the function gave. Throws where the attempt is over. */
  end(value: unknown): TaskEnd;
  /** Rejects once the attempt is over, whatever its function still waits for. */
  readonly over: Promise<never>;
}

/** `lost`: the execution or the attempt is not this runner's any more, or the runner was declared dead. */
export type TaskEndOutcome = 'written' | 'lost';

/**
 * Writes the end of a task, last in a transaction. The fence comes first; it, the row of the execution and the attempt
 * that runs are held until the outcome, and where one of them has changed nothing is written.
 */
export function* writeTaskEnd({ dialect }: On, end: TaskEnd): Script<TaskEndOutcome> {
  const { runner, id, epoch, task, item, attempt, seq, at, output } = end;
  const self = yield* first<{ dead: number }>(`select dead from runners where id = $1${dialect.lock('share')}`, runner);
  if (self?.dead !== 0) return 'lost';
  const owned = yield* first<{ id: string }>(
    `select id from executions where id = $1 and owner = $2 and epoch = $3${dialect.lock('update')}`,
    id,
    runner,
    epoch,
  );
  if (owned === undefined) return 'lost';
  const ended = yield* run(
    `update task_executions set status = 'completed', output = $6, error = null, wake_at = null, ended_at = $7
     where execution_id = $1 and task = $2 and item = $3 and attempt = $4 and epoch = $5 and status = 'running'`,
    id,
    task,
    item,
    attempt,
    epoch,
    output,
    at,
  );
  if (ended === 0) return 'lost';
  yield* run(
    `insert into events (execution_id, seq, type, at, task, item, attempt, runner) values ($1, $2, 'task.completed', $3, $4, $5, $6, $7)`,
    id,
    seq,
    at,
    task,
    item === -1 ? null : item,
    attempt,
    runner,
  );
  return 'written';
}

/**
 * What became of an end whose answer is lost. The row of the execution is held by whatever is still under way, so this waits
 * for that; and it writes itself, since only its own commit confirms what is there to be seen.
 */
export function* taskEndOutcome({ runner, id, epoch, task, item, attempt }: TaskEnd): Script<TaskEndOutcome | 'open'> {
  const owned = yield* run(
    'update executions set inbox_seq = inbox_seq where id = $1 and owner = $2 and epoch = $3',
    id,
    runner,
    epoch,
  );
  if (owned === 0) return 'lost';
  const row = yield* first<{ status: string; attempt: number }>(
    'select status, attempt from task_executions where execution_id = $1 and task = $2 and item = $3',
    id,
    task,
    item,
  );
  return row?.status === 'completed' && row.attempt === attempt ? 'written' : 'open';
}
