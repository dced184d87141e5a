import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { PackageInvalidError } from '../../core/error.ts';
import { ByteSource } from './byte-source.ts';
import { sha256, tarDigest } from './digest.ts';
import { byPathBytes, clashFinder, pathFault } from './entry-path.ts';
import { packGzip, unpackGzip } from './gzip.ts';
import { formatManifest, parseManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { maxManifestBytes, tooLong } from './manifest-limits.ts';
import { blockBytes, headers, padding, tarChunks } from './tar.ts';
import { corrupt, isZero, readHeader } from './tar-reader.ts';
import type { TarEntry } from './tar-reader.ts';

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
  readonly digest: string;
}

/**
 * Receives the files of an archive in turn. `bytes` throws FILE_HASH_MISMATCH after the last byte of a file that has
 * another hash than the manifest says; later files and the end of the archive are not checked yet.
 */
export type FileSink = (path: string, bytes: AsyncIterable<Uint8Array>) => Promise<void>;

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
 * Reads an untrusted `.cloacina` file from its bytes in one pass, chunk by chunk, so its unpacked size costs no memory.
 * Nothing is written or run, except by `sink`. Throws PackageInvalidError for the first fault in the order of the bytes:
 * ARCHIVE_TOO_LARGE, ARCHIVE_CORRUPT, ARCHIVE_ENTRY_REFUSED, MANIFEST_MISSING, FORMAT_UNSUPPORTED, MANIFEST_INVALID,
 * FILE_HASH_MISMATCH, ARCHIVE_NOT_CANONICAL.
 */
export async function readArchive(bytes: Uint8Array, sink: FileSink = drain): Promise<ReadArchive> {
  const hash = createHash('sha256');
  const source = new ByteSource(hashed(unpackGzip(bytes), hash));
  try {
    const reader = new ArchiveReader(source);
    const manifest = await reader.manifest();
    await reader.files(manifest, sink);
    return { manifest, digest: `sha256:${hash.digest('hex')}` };
  } finally {
    await source.close();
  }
}

async function* hashed(chunks: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

async function drain(_path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of bytes); // read for its hash alone
}

function* canonicalTar(manifest: Manifest, files: PackageFiles): Generator<Uint8Array> {
  const sorted = [...files].toSorted(([a], [b]) => byPathBytes(a, b));
  yield* tarChunks([[manifestPath, Buffer.from(formatManifest(manifest))], ...sorted]);
}

/** Reads the entries of one archive; each header is checked before its bytes are read. */
class ArchiveReader {
  readonly #source: ByteSource;
  readonly #clash = clashFinder();

  constructor(source: ByteSource) {
    this.#source = source;
  }

  async manifest(): Promise<Manifest> {
    const start = this.#source.offset;
    const entry = await this.#next();
    if (entry?.path !== manifestPath) {
      throw new PackageInvalidError('MANIFEST_MISSING', `the archive does not begin with ${manifestPath}`, {
        path: manifestPath,
      });
    }
    if (entry.size > maxManifestBytes) throw manifestTooLong();
    const bytes = await this.#source.read(entry.size);
    if (bytes.length < entry.size) throw corrupt('it is cut short');
    const text = decode(bytes);
    const manifest = parseManifest(text);
    this.#checkHeaders(entry, start);
    if (formatManifest(manifest) !== text) throw notCanonical(start);
    await this.#checkPadding(entry);
    return manifest;
  }

  async files(manifest: Manifest, sink: FileSink): Promise<void> {
    const missing = new Set(Object.keys(manifest.files));
    let last = '';
    for (;;) {
      const start = this.#source.offset;
      const entry = await this.#next();
      if (entry === null) break;
      const { path } = entry;
      if (entry.type === 'file' && !missing.delete(path)) throw refused(path, 'the manifest does not list it');
      this.#checkHeaders(entry, start);
      if (byPathBytes(last, path) > 0) throw notCanonical(start);
      last = path;
      await this.#read(entry, manifest.files[path]!, sink);
      await this.#checkPadding(entry);
    }
    for (const path of missing) throw mismatch(path, 'it is missing');
    await this.#checkEnd();
  }

