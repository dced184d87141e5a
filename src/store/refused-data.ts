import { isError } from '../core/foreign/realms.ts';
import { isDataError as isPostgresDataError } from './postgres/errors.ts';
import { isDataError as isSqliteDataError } from './sqlite/errors.ts';

/** Whether either database refuses the data of a statement, and would refuse it again. The error may be wrapped. */
export function isRefusedData(error: unknown): boolean {
  const cause: unknown = isError(error) ? error.cause : undefined;
  return [error, cause].some((one) => isSqliteDataError(one) || isPostgresDataError(one));
}
