import { crc32, deflateRaw, inflateRaw } from 'node:zlib';
import { promisify } from 'node:util';
import { errnoOf } from '../../core/errno.ts';
import { PackageInvalidError } from '../../core/error.ts';

/** Maximum size of a `.cloacina` file, bytes. */
const maxPackedBytes = 50 * 1024 * 1024;
/** Maximum size of the tar in it, bytes. */
const maxUnpackedBytes = 500 * 1024 * 1024;
/** Maximum ratio of tar bytes to file bytes, for a tar of more than `freeBytes`: a table of equal rows is no bomb. */
const maxRatio = 200;
const freeBytes = 16 * 1024 * 1024;

// RFC 1952: magic, deflate, no flags (so no name, comment or extra field), no time, XFL 2, OS 255 ("unknown")
const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
const trailerBytes = 8;
const deflate = promisify<Uint8Array, { level: number }, Buffer>(deflateRaw);

/** Compresses a tar. Throws ARCHIVE_TOO_LARGE over a limit of the reader, so that every packed file can be read. */
export async function packGzip(tar: Uint8Array): Promise<Uint8Array> {
  if (tar.length > maxUnpackedBytes) throw tooLarge(`it unpacks to ${tar.length} bytes, more than ${maxUnpackedBytes}`);
  const trailer = Buffer.alloc(trailerBytes);
  trailer.writeUInt32LE(crc32(tar), 0);
  trailer.writeUInt32LE(tar.length, 4);
  const bytes = Buffer.concat([header, await deflate(tar, { level: 9 }), trailer]);
  if (bytes.length > maxPackedBytes) throw tooLarge(`it has ${bytes.length} bytes, more than ${maxPackedBytes}`);
  if (tar.length > unpackLimit(bytes.length)) {
    throw tooLarge(`it unpacks to ${tar.length} bytes, more than ${maxRatio} times its size`);
  }
  return bytes;
}

/** Returns the maximum size of the tar of a file of this size. */
function unpackLimit(packedBytes: number): number {
  return Math.min(maxUnpackedBytes, Math.max(freeBytes, packedBytes * maxRatio));
}

/**
 * Returns the tar of a `.cloacina` file: one gzip member with the fixed header, and nothing after it. The limits are
 * checked before memory is allocated. Throws ARCHIVE_CORRUPT, ARCHIVE_TOO_LARGE, ARCHIVE_NOT_CANONICAL.
 */
export async function unpackGzip(bytes: Uint8Array): Promise<Uint8Array> {
  if (bytes.length > maxPackedBytes) throw tooLarge(`it has ${bytes.length} bytes, more than ${maxPackedBytes}`);
  if (bytes[0] !== header[0] || bytes[1] !== header[1]) throw corrupt('it is not a gzip file');
  if (bytes.length < header.length + trailerBytes) throw corrupt('it is cut short');
  if (header.compare(bytes, 0, header.length) !== 0) {
    const reason = 'its gzip header is not the fixed one (no time, no name, OS 255)';
    throw new PackageInvalidError('ARCHIVE_NOT_CANONICAL', `the archive was not packed by cloacina: ${reason}`, {
      reason,
    });
  }
  const { tar, used } = await inflate(bytes.subarray(header.length), unpackLimit(bytes.length));
  const trailer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).subarray(header.length + used);
  if (trailer.length < trailerBytes) throw corrupt('it is cut short');
  if (trailer.readUInt32LE(0) !== crc32(tar) || trailer.readUInt32LE(4) !== tar.length) {
    throw corrupt('its checksum does not fit what it unpacks to');
  }
  if (trailer.length > trailerBytes) {
    const reason = `${trailer.length - trailerBytes} bytes follow the gzip member`;
    throw new PackageInvalidError('ARCHIVE_NOT_CANONICAL', `the archive holds more than it unpacks: ${reason}`, {
      reason,
    });
  }
  return tar;
}

/** `used` counts the bytes of the deflate stream alone, so that trailing bytes are detected. */
function inflate(bytes: Uint8Array, limit: number): Promise<{ tar: Uint8Array; used: number }> {
  return new Promise((resolve, reject) => {
    inflateRaw(bytes, { maxOutputLength: limit, info: true, chunkSize: 65_536 }, (error, result: unknown) => {
      if (error === null) {
        const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } };
        resolve({ tar: buffer, used: engine.bytesWritten });
      } else if (errnoOf(error) === 'ERR_BUFFER_TOO_LARGE') {
        const rule = `at most ${maxUnpackedBytes}, and above ${freeBytes} at most ${maxRatio} times its size`;
        reject(tooLarge(`it unpacks to more than ${limit} bytes (${rule})`));
      } else {
        reject(corrupt(`it does not unpack (${error.message})`, error));
      }
    });
  });
}

function tooLarge(reason: string): PackageInvalidError {
  return new PackageInvalidError('ARCHIVE_TOO_LARGE', `the archive is too large: ${reason}`, { reason });
}

function corrupt(reason: string, cause?: unknown): PackageInvalidError {
  return new PackageInvalidError('ARCHIVE_CORRUPT', `the archive is damaged: ${reason}`, { reason, cause });
}
