import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { crc32, deflateRawSync, gunzipSync, gzipSync } from 'node:zlib';
import { PackageInvalidError } from '../../core/error.ts';
import { readWhole, sampleManifest, samplePackage } from '../../testing/sample-package.ts';
import { packArchive, readArchive } from './archive.ts';
import type { PackageFiles } from './archive.ts';
import { archiveDigest, sha256 } from './digest.ts';
import { formatManifest, parseManifest } from './manifest.ts';

interface RawEntry {
  readonly name: string;
  readonly data?: string | Uint8Array;
  readonly type?: string;
  readonly link?: string;
  readonly mode?: string;
  readonly magic?: string;
  /** Fills the space behind the data. */
  readonly padding?: number;
}

/** A tar writer without checks: `name` may contain anything. */
function rawTar(entries: readonly RawEntry[], end = Buffer.alloc(1024)): Buffer {
  const parts = entries.flatMap((entry) => {
    const data = Buffer.from(entry.data ?? '');
    const block = Buffer.alloc(512);
    block.write(entry.name, 0, 100, 'utf8');
    block.write(entry.mode ?? '0000644\0', 100);
    block.write('0000000\0' + '0000000\0', 108); // oxlint-disable-line no-useless-concat -- uid and gid
    block.write(`${data.length.toString(8).padStart(11, '0')}\0`, 124);
    block.write('00000000000\0        ', 136);
    block.write(entry.type ?? '0', 156);
    block.write(entry.link ?? '', 157);
    block.write(entry.magic ?? 'ustar\u000000', 257);
    let sum = 0;
    for (const byte of block) sum += byte;
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const space = Buffer.alloc((512 - (data.length % 512)) % 512, entry.padding ?? 0);
    return [block, data, space];
  });
  return Buffer.concat([...parts, end]);
}

const gzipHeader = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);

function gzip(tar: Uint8Array): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(tar), 0);
  trailer.writeUInt32LE(tar.length, 4);
  return Buffer.concat([gzipHeader, deflateRawSync(tar, { level: 9 }), trailer]);
}

const code: RawEntry = { name: 'code/index.mjs', data: 'export {};\n' };

function manifestEntry(change: object = {}): RawEntry {
  const files = { 'code/index.mjs': sha256(Buffer.from('export {};\n')) };
  return { name: 'manifest.json', data: formatManifest({ ...sampleManifest(), files, ...change }) };
}

async function fault(bytes: Uint8Array): Promise<PackageInvalidError> {
  try {
    await readWhole(bytes);
  } catch (error) {
    assert(error instanceof PackageInvalidError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: 'the archive was not refused' });
}

async function assertFault(
  entries: readonly RawEntry[],
  expected: string,
  path?: string,
): Promise<PackageInvalidError> {
  const error = await fault(gzip(rawTar(entries)));
  assert.equal(error.code, expected, error.message);
  assert.equal(error.path, path);
  return error;
}

const refusedAs = (path: string, ...entries: RawEntry[]): Promise<PackageInvalidError> =>
  assertFault([manifestEntry(), code, ...entries], 'ARCHIVE_ENTRY_REFUSED', path);

const contents = (files: PackageFiles): unknown =>
  [...files].map(([path, bytes]) => [path, Buffer.from(bytes).toString('hex')]);

test('registry.md: a packed file is read back, with the digest of the tar inside', async () => {
  const long = `source/${'é'.repeat(60)}/${'b'.repeat(99)}.ts`;
  const deep = `source/${'some-folder/'.repeat(30)}x.ts`;
  const files = new Map(
    ['code/index.mjs', deep, 'assets/a block.bin', long, 'source/ä.ts'].map((path) => [path, Buffer.alloc(512, path)]),
  );
  const packed = await packArchive(sampleManifest(), files);
  const read = await readWhole(packed.bytes);
  assert.deepEqual(read.manifest, packed.manifest);
  assert.equal(read.digest, packed.digest);
  assert.equal(packed.digest, `sha256:${sha256(gunzipSync(packed.bytes))}`);
  assert.equal(await archiveDigest(packed.bytes), packed.digest);
  assert.deepEqual(
    contents(read.files),
    contents(new Map([...files].toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))))),
  );
});

