import { unpackTar } from 'modern-tar';
import { messageOf } from '../../core/foreign/error-text.ts';
import { PackageInvalidError } from '../../core/error.ts';
import { sha256, tarDigest } from './digest.ts';
import { byPathBytes, clashFinder, pathFault } from './entry-path.ts';
import { packGzip, unpackGzip } from './gzip.ts';
import { formatManifest, parseManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { maxManifestBytes, tooLong } from './manifest-limits.ts';
import { tarChunks } from './tar.ts';

/** Maximum number of files of a package, the manifest included. */
const maxEntries = 10_000;

const manifestPath = 'manifest.json';

/** The files of a package by path, without `manifest.json`. */
export type PackageFiles = ReadonlyMap<string, Uint8Array>;

export interface PackedArchive {
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly manifest: Manifest;
}

export interface ReadArchive {
  readonly manifest: Manifest;
  readonly files: PackageFiles;
  readonly digest: string;
}

/**
 * Packs a `.cloacina` file: equal manifests and files produce the same tar, and so the same digest, on any machine. The
 * list of files with their hashes is computed here. The result always passes `readArchive`: throws MANIFEST_INVALID and
 * ARCHIVE_TOO_LARGE.
 */
export async function packArchive(manifest: Omit<Manifest, 'files'>, files: PackageFiles): Promise<PackedArchive> {
  refuseTooMany(files.size + 1);
  const hashes = Object.fromEntries([...files].map(([path, bytes]) => [path, sha256(bytes)]));
  const checked = parseManifest(formatManifest({ ...manifest, files: hashes }));
  const tar = Buffer.concat([...canonicalTar(checked, files)]);
  return { bytes: await packGzip(tar), digest: tarDigest(tar), manifest: checked };
}

/**
 * Reads an untrusted `.cloacina` file in memory: nothing is written or run. Throws PackageInvalidError with the first
 * code that fits: ARCHIVE_TOO_LARGE, ARCHIVE_CORRUPT, ARCHIVE_ENTRY_REFUSED, MANIFEST_MISSING, FORMAT_UNSUPPORTED,
 * MANIFEST_INVALID, FILE_HASH_MISMATCH, ARCHIVE_NOT_CANONICAL.
 */
export async function readArchive(bytes: Uint8Array): Promise<ReadArchive> {
  const tar = await unpackGzip(bytes);
  const entries = await readTar(tar);
  const [first, ...rest] = entries;
  if (first?.path !== manifestPath) {
    throw new PackageInvalidError('MANIFEST_MISSING', `the archive does not begin with ${manifestPath}`, {
      path: manifestPath,
    });
  }
  const manifest = parseManifest(decode(first.bytes));
  const files = new Map(rest.map((entry) => [entry.path, entry.bytes]));
  checkFiles(manifest, files);
  checkCanonical(tar, canonicalTar(manifest, files));
  return { manifest, files, digest: tarDigest(tar) };
}

function* canonicalTar(manifest: Manifest, files: PackageFiles): Generator<Uint8Array> {
  const sorted = [...files].toSorted(([a], [b]) => byPathBytes(a, b));
  yield* tarChunks([[manifestPath, Buffer.from(formatManifest(manifest))], ...sorted]);
}

interface Entry {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Each header is checked before its bytes are read. */
async function readTar(tar: Uint8Array): Promise<readonly Entry[]> {
  const clash = clashFinder();
  let count = 0;
  const filter = (header: { name: string; type?: string }): boolean => {
    refuseTooMany(++count);
    refuseEntry(header.name, header.type ?? 'file', clash);
    return header.type !== 'directory'; // allowed here, but never in the canonical form
  };
  try {
    const entries = await unpackTar(tar, { strict: true, filter });
    return entries.map(({ header, data }) => ({ path: header.name, bytes: data ?? new Uint8Array() }));
  } catch (error) {
    if (error instanceof PackageInvalidError) throw error;
    const reason = messageOf(error);
    throw new PackageInvalidError('ARCHIVE_CORRUPT', `the archive is damaged: its tar cannot be read (${reason})`, {
      reason,
      cause: error,
    });
  }
}

const refusedTypes: Readonly<Record<string, string>> = {
  symlink: 'it is a symbolic link',
  link: 'it is a hard link',
  'character-device': 'it is a device',
  'block-device': 'it is a device',
  fifo: 'it is a named pipe',
};

function refuseEntry(name: string, type: string, clash: (path: string) => string | null): void {
  const isFolder = type === 'directory';
  const path = isFolder ? name.replace(/\/$/, '') : name;
  const known = isFolder || type === 'file' ? null : (refusedTypes[type] ?? `it is a ${type}`);
  const reason = known ?? pathFault(isFolder ? `${path}/x` : path) ?? (isFolder ? null : clash(path));
  if (reason !== null) throw refused(name, reason);
}

function refuseTooMany(count: number): void {
  if (count <= maxEntries) return;
  const reason = `it holds more than ${maxEntries} entries`;
  throw new PackageInvalidError('ARCHIVE_TOO_LARGE', `the archive is too large: ${reason}`, { reason });
}

function checkFiles(manifest: Manifest, files: PackageFiles): void {
  for (const path of files.keys()) {
    if (!Object.hasOwn(manifest.files, path)) throw refused(path, 'the manifest does not list it');
  }
  for (const [path, hash] of Object.entries(manifest.files)) {
    const bytes = files.get(path);
    if (bytes !== undefined && sha256(bytes) === hash) continue;
    const reason = bytes === undefined ? 'it is missing' : 'its bytes have another hash than the manifest says';
    throw new PackageInvalidError('FILE_HASH_MISMATCH', `the file '${path}' of the archive is refused: ${reason}`, {
      path,
      reason,
    });
  }
}

/** Compares chunk by chunk: the canonical tar is never a second copy in memory. */
function checkCanonical(tar: Uint8Array, canonical: Iterable<Uint8Array>): void {
  let offset = 0;
  for (const chunk of canonical) {
    const end = offset + chunk.length;
    if (Buffer.compare(tar.subarray(offset, end), chunk) !== 0) throw notCanonical(offset);
    offset = end;
  }
  if (offset !== tar.length) throw notCanonical(offset);
}

function notCanonical(offset: number): PackageInvalidError {
  const reason = `its tar differs from the one form of its content after ${offset} bytes`;
  return new PackageInvalidError('ARCHIVE_NOT_CANONICAL', `the archive was not packed by cloacina: ${reason}`, {
    reason,
  });
}

function refused(path: string, reason: string): PackageInvalidError {
  const shown = JSON.stringify(path);
  return new PackageInvalidError('ARCHIVE_ENTRY_REFUSED', `the entry ${shown} of the archive is refused: ${reason}`, {
    path,
    reason,
  });
}

function decode(bytes: Uint8Array): string {
  if (bytes.length > maxManifestBytes) {
    const problem = tooLong();
    throw new PackageInvalidError('MANIFEST_INVALID', `${manifestPath} is not valid: ${problem.message}`, {
      path: manifestPath,
      problems: [problem],
    });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new PackageInvalidError('MANIFEST_INVALID', `${manifestPath} is not valid: it is not UTF-8`, {
      path: manifestPath,
      cause,
    });
  }
}
