import type { NewExecution } from './batch.ts';
import { createExecution } from './executions.ts';
import type { Created } from './executions.ts';
import { transactionEnded } from './lent.ts';
import type { SqliteDriver } from './sqlite.ts';
import type { Store, Turn } from './store.ts';

/** What of a store is for SQLite only: users' functions run on our own connection. */
export function sqliteTransactions(driver: SqliteDriver): Pick<Store, 'turn'> {
  return { turn: (act) => turn(driver, act) };
}

/** What could not be written whole takes the transaction with it, whatever the function makes of the error. */
async function turn<T>(driver: SqliteDriver, act: (turn: Turn) => T): Promise<T> {
  return driver.turn((db) => {
    let failed: { readonly error: unknown } | undefined;
    let over = false;
    const create = (one: NewExecution): Created => {
      if (over) throw transactionEnded('an execution is started after its end');
      try {
        return driver.drive(createExecution(one));
      } catch (error) {
        failed = { error };
        throw error;
      }
    };
    try {
      const value = act({ db, create });
      if (failed !== undefined) throw failed.error;
      return value;
    } finally {
      over = true;
    }
  });
}
