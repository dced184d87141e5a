import { CloacinaError } from '../../core/error.ts';
import { pathFault } from '../../core/path-fault.ts';
import { shownUrl } from '../../core/shown-url.ts';

const form = 'use sqlite:./path/to/file.db, sqlite::memory: or postgres://host/database';
const hostHint =
  "a name right after '//' is that of a host: write sqlite:./app.db for a path from the working folder, " +
  'sqlite:///app.db for one from the root';

/**
 * Returns the path in a SQLite URL: `sqlite:./app.db` (from the working folder), `sqlite:/srv/app.db`,
 * `sqlite:///srv/app.db`, `sqlite:C:\app.db`, or `:memory:`. The path is taken literally, without percent-decoding.
 * `platform`: that of `process.platform`. Throws DATABASE_URL_INVALID, for every form that another tool would read
 * differently, too.
 */
export function sqlitePath(url: string, platform: string = process.platform): string {
  const fault = urlFault(url);
  if (fault !== null) throw invalid(url, fault);
  const rest = url.slice('sqlite:'.length);
  if (rest === ':memory:') return rest;
  const hasHost = rest.startsWith('//');
  const given = hasHost ? rest.slice(2) : rest;
  const wrong = pathFault(given, platform) ?? nameFault(given, hasHost);
  if (wrong !== null) throw invalid(url, wrong);
  return platform === 'win32' ? given.replace(/^\/(?=[a-z]:)/i, '') : given;
}

/** Returns the reason why a text is not the URL of a SQLite database, or null. */
function urlFault(url: string): string | null {
  if (url.startsWith('sqlite:')) return null;
  if (url.trim() !== url) return 'it begins or ends with white space';
  if (/^["']/.test(url)) return 'it begins or ends with a quotation mark';
  const [miscased] = /^(?:sqlite|postgres|postgresql):/i.exec(url) ?? [];
  if (miscased !== undefined) return `the scheme '${miscased}' must be in lower case`;
  // of the shown form: 'app:password@host/db' begins with the name of a user
  const [scheme] = /^[a-z][a-z0-9+.-]+:/i.exec(shownUrl(url)) ?? [];
  return scheme === undefined ? 'it has no scheme' : `the scheme '${scheme}' is not known`;
}

function nameFault(path: string, hasHost: boolean): string | null {
  if (/^\/*:?memory:$/i.test(path)) return 'a database in memory is written sqlite::memory:';
  if (path === '') return 'it names no file';
  if (/(?:^|[\\/])\.{0,2}$/.test(path)) return 'it names a folder';
  return hasHost && !/^(?:\/|\.{1,2}[\\/])/.test(path) ? hostHint : null;
}

function invalid(url: string, reason: string): CloacinaError {
  return new CloacinaError(
    'DATABASE_URL_INVALID',
    `'${shownUrl(url)}' is not a supported database URL: ${reason}; ${form}`,
  );
}
