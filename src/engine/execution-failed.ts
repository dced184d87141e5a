import { CloacinaError } from '../core/error.ts';
import type { TaskError } from '../core/task-error.ts';

/** An execution that failed or was cancelled, thrown by `result()` and `execute()`; the task's own error is the cause. */
export class ExecutionFailedError extends CloacinaError {
  readonly executionId: string;
  readonly status: 'failed' | 'cancelled';
  /** The task that failed it, where one did. */
  readonly task: string | null;
  readonly error: TaskError | null;
  constructor(executionId: string, status: 'failed' | 'cancelled', task: string | null, error: TaskError | null) {
    const where = task === null ? '' : ` in task '${task}'`;
    const why = error === null ? '' : `: ${error.message} (${error.code})`;
    super(
      'EXECUTION_FAILED',
      `execution ${executionId} ${status === 'failed' ? 'failed' : 'was cancelled'}${where}${why}`,
      {
        cause: error === null ? undefined : thrown(error),
      },
    );
    this.executionId = executionId;
    this.status = status;
    this.task = task;
    this.error = error;
  }
}

/** A stored error as something that can be a cause: name, message, code and stack as they were. */
function thrown(error: TaskError): Error {
  const cause = error.cause === undefined ? undefined : { cause: thrown(error.cause) };
  const made = new Error(error.message, cause);
  made.name = error.name;
  if (error.stack !== undefined) made.stack = error.stack;
  return Object.assign(made, { code: error.code });
}
