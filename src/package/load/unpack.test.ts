import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import type { FileSink } from '../archive/archive.ts';
import { sha256 } from '../archive/digest.ts';
import { unpackPackage, unpackTemporary } from './unpack.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const files = new Map([
  ['code/index.mjs', Buffer.from('export {};\n')],
  ['assets/deep/er/data.csv', Buffer.from([0, 255, 10])],
]);

const hashes = Object.fromEntries(Array.from(files, ([path, bytes]) => [path, sha256(bytes)]));

/** Passes files on in chunks of a few bytes. */
async function extract(sink: FileSink, all: ReadonlyMap<string, Buffer> = files): Promise<void> {
  for (const [path, bytes] of all) await sink(path, chunks(bytes));
}

async function* chunks(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 5) yield bytes.subarray(at, at + 5);
}

function temporary(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'cloacina-unpack-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return join(root, 'packages');
}

function read(dir: string): Map<string, Buffer> {
  const names = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = names.map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1));
  return new Map(paths.map((path) => [path.replaceAll('\\', '/'), readFileSync(join(dir, path))]));
}

describe('registry.md, Isolation: a package is unpacked into a folder of its own', () => {
  test('the folder is named by the digest, and the same for every caller', async (t) => {
    const root = temporary(t);
    const dirs = await Promise.all(Array.from({ length: 8 }, () => unpackPackage(root, digest, hashes, extract)));
    assert.equal(new Set(dirs).size, 1);
    assert.deepEqual(read(dirs[0]!), files);
    assert.deepEqual(readdirSync(root), [`sha256-${'ab'.repeat(32)}`]);
  });

  test('a folder that was changed or half removed is written again', async (t) => {
    const root = temporary(t);
    const dir = await unpackPackage(root, digest, hashes, extract);
    chmodSync(join(dir, 'code', 'index.mjs'), 0o600);
    writeFileSync(join(dir, 'code', 'index.mjs'), 'export { evil };\n');
    await unpackPackage(root, digest, hashes, extract);
    assert.equal(read(dir).get('code/index.mjs')?.toString(), 'export {};\n');
    rmSync(join(dir, 'assets'), { recursive: true });
    await unpackPackage(root, digest, hashes, extract);
    assert.equal(read(dir).size, 2);
    assert.equal(readdirSync(root).length, 1);
  });

  test('other users can neither read nor replace it, and its files are read-only', async (t) => {
    if (process.platform === 'win32') return t.skip('Windows has no modes');
    const root = temporary(t);
    const umask = process.umask(0);
    t.after(() => process.umask(umask));
    const dir = await unpackPackage(root, digest, hashes, extract);
    const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
    assert.deepEqual([root, dir].map(mode), ['700', '700']);
    assert.deepEqual(
      Array.from(files.keys(), (path) => mode(join(dir, path))),
      ['400', '400'],
    );
  });

  test('a folder that others can write to is closed to them, and one of another user is refused', async (t) => {
    if (process.platform === 'win32') return t.skip('Windows has no modes');
    const root = temporary(t);
    mkdirSync(root);
    chmodSync(root, 0o777);
    const dir = await unpackPackage(root, digest, hashes, extract);
    assert.equal(statSync(root).mode & 0o777, 0o700);
    chmodSync(dir, 0o777);
    await unpackPackage(root, digest, hashes, extract);
    assert.equal(statSync(dir).mode & 0o777, 0o700, 'written again');
    if (process.getuid?.() !== 0) return t.skip('only root can give a folder away');
    chownSync(root, 65_534, 65_534);
    await assert.rejects(unpackPackage(root, digest, hashes, extract), {
      code: 'PACKAGE_LOAD_FAILED',
      message: /belongs to another user/,
    });
  });

  test('a link in the place of a file or of the folder is not followed', async (t) => {
    if (process.platform === 'win32') return t.skip('links need rights on Windows');
    const root = temporary(t);
    const dir = await unpackPackage(root, digest, hashes, extract);
    const moved = join(root, 'moved');
    renameSync(dir, moved);
    symlinkSync(moved, dir);
    await unpackPackage(root, digest, hashes, extract);
    assert.ok(lstatSync(dir).isDirectory());
    const file = join(dir, 'code', 'index.mjs');
    renameSync(file, join(root, 'index.mjs'));
    symlinkSync(join(root, 'index.mjs'), file);
    await unpackPackage(root, digest, hashes, extract);
    assert.ok(lstatSync(file).isFile());
  });

  test('the remains of a killed process are swept after an hour, not before', async (t) => {
    const root = temporary(t);
    for (const name of ['.unpacking-old', '.unpacking-new', 'other']) mkdirSync(join(root, name), { recursive: true });
    const twoHoursAgo = new Date(Date.now() - 7_200_000);
    utimesSync(join(root, '.unpacking-old'), twoHoursAgo, twoHoursAgo);
    utimesSync(join(root, 'other'), twoHoursAgo, twoHoursAgo);
    await unpackPackage(root, digest, hashes, extract);
    assert.deepEqual(readdirSync(root).toSorted(), ['.unpacking-new', 'other', `sha256-${'ab'.repeat(32)}`]);
  });

  test('a path that leaves the folder is refused, and no file is left', async (t) => {
    const root = temporary(t);
    const evil = new Map([...files, ['code/../../evil.mjs', Buffer.from('')]]);
    await assert.rejects(
      unpackPackage(root, digest, hashes, (sink) => extract(sink, evil)),
      { code: 'ARCHIVE_ENTRY_REFUSED' },
    );
    assert.deepEqual(readdirSync(root), []);
  });

  test('a temporary folder is removed when its scope ends', async () => {
    let dir = '';
    {
      await using folder = await unpackTemporary(files);
      dir = folder.dir;
      assert.equal(read(dir).size, 2);
    }
    assert.throws(() => readdirSync(dir), { code: 'ENOENT' });
  });
});