test('registry.md: the form is fixed; the digest of one content never changes', async () => {
  const packed = await samplePackage();
  assert.equal(packed.digest, 'sha256:4646918d4efc9d0c5156525415282a445894a2d1ad63d5aef0514fc30baaaedb');
  assert.deepEqual(packed.bytes.subarray(0, 10), gzipHeader);
  assert.deepEqual(gunzipSync(packed.bytes), rawTar([manifestEntry(), code]));
});

test('registry.md: the order in which files are given changes nothing', async () => {
  const files: [string, Buffer][] = ['code/index.mjs', 'assets/b', 'assets/a', 'source/Z.ts', 'source/a.ts'].map(
    (path) => [path, Buffer.from(path)],
  );
  const one = await packArchive(sampleManifest(), new Map(files));
  const other = await packArchive(sampleManifest(), new Map(files.toReversed()));
  assert.deepEqual(one.bytes, other.bytes);
});

test('an archive that is truncated at any byte is refused', async () => {
  const { bytes } = await samplePackage();
  for (let length = 0; length < bytes.length; length++) {
    const error = await fault(bytes.subarray(0, length));
    assert.equal(error.code, 'ARCHIVE_CORRUPT', `at ${length}: ${error.message}`);
  }
  const { bytes: packed } = await samplePackage();
  const tar = gunzipSync(packed);
  for (let length = 0; length < tar.length; length += 256) await fault(gzip(tar.subarray(0, length)));
});

test('an archive with a flipped byte is refused, or unpacks to the same content', async () => {
  const packed = await samplePackage();
  const good = await readWhole(packed.bytes);
  let same = 0;
  for (let at = 0; at < packed.bytes.length; at++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const bytes = Uint8Array.from(packed.bytes);
      bytes[at]! ^= flip;
      const read = await readWhole(bytes).catch((error: unknown) => {
        assert(error instanceof PackageInvalidError, String(error));
        return null;
      });
      if (read === null) continue;
      same++;
      assert.deepEqual(read, good);
    }
  }
  assert(same < 10, `${same} flips changed nothing`);
});

test('a flipped byte in the tar is refused; in the manifest it makes another package with another digest', async () => {
  const packed = await samplePackage();
  const tar = gunzipSync(packed.bytes);
  for (let at = 0; at < tar.length; at += 7) {
    const flipped = Buffer.from(tar);
    flipped[at]! ^= 0x10;
    const read = await readWhole(gzip(flipped)).catch((error: unknown) => {
      assert(error instanceof PackageInvalidError, String(error));
      return null;
    });
    if (read === null) continue;
    assert.notEqual(read.digest, packed.digest);
    assert.notDeepEqual(read.manifest, packed.manifest);
  }
});

const record = (path: string): string => {
  const body = ` path=${path}\n`;
  return `${Buffer.byteLength(body) + 2}${body}`;
};

test('registry.md: absolute paths, .., NUL and names that a system cannot hold are refused', async () => {
  const names = [
    '/etc/passwd',
    '../evil',
    'code/../../evil',
    'code/..',
    'C:\\evil',
    'code\\evil',
    'code/con',
    'code/nul.txt',
    'code/x ',
    'code//x',
    'code/.ssh',
    'code/a:b',
    'other/x',
    'code/a\u0001b',
    'code/e\u0301',
  ];
  for (const name of names) await refusedAs(name, { name, data: 'x' });
  await refusedAs('code/a\0b', { name: 'pax', type: 'x', data: record('code/a\0b') }, { name: 'x', data: 'x' });
  await refusedAs('/abs/path', { name: 'pax', type: 'x', data: record('/abs/path') }, { name: 'x', data: 'x' });
  await refusedAs('../evil', { name: 'long', type: 'L', data: '../evil\0' }, { name: 'x', data: 'x' });
  assert.equal((await refusedAs('../evil', { name: '../evil' })).reason, "the path holds '..'");
});

test('registry.md, Reading a file: names with characters that a terminal hides or obeys are refused', async () => {
  const characters = {
    'a control character of C1': '\u009b',
    'a line separator': '\u2028',
    'a paragraph separator': '\u2029',
    'a bidi override': '\u202e',
    'a bidi isolate': '\u2066',
    'an Arabic letter mark': '\u061c',
    'a zero-width joiner': '\u200d',
    'a zero-width space': '\ufeff',
    'a soft hyphen': '\u00ad',
    'a tag': '\u{e0041}',
  };
  for (const [what, character] of Object.entries(characters)) {
    const name = `source/a${character}b.ts`;
    const { reason } = await refusedAs(name, { name, data: 'x' });
    assert.equal(reason, 'the name holds a control character or an invisible one', what);
  }
});

