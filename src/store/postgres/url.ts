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

function checkSchema(schema: string): void {
  if (/^[A-Za-z_][\w$]{0,62}$/.test(schema)) return;
  const message = `the schema '${schema}' of the database URL must consist of letters, digits, '_' and '$'; ${form}`;
  throw new CloacinaError('DATABASE_URL_INVALID', message);
}
