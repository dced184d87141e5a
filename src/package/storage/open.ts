import { CloacinaError } from '../../core/error.ts';
import { shownUrl } from '../../core/shown-url.ts';
import { openFileStorage } from './file.ts';
import type { PackageStorage } from './storage.ts';

/**
 * Opens the storage that a registry URL names: `file:./folder` (from the working folder), `file:/folder`,
 * `file:C:\folder` or `file:///folder` (percent-encoded, as URLs are). Nothing is created before the first `put`.
 * Throws REGISTRY_URL_INVALID.
 */
export function openStorage(url: string): PackageStorage {
  if (/^file:/i.test(url)) return openFileStorage(url);
  const shown = shownUrl(url);
  const kind = /^[a-z][a-z0-9+.-]+:/i.exec(shown)?.[0];
  const problem = kind === undefined ? 'it has no scheme' : `'${kind}' is not a supported kind of storage`;
  throw new CloacinaError(
    'REGISTRY_URL_INVALID',
    `the registry URL '${shown}' cannot be opened: ${problem}; use file:./path/to/folder`,
  );
}