test('registry.md, Reading a file: names that are devices on Windows are refused, also before blanks and dots', async () => {
  const devices = ['CONIN$', 'conout$', 'COM1 .txt', 'com¹  .a.b', 'nul .x', 'lpt9.txt', 'CONOUT$.log', 'aux'];
  for (const device of devices) {
    const name = `assets/${device}`;
    assert.match((await refusedAs(name, { name, data: 'x' })).reason ?? '', /is a device on Windows/, device);
  }
  const names = ['assets/conin', 'assets/console.txt', 'assets/com10.txt', 'assets/con in.txt', 'assets/$conin$'];
  const files = new Map(['code/index.mjs', ...names].map((path) => [path, Buffer.alloc(512, path)]));
  await packArchive(sampleManifest(), files);
});

test('registry.md: links, devices and pipes are refused', async () => {
  for (const type of ['1', '2', '3', '4', '6']) {
    await refusedAs('code/link', { name: 'code/link', type, link: '/etc/passwd' });
  }
  assert.match((await refusedAs('code/l', { name: 'code/l', type: '2', link: 'x' })).message, /symbolic link/);
});

test('registry.md: duplicate and case-clashing names are refused', async () => {
  assert.equal((await refusedAs('code/index.mjs', code)).reason, 'it is there twice');
  await refusedAs('manifest.json', manifestEntry());
  await refusedAs('code/INDEX.mjs', { ...code, name: 'code/INDEX.mjs' });
  await refusedAs('code/index.mjs/x', { name: 'code/index.mjs/x' });
  await refusedAs('assets/a/b', { name: 'assets/a/b' }, { name: 'assets/a' });
});

test('a file that the manifest does not list, or a listed file that is missing, is refused', async () => {
  await refusedAs('code/more.mjs', { name: 'code/more.mjs' });
  await assertFault([manifestEntry()], 'FILE_HASH_MISMATCH', 'code/index.mjs');
  await assertFault(
    [manifestEntry(), { ...code, data: 'export const evil = 1;\n' }],
    'FILE_HASH_MISMATCH',
    'code/index.mjs',
  );
});

test('the manifest must come first, be UTF-8, and have no unknown key', async () => {
  await assertFault([], 'MANIFEST_MISSING', 'manifest.json');
  await assertFault([code], 'MANIFEST_MISSING', 'manifest.json');
  await assertFault([code, manifestEntry()], 'MANIFEST_MISSING', 'manifest.json');
  await assertFault(
    [{ name: 'manifest.json', data: Buffer.from([0x7b, 0xff]) }, code],
    'MANIFEST_INVALID',
    'manifest.json',
  );
  const unknown = await assertFault([manifestEntry({ colour: 'red' }), code], 'MANIFEST_INVALID', 'manifest.json');
  assert.equal(unknown.problems[0]?.path, 'colour');
  await assertFault([manifestEntry({ formatVersion: 2 }), code], 'FORMAT_UNSUPPORTED', 'formatVersion');
});

const notCanonical = async (...entries: RawEntry[]): Promise<unknown> => assertFault(entries, 'ARCHIVE_NOT_CANONICAL');

test('registry.md: one content has one form; padding, headers, order and the text of the manifest hide nothing', async () => {
  const files = { 'assets/a': sha256(Buffer.from('a')), 'code/index.mjs': sha256(Buffer.from('export {};\n')) };
  const asset = { name: 'assets/a', data: 'a' };
  await notCanonical(manifestEntry(), { ...code, padding: 65 });
  await notCanonical(manifestEntry(), { ...code, mode: '0000755\0' });
  await notCanonical(manifestEntry(), { ...code, magic: 'ustar  \0' });
  await notCanonical(manifestEntry(), { ...code, type: '7' });
  await notCanonical(manifestEntry(), { ...code, name: 'code/index.mjs\0hidden' });
  await notCanonical(manifestEntry(), { name: 'code/', type: '5' }, code);
  await notCanonical(manifestEntry({ files }), code, asset);
  await notCanonical({ name: 'pax', type: 'x', data: '16 comment=abcd\n' }, manifestEntry(), code);
  const { data } = manifestEntry();
  await notCanonical({ name: 'manifest.json', data: ` ${String(data)}` }, code);
  await notCanonical({ name: 'manifest.json', data: String(data).replace('{', '{"entry": "x",') }, code);
  assert.equal((await readWhole(gzip(rawTar([manifestEntry({ files }), asset, code])))).files.size, 2);
});

