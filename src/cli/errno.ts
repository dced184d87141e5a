import { messageOf } from '../core/foreign/error-text.ts';
import { errnoOf } from '../core/errno.ts';

/** Texts for system errors of files. */
const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'part of the path is a file, not a folder',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would be larger than allowed',
  EROFS: 'the disk is read-only',
};

/** The reason of a failed read or write. */
export function reason(error: unknown): string {
  return reasons[errnoOf(error) ?? ''] ?? messageOf(error);
}
