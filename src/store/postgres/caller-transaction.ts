import { CloacinaError } from '../../core/error.ts';
import { record, shown } from '../../core/option-check.ts';

/** Runs one statement within the caller's transaction. Parameters are texts, so no driver has to guess a type. */
export type CallerQuery = <Row>(text: string, values: readonly string[]) => Promise<readonly Row[]>;

/**
 * Recognizes a caller's transaction by its shape: Prisma's interactive transaction, one of Kysely, of Drizzle, or any
 * object with `query(text, values)`, such as a `pg` client. Throws TRANSACTION_INVALID.
 */
export function callerQuery(tx: unknown): CallerQuery {
  const query = queryOf(tx);
  return async <Row>(text: string, values: readonly string[]) => rowsOf(await query(text, values)) as readonly Row[];
}

type Call = (...args: readonly unknown[]) => unknown;
type Query = (text: string, values: readonly string[]) => unknown;

function queryOf(tx: unknown): Query {
  if ((typeof tx === 'object' && tx !== null) || typeof tx === 'function') {
    const method = (name: string): Call | undefined => {
      const found: unknown = Reflect.get(tx, name);
      return typeof found === 'function' ? (found.bind(tx) as Call) : undefined;
    };
    const prisma = method('$queryRawUnsafe');
    if (prisma !== undefined) return (text, values) => prisma(text, ...values);
    const kysely = method('executeQuery');
    if (kysely !== undefined) return (text, values) => kysely(kyselyQuery(text, values));
    const query = method('query');
    if (query !== undefined) return (text, values) => query(text, [...values]);
    const drizzle = method('execute');
    if (drizzle !== undefined) return (text, values) => drizzle(drizzleQuery(text, values));
  }
  const known =
    "a 'pg' client, a transaction of Drizzle, Kysely or Prisma, or an object with query(text, values) that returns rows";
  throw new CloacinaError(
    'TRANSACTION_INVALID',
    `option 'tx': ${shown(tx)} is not a supported transaction; pass ${known}`,
  );
}

/** Kysely's `CompiledQuery`. */
function kyselyQuery(sql: string, parameters: readonly string[]): object {
  const query = { kind: 'RawNode', sqlFragments: [sql], parameters: [] };
  return { sql, query, parameters, queryId: { queryId: 'cloacina' } };
}

/** Drizzle's `SQLWrapper`, which is asked for text and parameters. */
function drizzleQuery(sql: string, params: readonly string[]): object {
  return { getSQL: () => ({ toQuery: () => ({ sql, params: [...params] }) }) };
}

function rowsOf(result: unknown): readonly unknown[] {
  const rows: unknown = record.fits(result) ? Reflect.get(result as object, 'rows') : result;
  if (Array.isArray(rows)) return rows;
  throw new CloacinaError('TRANSACTION_INVALID', `option 'tx': its query() returned ${shown(result)} without rows`);
}