test('registry.md: bytes after the end of the tar or of the gzip member are refused', async () => {
  const { bytes } = await samplePackage();
  const tar = gunzipSync(bytes);
  assert.equal((await fault(gzip(Buffer.concat([tar, Buffer.alloc(512)])))).code, 'ARCHIVE_NOT_CANONICAL');
  assert.equal((await fault(gzip(Buffer.concat([tar, Buffer.from('hidden')])))).code, 'ARCHIVE_CORRUPT');
  for (const rest of [Buffer.from('x'), Buffer.alloc(1), bytes, gzipSync('')]) {
    const error = await fault(Buffer.concat([bytes, rest]));
    assert.equal(error.code, 'ARCHIVE_NOT_CANONICAL');
    assert.match(error.message, /follow the gzip member/);
  }
});

test('registry.md: the gzip header is fixed; a name or a time in it is refused', async () => {
  const tar = gunzipSync((await samplePackage()).bytes);
  assert.equal((await fault(gzipSync(tar))).code, 'ARCHIVE_NOT_CANONICAL');
  assert.equal((await fault(Buffer.from('PK\u0003\u0004 this is a zip file'))).code, 'ARCHIVE_CORRUPT');
});

test('registry.md: another compressor makes the same digest', async () => {
  const packed = await samplePackage();
  const stored = Buffer.concat([
    gzipHeader,
    deflateRawSync(gunzipSync(packed.bytes), { level: 0 }),
    packed.bytes.subarray(-8),
  ]);
  assert.equal((await readWhole(stored)).digest, packed.digest);
});

test('registry.md: at most 10,000 entries', async () => {
  const many = Array.from({ length: 10_001 }, (_, i) => ({ name: `code/${sha256(Buffer.from(String(i)))}` }));
  const listed = Object.fromEntries(many.map(({ name }) => [name, sha256(Buffer.alloc(0))]));
  const error = await assertFault([manifestEntry({ files: listed }), ...many], 'MANIFEST_INVALID', 'manifest.json');
  assert.match(error.message, /more than 9999 files/);
  const files = new Map(many.map(({ name }) => [name, Buffer.alloc(0)]));
  await assert.rejects(packArchive(sampleManifest(), files.set('code/index.mjs', Buffer.alloc(0))), {
    code: 'ARCHIVE_TOO_LARGE',
  });
});

test('registry.md: a path has at most 32 parts, and all paths together 1,048,576 characters', async () => {
  const parts = (count: number): string => `code/${'a/'.repeat(count - 2)}x`;
  await refusedAs(parts(33), { name: parts(33) });
  const files = (paths: readonly string[]): PackageFiles =>
    new Map(['code/index.mjs', ...paths].map((path) => [path, Buffer.alloc(512, path)]));
  await packArchive(sampleManifest(), files([parts(32)]));
  const reason = /files\["code\/(a\/)+x"\]: the path has more than 32 parts/;
  await assert.rejects(packArchive(sampleManifest(), files([parts(100)])), {
    code: 'MANIFEST_INVALID',
    message: reason,
  });
  const long = Array.from({ length: 1100 }, (_, i) => `code/${`${i}${'x'.repeat(190)}/`.repeat(5)}x`);
  await assert.rejects(packArchive(sampleManifest(), files(long)), { message: /1048576 characters together/ });
});

test('registry.md: a manifest of a few kB that unpacks to a million workflows does not end the process', async () => {
  const many = `{"formatVersion":1,"workflows":[${'{"x":1},'.repeat(1_000_000)}1]}`;
  const noise = { name: 'assets/noise', data: randomBytes(40_000) }; // otherwise it is refused for its ratio
  const bytes = gzip(rawTar([{ name: 'manifest.json', data: many }, noise]));
  assert(bytes.length < 60_000);
  const error = await fault(bytes);
  assert.deepEqual([error.code, error.problems.length], ['MANIFEST_INVALID', 1]);
});

