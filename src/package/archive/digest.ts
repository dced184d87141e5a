import { createHash } from 'node:crypto';
import { unpackGzip } from './gzip.ts';

/** Hex sha256, as the manifest lists it for each file. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The digest of a tar: `sha256:` and 64 hex digits. */
export function tarDigest(tar: Uint8Array): string {
  return `sha256:${sha256(tar)}`;
}

/**
 * The digest of a `.cloacina` file: of the tar inside, since compressors differ between machines and the tar does not.
 * Throws ARCHIVE_CORRUPT, ARCHIVE_TOO_LARGE or ARCHIVE_NOT_CANONICAL where the file does not unpack.
 */
export async function archiveDigest(bytes: Uint8Array): Promise<string> {
  return tarDigest(await unpackGzip(bytes));
}

/** Whether a text has the form of a digest. */
export function isDigest(text: string): boolean {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}
