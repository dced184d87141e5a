import { acrossCopies } from '../../core/process/copies.ts';
import { CloacinaError } from '../../core/error.ts';
import { reviveError } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';

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
        cause: error === null ? undefined : reviveError(error),
      },
    );
    this.executionId = executionId;
    this.status = status;
    this.task = task;
    this.error = error;
  }
}

acrossCopies({ ExecutionFailedError });
