import { CloacinaError } from '../core/error.ts';

/** Where a PostgreSQL database is. */
export interface PostgresPlace {
  /** One URL for each host that was named, in the order in which they are tried. */
  readonly urls: readonly string[];
  /** Of `?schema=`; null: the first of the connection's own. */
  readonly schema: string | null;
  /** The URL without its password, for messages. */
  readonly shown: string;
}

const form = 'use postgres://user:password@host:5432/database?schema=name; more hosts are separated by commas';
/** Everything before the hosts, the hosts, everything after them. */
const parts = /^(postgres(?:ql)?:\/\/(?:[^/?#]*@)?)([^/?#]*)(.*)$/;

/**
 * Reads `postgres://user:password@host:5432,other:5432/database?schema=name`. Of several hosts each is tried in turn,
 * until one accepts writes. TLS settings (`sslmode`, `sslrootcert`, ...) are for the driver. Throws DATABASE_URL_INVALID.
 */
export function postgresPlace(text: string): PostgresPlace {
  const [, start, hosts, rest] = parts.exec(text) ?? [];
  if (start === undefined || hosts === undefined || rest === undefined) throw unreadable();
  let schema: string | null = null;
  const urls = hosts.split(',').map((host) => {
    const url = readUrl(`${start}${host}${rest}`);
    if (hosts.includes(',') && host === '') throw unreadable();
    schema = url.searchParams.get('schema');
    url.searchParams.delete('schema');
    return url.href;
  });
  checkSchema(schema);
  const shown =
    start.replace(/(:\/\/[^:@]*):.*@$/, '$1:***@') + hosts + rest.replaceAll(/([?&]password=)[^&]*/g, '$1***');
  return { urls, schema, shown };
}

function readUrl(text: string): URL {
  try {
    return new URL(text);
  } catch (cause) {
    throw unreadable(cause);
  }
}

function unreadable(cause?: unknown): CloacinaError {
  return new CloacinaError('DATABASE_URL_INVALID', `the database URL cannot be read; ${form}`, { cause });
}

function checkSchema(schema: string | null): void {
  if (schema === null || /^[A-Za-z_][\w$]{0,62}$/.test(schema)) return;
  const message = `the schema '${schema}' of the database URL is no name of letters, digits, '_' and '$'; ${form}`;
  throw new CloacinaError('DATABASE_URL_INVALID', message);
}
