import { messageOf } from '../../core/foreign/error-text.ts';
import { isError } from '../../core/foreign/realms.ts';
import { CloacinaError, DatabaseReadOnlyError, StoreRefusedError, StoreUnavailableError } from '../../core/error.ts';
import {
  FencedError,
  OutcomeUnknownError,
  PinRefusedError,
  RefusedDataError,
  UnwritableBatchError,
} from '../transition.ts';

/**
 * Returns the SQLSTATE of a server error (https://www.postgresql.org/docs/current/errcodes-appendix.html), or the code
 * of a system error.
 */
function sqlState(error: unknown): string | undefined {
  const code: unknown = isError(error) ? Reflect.get(error, 'code') : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** True for errors about the data of a statement, which would recur (classes 22, 23, 54). */
export function isDataError(error: unknown): boolean {
  return /^(22|23|54)...$/.test(sqlState(error) ?? '');
}

/** True if a row of that key exists already. The error may be converted. */
export function isDuplicate(error: unknown): boolean {
  return sqlState(error instanceof StoreRefusedError ? error.cause : error) === '23505';
}

/** True if the server itself answered: the connection is intact, and the statement has changed nothing. */
export function isAnswer(error: unknown): boolean {
  return /^[0-9A-Z]{5}$/.test(sqlState(error) ?? '') && !/^E[A-Z]{4}$/.test(sqlState(error) ?? '');
}

/** True if the server refuses writes: it is a standby, or became one. */
export function isReadOnly(error: unknown): boolean {
  return sqlState(error) === '25006';
}

/**
 * True if a pooler gave the statement to a server connection that has not prepared it, or has prepared another one of
 * that name.
 */
export function isForeignStatement(error: unknown): boolean {
  return /^(26000|42P05)$/.test(sqlState(error) ?? '');
}

/**
 * True if a prepared statement is no longer usable on its connection: see `isForeignStatement`; or a table has a new
 * column since.
 */
export function isStaleStatement(error: unknown): boolean {
  if (isForeignStatement(error)) return true;
  return sqlState(error) === '0A000' && isError(error) && Reflect.get(error, 'routine') === 'RevalidateCachedQuery';
}

/**
 * True if the same transaction may be repeated: two conflicted (a deadlock, a serialization failure), or a prepared
 * statement is stale.
 */
export function isConflict(error: unknown): boolean {
  return sqlState(error)?.startsWith('40') === true || isStaleStatement(error);
}

function isOfBatch(error: unknown): boolean {
  return [FencedError, OutcomeUnknownError, PinRefusedError, RefusedDataError, UnwritableBatchError].some(
    (kind) => error instanceof kind,
  );
}

/** Codes of Node for a TLS connection that is not accepted. */
const tlsCode = /^(ERR_(TLS|SSL|OSSL)_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH)/;

/** True for errors after which the same transaction may succeed: a conflict, or an unavailable database. */
export function isPassing(error: unknown): boolean {
  if (error instanceof CloacinaError || isOfBatch(error)) return false;
  const state = sqlState(error);
  if (isStaleStatement(error) || tlsCode.test(state ?? '')) return true;
  if (state === undefined) return isError(error) && /connection|terminated|timeout/i.test(error.message);
  return /^(40|53|57P|08|55P03|25006|25P0[23]|57014)/.test(state) || /^E[A-Z]+$/.test(state);
}

/** True if a statement was sent, and no server answered in time. */
export function isSilence(error: unknown): boolean {
  if (error instanceof OutcomeUnknownError) return true;
  if (sqlState(error) === '57014') return true;
  // the texts of `pg`; a connection that could not be opened has sent nothing
  return isError(error) && /^(Query read timeout|Connection terminated( unexpectedly)?)$/.test(error.message);
}

/** A connection that could not be opened sent nothing; one that broke may have. */
export function unknownUnlessRefused(error: unknown): unknown {
  const state = sqlState(error) ?? '';
  const sentNothing =
    isStaleStatement(error) ||
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|53|57P03|57014|40|55P03|25006)/.test(state);
  return sentNothing ? error : new OutcomeUnknownError('the answer to a commit was lost', { cause: error });
}

/**
 * The remedy for an error of a connection that stays until a person changes the URL, a file or the server; null for any
 * other error. A running process retries these too, since certificates and names do change under it.
 */
export function lastingFault(error: unknown): string | null {
  const state = sqlState(error) ?? '';
  if (isError(error) && /server does not support SSL/.test(error.message)) {
    return 'the server has no TLS: leave sslmode out of the URL, or turn TLS on at the server';
  }
  if (state === 'ENOTFOUND') {
    return 'no host has this name; check the host in the URL, and percent-encode special characters in the password';
  }
  // of a socket it is `connect`: a server that is not up yet
  if (/^E[A-Z]+$/.test(state) && /^(open|read)$/.test(String(Reflect.get(error as Error, 'syscall')))) {
    return 'a file that the URL names cannot be read';
  }
  return tlsCode.test(state) ? 'the certificate of the server is not accepted; check sslmode and sslrootcert' : null;
}

/** Converts an error of the opening of a database. */
export function openError(error: unknown, shown: string): unknown {
  if (error instanceof CloacinaError) return error;
  const reason = messageOf(error);
  const remedy = lastingFault(error);
  return unavailable(
    `the database ${shown} could not be opened: ${reason}${remedy === null ? '' : `; ${remedy}`}`,
    error,
  );
}

function unavailable(message: string, error: unknown): StoreUnavailableError {
  if (isReadOnly(error)) {
    const why = 'the server takes no writes: it is a standby, or default_transaction_read_only is on';
    return new DatabaseReadOnlyError(`${message}; ${why}`, error);
  }
  if (sqlState(error) === '42501') {
    return new DatabaseReadOnlyError(`${message}; grant the user of the URL the privilege`, error);
  }
  return new StoreUnavailableError(message, error);
}

/**
 * Converts a PostgreSQL error to one of Cloacina's, with the operation and the database. An answer of the server that is no
 * sign of its state refuses the statement, and would refuse it again.
 */
export function storeError(error: unknown, what: string): unknown {
  if (error instanceof CloacinaError || (isOfBatch(error) && !(error instanceof OutcomeUnknownError))) return error;
  const reason = messageOf(error);
  if (error instanceof OutcomeUnknownError) {
    const message = `${what}; the change may or may not have been stored: ${reason}; check before you repeat it`;
    return new CloacinaError('OUTCOME_UNKNOWN', message, { cause: error });
  }
  // missing database or user, wrong password, missing privilege; a fault of the system or of the server
  const isOut = /^(3D000|28P01|28000|42501|58...|F0...|XX...)$/.test(sqlState(error) ?? '');
  if (isOut || isPassing(error)) return unavailable(`${what}: ${reason}`, error);
  return isAnswer(error) ? new StoreRefusedError(what, error) : error;
}
