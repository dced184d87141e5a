import { PackageInvalidError } from '../../core/error.ts';
import type { ByteSource } from './byte-source.ts';
import { blockBytes } from './tar.ts';

/** Maximum size of the record with a path that is too long for its header; a path has at most 1,000 bytes. */
const maxRecordBytes = 64 * 1024;

/** The header of an entry; its bytes follow in the source. */
export interface TarEntry {
  readonly path: string;
  /** `file`, `directory`, or the name of a kind that no package holds. */
  readonly type: string;
  readonly size: number;
  /** Everything that was read for it: a record with its path, and its header. */
  readonly headers: Uint8Array;
}

const types: Readonly<Record<string, string>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hard link',
  '2': 'symbolic link',
  '3': 'device',
  '4': 'device',
  '5': 'directory',
  '6': 'named pipe',
};

/**
 * Reads the next header of a tar; null at the block of zeros that ends it, which is read. It understands what other
 * programs write well enough to name it, since the caller compares each header with the only form that is accepted.
 * Throws ARCHIVE_CORRUPT.
 */
export async function readHeader(source: ByteSource): Promise<TarEntry | null> {
  const blocks: Uint8Array[] = [];
  let path: string | undefined;
  for (;;) {
    const block = await source.read(blockBytes);
    if (block.length < blockBytes) throw corrupt('it is cut short');
    if (isZero(block)) {
      if (path === undefined && blocks.length === 0) return null;
      throw corrupt('a record is followed by no header');
    }
    blocks.push(block);
    checkSum(block);
    const size = sizeOf(block);
    const kind = String.fromCharCode(block[156]!);
    if (kind !== 'x' && kind !== 'L' && kind !== 'g') {
      const type = types[kind] ?? `entry of the kind '${kind}'`;
      return { path: path ?? pathIn(block), type, size, headers: Buffer.concat(blocks) };
    }
    const record = await readRecord(source, size);
    blocks.push(record.all);
    if (kind === 'L') path = textOf(record.text);
    else if (kind === 'x') path = recordedPath(record.text) ?? path;
    if (blocks.length > 8) throw corrupt('a header has too many records');
  }
}

async function readRecord(source: ByteSource, size: number): Promise<{ readonly all: Buffer; readonly text: Buffer }> {
  if (size > maxRecordBytes) throw corrupt(`a record before a header has more than ${maxRecordBytes} bytes`);
  const all = await source.read(Math.ceil(size / blockBytes) * blockBytes);
  if (all.length < size) throw corrupt('it is cut short');
  return { all, text: all.subarray(0, size) };
}

/** The path in the records of pax, each `%d key=value\n`; the number counts the whole record. */
function recordedPath(records: Buffer): string | undefined {
  let path: string | undefined;
  for (let at = 0; at < records.length;) {
    const length = Number(/^\d+(?= )/.exec(records.toString('latin1', at, at + 8))?.[0] ?? 0);
    if (length < 5 || at + length > records.length) throw corrupt('a record before a header is damaged');
    const text = records.toString('utf8', at, at + length - 1);
    const [key] = /[^ =]+(?==)/.exec(text) ?? [''];
    if (key === 'path') path = text.slice(text.indexOf('=') + 1);
    at += length;
  }
  return path;
}

function pathIn(block: Buffer): string {
  const name = textOf(block.subarray(0, 100));
  const isUstar = block.toString('latin1', 257, 262) === 'ustar';
  const prefix = isUstar ? textOf(block.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Up to the first NUL. */
function textOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}

function sizeOf(block: Buffer): number {
  const digits = /^ *([0-7]+)[\0 ]*$/.exec(block.toString('latin1', 124, 136))?.[1];
  if (digits === undefined) throw corrupt('the size of an entry is not an octal number');
  return Number.parseInt(digits, 8);
}

function checkSum(block: Buffer): void {
  let sum = 0;
  for (const [at, byte] of block.entries()) sum += at >= 148 && at < 156 ? 0x20 : byte;
  const digits = /^ *([0-7]+)[\0 ]*$/.exec(block.toString('latin1', 148, 156))?.[1] ?? '';
  if (Number.parseInt(digits, 8) !== sum) throw corrupt('a header has another checksum than its bytes');
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** The error of a tar that cannot be read. */
export function corrupt(reason: string): PackageInvalidError {
  return new PackageInvalidError('ARCHIVE_CORRUPT', `the archive is damaged: its tar cannot be read (${reason})`, {
    reason,
  });
}
