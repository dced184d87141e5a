import { crc32, createInflateRaw, deflateRaw } from 'node:zlib';
import type { InflateRaw } from 'node:zlib';
import { promisify } from 'node:util';
import { PackageInvalidError } from '../../core/error.ts';

/** Maximum size of a `.cloacina` file, bytes. */
const maxPackedBytes = 50 * 1024 * 1024;
/** Maximum size of the tar in it, bytes. */
const maxUnpackedBytes = 500 * 1024 * 1024;
/** Maximum ratio of tar bytes to file bytes. */
const maxRatio = 200;

// RFC 1952: magic, deflate, no flags (so no name, comment or extra field), no time, XFL 2, OS 255 ("unknown")
const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
const trailerBytes = 8;
/** Size of the parts in which a file unpacks: the event loop has a turn after each. */
const chunkBytes = 64 * 1024;
const deflate = promisify<Uint8Array, { level: number }, Buffer>(deflateRaw);

/** Compresses a tar. Throws ARCHIVE_TOO_LARGE over a limit of the reader, so that every packed file can be read. */
export async function packGzip(tar: Uint8Array): Promise<Uint8Array> {
  if (tar.length > maxUnpackedBytes) throw tooLarge(`it unpacks to ${tar.length} bytes, more than ${maxUnpackedBytes}`);
  const trailer = Buffer.alloc(trailerBytes);
  trailer.writeUInt32LE(crc32(tar), 0);
  trailer.writeUInt32LE(tar.length, 4);
  const bytes = Buffer.concat([header, await deflate(tar, { level: 9 }), trailer]);
  if (bytes.length > maxPackedBytes) throw tooLarge(`it has ${bytes.length} bytes, more than ${maxPackedBytes}`);
  if (tar.length > bytes.length * maxRatio) throw tooLarge(`it unpacks to more than ${maxRatio} times its size`);
  return bytes;
}

/**
 * Yields the tar of a `.cloacina` file as it unpacks: one gzip member with the fixed header, and nothing after it. The
 * sizes are checked before each chunk, the checksum after the last one. Throws ARCHIVE_CORRUPT, ARCHIVE_TOO_LARGE,
 * ARCHIVE_NOT_CANONICAL.
 */
export async function* unpackGzip(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytes.length > maxPackedBytes) throw tooLarge(`it has ${bytes.length} bytes, more than ${maxPackedBytes}`);
  if (bytes[0] !== header[0] || bytes[1] !== header[1]) throw corrupt('it is not a gzip file');
  if (bytes.length < header.length + trailerBytes) throw corrupt('it is cut short');
  if (header.compare(bytes, 0, header.length) !== 0) {
    const reason = 'its gzip header is not the fixed one (no time, no name, OS 255)';
    throw new PackageInvalidError('ARCHIVE_NOT_CANONICAL', `the archive was not packed by cloacina: ${reason}`, {
      reason,
    });
  }
  const limit = Math.min(maxUnpackedBytes, bytes.length * maxRatio);
  const inflater = createInflateRaw({ chunkSize: chunkBytes });
  let [size, checksum] = [0, 0];
  for await (const chunk of inflated(inflater, bytes.subarray(header.length))) {
    size += chunk.length;
    if (size > limit) {
      throw tooLarge(`it unpacks to more than ${limit} bytes (${maxUnpackedBytes}, or ${maxRatio} times its size)`);
    }
    checksum = crc32(chunk, checksum);
    yield chunk;
  }
  // counts the bytes of the deflate stream alone, so trailing bytes are detected
  checkTrailer(bytes.subarray(header.length + inflater.bytesWritten), size, checksum);
}

async function* inflated(inflater: InflateRaw, bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  inflater.end(bytes);
  try {
    for await (const chunk of inflater) yield chunk as Buffer;
  } catch (error) {
    throw corrupt(`it does not unpack (${error instanceof Error ? error.message : String(error)})`, error);
  }
}

function checkTrailer(rest: Uint8Array, size: number, checksum: number): void {
  const trailer = Buffer.from(rest.buffer, rest.byteOffset, rest.length);
  if (trailer.length < trailerBytes) throw corrupt('it is cut short');
  if (trailer.readUInt32LE(0) !== checksum || trailer.readUInt32LE(4) !== size) {
    throw corrupt('its checksum does not fit what it unpacks to');
  }
  if (trailer.length > trailerBytes) {
    const reason = `${trailer.length - trailerBytes} bytes follow the gzip member`;
    throw new PackageInvalidError('ARCHIVE_NOT_CANONICAL', `the archive holds more than it unpacks: ${reason}`, {
      reason,
    });
  }
}

function tooLarge(reason: string): PackageInvalidError {
  return new PackageInvalidError('ARCHIVE_TOO_LARGE', `the archive is too large: ${reason}`, { reason });
}

function corrupt(reason: string, cause?: unknown): PackageInvalidError {
  return new PackageInvalidError('ARCHIVE_CORRUPT', `the archive is damaged: ${reason}`, { reason, cause });
}
