import type { NewExecution } from './batch.ts';
import { createExecutions } from './executions.ts';
import type { Created } from './executions.ts';
import { transactionEnded } from './lent.ts';
import { synchronous } from './sqlite-turn.ts';
import type { SqliteDriver } from './sqlite.ts';
import type { Store, Turn } from './store.ts';
import { writeTaskEnd } from './task-end.ts';
import type { TaskEndOutcome, TaskTransaction } from './task-end.ts';

/** What of a store is for SQLite only: users' functions run on our own connection. */
export function sqliteTransactions(driver: SqliteDriver): Pick<Store, 'turn' | 'transactTask'> {
  return { turn: (act) => turn(driver, act), transactTask: (task) => transactTask(driver, task) };
}

/** What could not be written whole takes the transaction with it, whatever the function makes of the error. */
async function turn<T>(driver: SqliteDriver, act: (turn: Turn) => T): Promise<T> {
  return driver.turn((db) => {
    let failed: { readonly error: unknown } | undefined;
    let over = false;
    const create = (one: NewExecution): Created => {
      if (over) throw transactionEnded('an execution is started after its end');
      try {
        return driver.drive(createExecutions([one], driver.dialect))[0]!;
      } catch (error) {
        failed = { error };
        throw error;
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

/** The function, and the end of its task with what it gave, in one turn: nothing else happens between the two. */
async function transactTask(driver: SqliteDriver, task: TaskTransaction): Promise<TaskEndOutcome> {
  await task.ready();
  try {
    return await driver.turn((db) => {
      const end = task.end(synchronous(task.run(db)));
      const how = driver.drive(writeTaskEnd(end, driver.dialect));
      if (how !== 'written') throw new NotWritten();
      return how;
    });
  } catch (error) {
    if (error instanceof NotWritten) return 'lost';
    throw error;
  }
}

/** Takes the writes of a task back that is not this runner's any more. */
class NotWritten extends Error {
  override readonly name = 'NotWritten';
}
