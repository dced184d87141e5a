import type { PoolClient } from 'pg';
import { StoreRefusedError, StoreUnavailableError } from '../../core/error.ts';
import { revocable, transactionEnded } from '../revocable.ts';
import { beginText, durableText } from './connections.ts';
import { isAnswer, isDataError, isPassing, storeError, unknownUnlessRefused } from './errors.ts';
import type { PostgresDriver } from './driver.ts';
import type { Store } from '../store.ts';
import { writeTaskEnd } from '../commit/task-end.ts';
import type { TaskEndOutcome, TaskTransaction } from '../commit/task-end.ts';

/** Methods of a connection that a borrowing function must not use. */
const terms = { kept: ['release', 'end', 'connect'] };

/**
 * Checks that the transaction is still the original one: a setting local to it is lost with it. From here on our own
 * statements follow, with our deadline.
 */
const checkText = `select current_setting('cloacina.task', true) = 'open' as open,
  set_config('statement_timeout', $1, true), ${durableText}`;

/** Transactions of tasks on PostgreSQL, each on an exclusive connection. */
export function postgresTasks(driver: PostgresDriver): Pick<Store, 'transactTask'> {
  return { transactTask: (task) => transact(driver, task) };
}

async function transact(driver: PostgresDriver, task: TaskTransaction): Promise<TaskEndOutcome> {
  const client = await driver.lend();
  const { connection, end } = revocable<PoolClient>(client, terms);
  const broken: { why?: Error } = {};
  const breaks = (error: Error): void => void (broken.why ??= error);
  client.on('error', breaks);
  let isOver = false;
  task.over.catch(() => (isOver = true));
  let how: TaskEndOutcome;
  try {
    // the user's statements may take long; an idle transaction must not hold locks for long
    const idle = `set local statement_timeout = 0; set local idle_in_transaction_session_timeout = ${driver.deadlineMs}`;
    await client.query(`${beginText(null)}; ${idle}; set local cloacina.task = 'open'`);
    const value = await Promise.race([task.run(connection), task.over]);
    end();
    await Promise.race([task.ready(), task.over]);
    const taskEnd = task.end(value);
    await check(client, driver.deadlineMs);
    how = await driver.driveLent(client, writeTaskEnd(driver, taskEnd)).catch((error: unknown) => {
      // an error of our own statements; those of the function keep their form
      throw isDataError(error) ? storeError(error, 'the database did not accept the end of a task') : error;
    });
  } catch (error) {
    end();
    client.off('error', breaks);
    await undo(client, driver.deadlineMs, isOver || broken.why !== undefined);
    if (broken.why === undefined || isAnswer(error) || error instanceof StoreRefusedError) throw error;
    throw new StoreUnavailableError(`the connection of a task's transaction broke: ${broken.why.message}`, error);
  }
  client.off('error', breaks);
  if (how !== 'written') {
    await undo(client, driver.deadlineMs, false);
    return how;
  }
  await commit(driver, client);
  driver.tell('any');
  return how;
}

async function check(client: PoolClient, deadlineMs: number): Promise<void> {
  const { rows } = await client.query<{ open: boolean | null }>(checkText, [String(deadlineMs)]);
  if (rows[0]?.open !== true) {
    throw transactionEnded('the function ended it on its own, so its writes are stored even if the task fails');
  }
}

async function commit(driver: PostgresDriver, client: PoolClient): Promise<void> {
  try {
    await client.query(Object.assign({ text: 'commit' }, { query_timeout: driver.deadlineMs }));
    driver.confirmed(client);
    client.release();
  } catch (error) {
    client.release(true);
    // a deferred constraint failed: that is an answer
    throw isAnswer(error) && !isPassing(error) ? error : unknownUnlessRefused(error);
  }
}

/** Pending queries of an ended attempt are not awaited: the connection is closed, and the transaction ends with it. */
async function undo(client: PoolClient, deadlineMs: number, isLost: boolean): Promise<void> {
  if (isLost) {
    client.release(true);
    return;
  }
  try {
    await client.query(Object.assign({ text: 'rollback' }, { query_timeout: deadlineMs }));
    client.release();
  } catch {
    client.release(true);
  }
}