  async #next(): Promise<TarEntry | null> {
    const entry = await readHeader(this.#source);
    if (entry === null) return null;
    refuseEntry(entry, this.#clash);
    return entry;
  }

  async #read({ path, size }: TarEntry, hash: string, sink: FileSink): Promise<void> {
    const checked = { isDone: false };
    await sink(path, checkedBytes({ source: this.#source, size, path, hash, onDone: () => (checked.isDone = true) }));
    if (!checked.isDone) throw new Error(`the sink of '${path}' did not read it to its end`);
  }

  /** A directory, a record or a field that another program wrote differs from the one form. */
  #checkHeaders({ path, size, headers: found }: TarEntry, start: number): void {
    if (Buffer.compare(Buffer.concat([...headers(path, size)]), found) !== 0) throw notCanonical(start);
  }

  async #checkPadding({ size }: TarEntry): Promise<void> {
    const start = this.#source.offset;
    const expected = padding(size);
    const found = await this.#source.read(expected.length);
    if (found.length < expected.length) throw corrupt('it is cut short');
    if (!isZero(found)) throw notCanonical(start);
  }

  /** The second block of zeros, and the end of the stream with its checksum. */
  async #checkEnd(): Promise<void> {
    const start = this.#source.offset;
    const block = await this.#source.read(blockBytes);
    let rest = 0;
    for await (const part of this.#source.take(Infinity)) rest += part.length;
    if (rest % blockBytes !== 0) throw corrupt('bytes that are no block follow its end');
    if (block.length < blockBytes || !isZero(block) || rest > 0) throw notCanonical(start);
  }
}

/** Yields the bytes of a file. Throws FILE_HASH_MISMATCH after the last one, ARCHIVE_CORRUPT. */
async function* checkedBytes(file: {
  readonly source: ByteSource;
  readonly size: number;
  readonly path: string;
  readonly hash: string;
  readonly onDone: () => void;
}): AsyncGenerator<Uint8Array, void, undefined> {
  const { source, size, path } = file;
  const hash = createHash('sha256');
  let left = size;
  for await (const part of source.take(size)) {
    hash.update(part);
    left -= part.length;
    yield part;
  }
  if (left > 0) throw corrupt('it is cut short');
  if (hash.digest('hex') !== file.hash) throw mismatch(path, 'its bytes have another hash than the manifest says');
  file.onDone();
}

function refuseEntry({ path: name, type }: TarEntry, clash: (path: string) => string | null): void {
  const isFolder = type === 'directory';
  const path = isFolder ? name.replace(/\/$/, '') : name;
  const known = isFolder || type === 'file' ? null : `it is a ${type}`;
  const reason = known ?? pathFault(isFolder ? `${path}/x` : path) ?? (isFolder ? null : clash(path));
  if (reason !== null) throw refused(name, reason);
}

function refuseTooMany(count: number): void {
  if (count <= maxEntries) return;
  const reason = `it holds more than ${maxEntries} entries`;
  throw new PackageInvalidError('ARCHIVE_TOO_LARGE', `the archive is too large: ${reason}`, { reason });
}

function mismatch(path: string, reason: string): PackageInvalidError {
  return new PackageInvalidError('FILE_HASH_MISMATCH', `the file '${path}' of the archive is refused: ${reason}`, {
    path,
    reason,
  });
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

function manifestTooLong(): PackageInvalidError {
  const problem = tooLong();
  return new PackageInvalidError('MANIFEST_INVALID', `${manifestPath} is not valid: ${problem.message}`, {
    path: manifestPath,
    problems: [problem],
  });
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new PackageInvalidError('MANIFEST_INVALID', `${manifestPath} is not valid: it is not UTF-8`, {
      path: manifestPath,
      cause,
    });
  }
}
