import { CloacinaError } from '../../core/error.ts';
import { parsedUrls, shownUrl } from '../../core/shown-url.ts';

/** The location of a PostgreSQL database. */
export interface PostgresPlace {
  /** One URL for each host, in the order of attempts. */
  readonly urls: readonly string[];
  /** The schema of all tables; default `cloacina`. */
  readonly schema: string;
  /** The URL without user and password, for messages. */
  readonly shown: string;
}

/** Our tables stay apart from those of the application, which owns `public`. */
const defaultSchema = 'cloacina';

const form = 'use postgres://user:password@host:5432/database?schema=name; more hosts are separated by commas';
const encode = 'percent-encode special characters in the password (@ as %40, / as %2F, ? as %3F, # as %23, % as %25)';

/**
 * Parses `postgres://user:password@host:5432,other:5432/database?schema=name`. Several hosts are tried in turn, until
 * one accepts writes. TLS settings (`sslmode`, `sslrootcert`, ...) are passed to the driver. Throws
 * DATABASE_URL_INVALID, without a cause: the error of `new URL` contains the whole text.
 */
export function postgresPlace(text: string): PostgresPlace {
  const parsed = parsedUrls(text);
  if (parsed === null) {
    const message = `the database URL ${shownUrl(text)} cannot be read; ${form}; ${encode}`;
    throw new CloacinaError('DATABASE_URL_INVALID', message);
  }
  const schema = parsed[0]!.searchParams.get('schema') ?? defaultSchema;
  checkSchema(schema);
  const urls = parsed.map((url) => {
    url.searchParams.delete('schema');
    return url.href;
  });
  return { urls, schema, shown: shownUrl(text) };
}

/** PostgreSQL truncates a longer name without an error. */
const maxNameBytes = 63;

/** Every name that can be quoted is a schema, as in a `search_path`; `pg_...` is reserved. */
function checkSchema(schema: string): void {
  const fault = schemaFault(schema);
  if (fault === null) return;
  throw new CloacinaError('DATABASE_URL_INVALID', `the schema '${schema}' of the database URL ${fault}; ${form}`);
}

function schemaFault(schema: string): string | null {
  const bytes = Buffer.byteLength(schema);
  if (bytes < 1 || bytes > maxNameBytes) return `has ${bytes} bytes; a name has 1 to ${maxNameBytes}`;
  if (schema.includes('\0')) return 'contains a NUL';
  if (schema.startsWith('pg_')) return "begins with 'pg_', which PostgreSQL reserves";
  return schema === 'information_schema' ? 'belongs to the server' : null;
}
