import { accessSync, constants, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf } from '../../core/foreign/error-text.ts';
import { isError } from '../../core/foreign/realms.ts';
import {
  CloacinaError,
  DatabaseFlushError,
  DatabaseReadOnlyError,
  StoreRefusedError,
  StoreUnavailableError,
} from '../../core/error.ts';

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html), from the low byte of the extended code. */
const code = { busy: 5, locked: 6, readonly: 8, ioError: 10, corrupt: 11, full: 13, cantOpen: 14, notADatabase: 26 };

/** True if another connection holds the database at the moment. */
export function isBusy(error: unknown): boolean {
  const primary = primaryCode(error);
  return primary === code.busy || primary === code.locked;
}

/**
 * True for errors about the data of a statement, which would recur: SQLite refuses it (too large, a broken constraint),
 * or it cannot be bound, which is an error of the process and no answer of SQLite.
 */
export function isDataError(error: unknown): boolean {
  const primary = primaryCode(error);
  if (primary === undefined) {
    const name: unknown = isError(error) ? Reflect.get(error, 'code') : undefined;
    return isError(error, 'RangeError') || isError(error, 'TypeError') || name === 'ERR_STRING_TOO_LONG';
  }
  return primary === 18 || primary === 19 || primary === 20 || primary === 25;
}

function primaryCode(error: unknown): number | undefined {
  const extended: unknown = isError(error) ? Reflect.get(error, 'errcode') : undefined;
  return typeof extended === 'number' ? extended & 0xff : undefined;
}

/**
 * Converts a SQLite error to one of Cloacina's, with the operation and the file. `where`: the path of a database being
 * opened.
 */
export function storeError(error: unknown, what: string, where?: string): unknown {
  const primary = primaryCode(error);
  if (primary === undefined || error instanceof CloacinaError) return error;
  const reason = messageOf(error);
  if (primary === code.corrupt || primary === code.notADatabase) {
    return new CloacinaError('DATABASE_INVALID', `${what}: ${reason}`, { cause: error });
  }
  if (primary === code.readonly || (primary === code.cantOpen && where !== undefined && isReadOnly(where))) {
    return new DatabaseReadOnlyError(`${what}: ${reason}`, error);
  }
  if (isDataError(error)) return new StoreRefusedError(what, error);
  return new StoreUnavailableError(`${what}: ${reason}`, error);
}

/** Converts an error of the opening of a database. */
export function openError(error: unknown, where: string): unknown {
  if (error instanceof CloacinaError) return error;
  const primary = primaryCode(error);
  if (primary === code.notADatabase || primary === code.corrupt) {
    return new CloacinaError('DATABASE_INVALID', `${where} is not a SQLite database, or it is damaged`, {
      cause: error,
    });
  }
  const reason = messageOf(error);
  if (primary === code.readonly || isReadOnlyDisk(error) || (primary === code.cantOpen && isReadOnly(where))) {
    return new DatabaseReadOnlyError(`the database ${where} cannot be written: ${reason}`, error);
  }
  return new StoreUnavailableError(`the database ${where} could not be opened: ${reason}`, error);
}

/**
 * Returns true if a database that cannot be opened is read-only. SQLite creates files beside it, and reports no reason
 * if it cannot.
 */
function isReadOnly(where: string): boolean {
  try {
    accessSync(dirname(where), constants.W_OK);
    return false;
  } catch (error) {
    return isReadOnlyDisk(error) || existsSync(where);
  }
}

function isReadOnlyDisk(error: unknown): boolean {
  return isError(error) && Reflect.get(error, 'code') === 'EROFS';
}

/** A commit is in the log and could not be made durable. */
export function flushError(where: string, error: unknown): DatabaseFlushError {
  const reason = messageOf(error);
  const message =
    `the system failed to flush a commit of the database ${where} to disk: ${reason}. A later flush can succeed without ` +
    'the data, so nothing is acknowledged from this commit on; check the disk, then end this process and start it again';
  return new DatabaseFlushError(message, error);
}
