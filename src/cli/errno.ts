import { errnoOf } from '../core/errno.ts';

/** Texts for errors of the file system. */
const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is none',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a file lies where a folder should be',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is used up',
  EFBIG: 'the file would be larger than allowed',
  EROFS: 'the disk is read-only',
};

/** Returns the reason why a file could not be read or written. */
export function reason(error: unknown): string {
  return reasons[errnoOf(error) ?? ''] ?? (error instanceof Error ? error.message : String(error));
}
