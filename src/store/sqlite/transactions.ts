import type { NewExecution } from '../transition.ts';
import { createExecutions } from '../executions/create.ts';
import type { CreatedExecution } from '../executions/create.ts';
import { transactionEnded } from '../revocable.ts';
import { synchronous } from './transaction-sync.ts';
import type { SqliteDriver } from './driver.ts';
import type { Store, SyncTransaction } from '../store.ts';
import { writeTaskEnd } from '../commit/task-end.ts';
import type { TaskEnd, TaskEndOutcome, TaskTransaction } from '../commit/task-end.ts';

/** The SQLite-only part of a store: users' functions run on our own connection. */
export function sqliteTransactions(driver: SqliteDriver): Pick<Store, 'transactionSync' | 'transactTask'> {
  return { transactionSync: (act) => transactionSync(driver, act), transactTask: (task) => transactTask(driver, task) };
}

/** A failed partial write rolls back the transaction, even if the function ignores the error. */
async function transactionSync<T>(driver: SqliteDriver, act: (turn: SyncTransaction) => T): Promise<T> {
  return driver.transactionSync((db) => {
    let failed: { readonly error: unknown } | undefined;
    let over = false;
    const create = (one: NewExecution): CreatedExecution => {
      if (over) throw transactionEnded('an execution was started after its end');
      try {
        return driver.drive(createExecutions(driver, [one]))[0]!;
      } catch (error) {
        failed = { error: driver.refusalOf(error) };
        throw failed.error;
      }
    };
    try {
      const value = synchronous(act({ db, create }));
      if (failed !== undefined) throw failed.error;
      return value;
    } finally {
      over = true;
    }
  });
}

/** Runs the function and ends its task with the result in one turn: no other work happens between the two. */
async function transactTask(driver: SqliteDriver, task: TaskTransaction): Promise<TaskEndOutcome> {
  await task.ready();
  try {
    return await driver.transactionSync((db) => {
      const end = task.end(synchronous(task.run(db)));
      const how = written(driver, end);
      if (how !== 'written') throw new NotWritten();
      return how;
    });
  } catch (error) {
    if (error instanceof NotWritten) return 'lost';
    throw error;
  }
}

function written(driver: SqliteDriver, end: TaskEnd): TaskEndOutcome {
  try {
    return driver.drive(writeTaskEnd(driver, end));
  } catch (error) {
    throw driver.refusalOf(error);
  }
}

/** Rolls back the writes of a task that this runner no longer owns. */
class NotWritten extends Error {
  override readonly name = 'NotWritten';
}
