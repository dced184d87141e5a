import { constants } from 'node:sqlite';
import type { DatabaseSync } from 'node:sqlite';
import { isError, isPromise } from '../../core/foreign/realms.ts';
import { CloacinaError } from '../../core/error.ts';
import { revocable, transactionEnded } from '../revocable.ts';
import type { Terms } from '../revocable.ts';

/** https://www.sqlite.org/c3ref/c_alter_table.html and https://www.sqlite.org/rescode.html#auth */
const { SQLITE_TRANSACTION, SQLITE_PRAGMA, SQLITE_DENY, SQLITE_OK } = constants;
const notAuthorized = 23;

/** Pragmas that take an argument and only read. */
const reads = /^(table|index|foreign_key)_/;

const rows: Terms = {
  ends: { by: 'return', after: (method, result) => method === 'return' || isDone(result) },
};
const session: Terms = {
  ends: { by: 'close', after: (method) => method === 'close' || method === Symbol.dispose },
};

/**
 * The terms on which a function borrows our connection. A statement of which an iterator is open would hold the snapshot
 * of the transaction after its end, and a session would record the engine's writes.
 */
const terms: Terms = {
  kept: [
    'close',
    'open',
    Symbol.dispose,
    'deserialize',
    'enableDefensive',
    'enableLoadExtension',
    'loadExtension',
    'setAuthorizer',
  ],
  lends: {
    prepare: { lends: { iterate: rows } },
    createTagStore: { lends: { iterate: rows } },
    createSession: session,
  },
};

function isDone(result: unknown): boolean {
  return typeof result === 'object' && result !== null && Reflect.get(result, 'done') === true;
}

/**
 * Runs a user's function within the open transaction of our own connection. It is synchronous, and cannot end the
 * transaction or change the settings of the connection: SQLite itself refuses such statements meanwhile.
 */
export function userTransaction<T>(db: DatabaseSync, act: (db: DatabaseSync) => T): T {
  const { connection, end } = revocable(db, terms);
  db.setAuthorizer((action, name, argument) => {
    const sets = action === SQLITE_PRAGMA && argument !== null && !reads.test(name ?? '');
    return action === SQLITE_TRANSACTION || sets ? SQLITE_DENY : SQLITE_OK;
  });
  try {
    return act(connection);
  } catch (error) {
    if (!isDenied(error)) throw error;
    const why = 'the engine begins and commits it, and the function must not set pragmas';
    throw transactionEnded(why, error);
  } finally {
    db.setAuthorizer(null);
    end();
  }
}

/** Returns the result of a user's function, which must be no promise. Throws TRANSACTION_ASYNC. */
export function synchronous<T>(value: T): T {
  if (isPromise(value)) throw notSynchronous(value);
  return value;
}

function notSynchronous(value: PromiseLike<unknown>): CloacinaError {
  // later work of the promise fails by itself, since the transaction is over; its rejection must not go unhandled
  value.then(undefined, () => undefined);
  const why =
    'SQLite has one writer, which an open transaction would hold across every await: the function must be synchronous, but it returned a promise';
  return new CloacinaError('TRANSACTION_ASYNC', `the transaction was rolled back: ${why}`);
}

function isDenied(error: unknown): boolean {
  return isError(error) && Reflect.get(error, 'errcode') === notAuthorized;
}
