import { CloacinaError, StoreUnavailableError } from '../../core/error.ts';
import {
  FencedError,
  OutcomeUnknownError,
  PinRefusedError,
  RefusedDataError,
  UnwritableBatchError,
} from '../transition.ts';

/** The SQLSTATE of an error of the server (https://www.postgresql.org/docs/current/errcodes-appendix.html), or the code of the system's. */
function sqlState(error: unknown): string | undefined {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** Whether an error is about the data of a statement, and would come again (classes 22, 23, 54). */
export function isDataError(error: unknown): boolean {
  return /^(22|23|54)...$/.test(sqlState(error) ?? '');
}

/** Whether a row of that key is there already. */
export function isDuplicate(error: unknown): boolean {
  return sqlState(error) === '23505';
}

/** Whether the server itself answered: the connection is whole, and the statement has done nothing. */
export function isAnswer(error: unknown): boolean {
  return /^[0-9A-Z]{5}$/.test(sqlState(error) ?? '') && !/^E[A-Z]{4}$/.test(sqlState(error) ?? '');
}

/** Whether the server cannot be written to: it is a standby, or became one. */
export function isReadOnly(error: unknown): boolean {
  return sqlState(error) === '25006';
}

/** A pooler gave the statement to a server connection that has not prepared it, or has another one by its name. */
export function isForeignStatement(error: unknown): boolean {
  return /^(26000|42P05)$/.test(sqlState(error) ?? '');
}

/** What was prepared on a connection cannot be used there any more: see `isForeignStatement`; or a table has got another column since. */
export function isStaleStatement(error: unknown): boolean {
  if (isForeignStatement(error)) return true;
  return (
    sqlState(error) === '0A000' && error instanceof Error && Reflect.get(error, 'routine') === 'RevalidateCachedQuery'
  );
}

/** Whether the same transaction may be tried again: two were in each other's way (a deadlock, a serialization failure), or what was prepared is stale. */
export function isConflict(error: unknown): boolean {
  return sqlState(error)?.startsWith('40') === true || isStaleStatement(error);
}

function isOfBatch(error: unknown): boolean {
  return [FencedError, OutcomeUnknownError, PinRefusedError, RefusedDataError, UnwritableBatchError].some(
    (kind) => error instanceof kind,
  );
}

/** Errors after which the same transaction may well succeed: a conflict with another, or a database that is away. */
export function isPassing(error: unknown): boolean {
  if (error instanceof CloacinaError || isOfBatch(error)) return false;
  const state = sqlState(error);
  if (isStaleStatement(error)) return true;
  if (state === undefined) return error instanceof Error && /connection|terminated|timeout/i.test(error.message);
  return /^(40|53|57P|08|55P03|25006|25P0[23]|57014)/.test(state) || /^E[A-Z]+$/.test(state);
}

/** Whether a statement was sent, and no server said in time what became of it. */
export function isSilence(error: unknown): boolean {
  if (error instanceof OutcomeUnknownError) return true;
  if (sqlState(error) === '57014') return true;
  // as `pg` says it; a connection that could not be made has sent nothing
  return error instanceof Error && /^(Query read timeout|Connection terminated( unexpectedly)?)$/.test(error.message);
}

/** A connection that could not be made sent nothing; one that broke may have. */
export function unknownUnlessRefused(error: unknown): unknown {
  const state = sqlState(error) ?? '';
  const sentNothing =
    isStaleStatement(error) ||
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|53|57P03|57014|40|55P03|25006)/.test(state);
  return sentNothing ? error : new OutcomeUnknownError('the answer to a commit was lost', { cause: error });
}

/** An error of PostgreSQL as one of ours: what happened, to which database. */
export function storeError(error: unknown, what: string): unknown {
  if (error instanceof CloacinaError) return error;
  const reason = error instanceof Error ? error.message || String(sqlState(error)) : String(error);
  if (error instanceof OutcomeUnknownError) {
    const message = `${what}; the change may or may not have been stored: ${reason}; check before you repeat it`;
    return new CloacinaError('OUTCOME_UNKNOWN', message, { cause: error });
  }
  // a database or a user that is not there, a wrong password, a privilege that is missing
  const isRefused = /^(3D000|28P01|28000|42501)$/.test(sqlState(error) ?? '');
  return isRefused || isPassing(error) ? new StoreUnavailableError(`${what}: ${reason}`, error) : error;
}
