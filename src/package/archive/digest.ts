import { createHash } from 'node:crypto';
import { unpackGzip } from './gzip.ts';

/** Returns the hex sha256 of a file, as in the manifest. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Returns the digest of a tar: `sha256:` and 64 hex digits. */
export function tarDigest(tar: Uint8Array): string {
  return `sha256:${sha256(tar)}`;
}

/**
 * Returns the digest of a `.cloacina` file: that of the tar inside, since compressors differ between machines and the
 * tar does not. Throws ARCHIVE_CORRUPT, ARCHIVE_TOO_LARGE or ARCHIVE_NOT_CANONICAL if the file cannot be unpacked.
 */
export async function archiveDigest(bytes: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of unpackGzip(bytes)) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}

export function isDigest(text: string): boolean {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}
