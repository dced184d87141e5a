import type { PoolConfig } from 'pg';
import { CloacinaError } from '../core/error.ts';

/** Where a PostgreSQL database is. */
export interface PostgresPlace {
  readonly config: PoolConfig;
  /** Of `?schema=`; null: the connection's own. */
  readonly schema: string | null;
  /** The URL without its password, for messages. */
  readonly shown: string;
}

/** Reads `postgres://user:password@host:5432/database?schema=name`; TLS settings of the URL are for the driver. Throws DATABASE_URL_INVALID. */
export function postgresPlace(text: string): PostgresPlace {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new CloacinaError('DATABASE_URL_INVALID', `the database URL cannot be read; ${form}`, { cause });
  }
  const schema = url.searchParams.get('schema');
  if (schema !== null && !/^[A-Za-z_][\w$]{0,62}$/.test(schema)) {
    const message = `the schema '${schema}' of the database URL is no name of letters, digits, '_' and '$'; ${form}`;
    throw new CloacinaError('DATABASE_URL_INVALID', message);
  }
  url.searchParams.delete('schema');
  const config = { connectionString: url.href, application_name: 'cloacina', connectionTimeoutMillis: 5000 };
  const shown = new URL(url.href);
  if (shown.password !== '') shown.password = '***';
  return { config, schema, shown: shown.href };
}

const form = 'use postgres://user:password@host:5432/database?schema=name';