test('registry.md: a manifest of more than 16 MiB is not read', async () => {
  const data = Buffer.concat([randomBytes(100_000), Buffer.alloc(16 * 1024 * 1024)]);
  const error = await fault(gzip(rawTar([{ name: 'manifest.json', data }, code])));
  assert.match(error.message, /more than 16777216 bytes/);
});

test('registry.md: a bomb is stopped at 200:1, before its bytes are in memory', async () => {
  assert.equal((await fault(gzip(Buffer.alloc(64 * 1024 * 1024)))).code, 'MANIFEST_MISSING', 'it is not read on');
  const asset = Buffer.alloc(64 * 1024 * 1024);
  const listed = { 'assets/zeros': sha256(asset), 'code/index.mjs': sha256(Buffer.from(code.data!)) };
  const bomb = gzip(rawTar([manifestEntry({ files: listed }), { name: 'assets/zeros', data: asset }, code]));
  const before = process.memoryUsage().arrayBuffers;
  await assert.rejects(readArchive(bomb), { code: 'ARCHIVE_TOO_LARGE' });
  assert(process.memoryUsage().arrayBuffers - before < 40 * 1024 * 1024);
  const zeros = new Map([['code/index.mjs', Buffer.alloc(4 * 1024 * 1024)]]);
  await assert.rejects(packArchive(sampleManifest(), zeros), { code: 'ARCHIVE_TOO_LARGE' });
});

test('registry.md, Reading a file: the unpacked size costs no memory, and the event loop has turns meanwhile', async () => {
  const noise = randomBytes(1024 * 1024);
  const asset = Buffer.alloc(120 * 1024 * 1024);
  noise.copy(asset);
  const files = new Map([
    ['code/index.mjs', Buffer.from('export {};')],
    ['assets/large', asset],
  ]);
  const { bytes, digest } = await packArchive(sampleManifest(), files);
  const held = (): number => process.memoryUsage().arrayBuffers;
  const before = held();
  let [most, turns, size, isDone] = [0, 0, 0, false];
  const turn = (): void => {
    turns += 1;
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  const read = await readArchive(bytes, async (path, chunks) => {
    for await (const chunk of chunks) {
      if (path === 'assets/large') size += chunk.length;
      most = Math.max(most, held() - before);
    }
  });
  isDone = true;
  assert.deepEqual([read.digest, size], [digest, asset.length]);
  assert(most < 60 * 1024 * 1024, `${most} bytes`);
  assert.equal(await archiveDigest(bytes), digest);
  assert(turns > 500, `${turns} turns`);
});

test('a sink that does not read a file to its end is an error', async () => {
  const { bytes } = await samplePackage();
  await assert.rejects(
    readArchive(bytes, async () => undefined),
    /did not read it to its end/,
  );
});

test('registry.md: at most 50 MB packed', async () => {
  assert.equal((await fault(Buffer.alloc(50 * 1024 * 1024 + 1))).code, 'ARCHIVE_TOO_LARGE');
});

test('a wrong size is refused', async () => {
  const tar = rawTar([manifestEntry(), code]);
  const size = 512 + Math.ceil(String(manifestEntry().data).length / 512) * 512 + 124;
  for (const lie of [
    '77777777777\0',
    '00000000001\0',
    '-0000000001\0',
    '\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000',
  ]) {
    const lying = Buffer.from(tar);
    lying.write(lie, size, 'latin1');
    const header = lying.subarray(size - 124, size - 124 + 512);
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    await fault(gzip(lying));
  }
});

const pack = (files: [string, string][]): Promise<unknown> =>
  packArchive(sampleManifest(), new Map(files.map(([path, text]) => [path, Buffer.from(text)])));

test('a file that could not be read is not packed', async () => {
  await assert.rejects(pack([]), { code: 'MANIFEST_INVALID' });
  await assert.rejects(
    pack([
      ['code/index.mjs', ''],
      ['assets/../x', ''],
    ]),
    { code: 'MANIFEST_INVALID' },
  );
  assert.equal(parseManifest(String(manifestEntry().data)).entry, 'code/index.mjs');
});
