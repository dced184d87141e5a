import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { unpackPackage, unpackTemporary } from './unpack.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const files = new Map([
  ['code/index.mjs', Buffer.from('export {};\n')],
  ['assets/deep/er/data.csv', Buffer.from([0, 255, 10])],
]);

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
    const dirs = await Promise.all(Array.from({ length: 8 }, () => unpackPackage(root, digest, files)));
    assert.equal(new Set(dirs).size, 1);
    assert.deepEqual(read(dirs[0]!), files);
    assert.deepEqual(readdirSync(root), [`sha256-${'ab'.repeat(32)}`]);
  });

  test('a folder that was changed or half removed is written again', async (t) => {
    const root = temporary(t);
    const dir = await unpackPackage(root, digest, files);
    chmodSync(join(dir, 'code', 'index.mjs'), 0o600);
    writeFileSync(join(dir, 'code', 'index.mjs'), 'export { evil };\n');
    await unpackPackage(root, digest, files);
    assert.equal(read(dir).get('code/index.mjs')?.toString(), 'export {};\n');
    rmSync(join(dir, 'assets'), { recursive: true });
    await unpackPackage(root, digest, files);
    assert.equal(read(dir).size, 2);
    assert.equal(readdirSync(root).length, 1);
  });

  test('other users can neither read nor replace it, and its files are read-only', async (t) => {
    if (process.platform === 'win32') return t.skip('Windows has no modes');
    const root = temporary(t);
    const umask = process.umask(0);
    t.after(() => process.umask(umask));
    const dir = await unpackPackage(root, digest, files);
    const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
    assert.deepEqual([root, dir].map(mode), ['700', '700']);
    assert.deepEqual(
      Array.from(files.keys(), (path) => mode(join(dir, path))),
      ['400', '400'],
    );
  });

  test('the remains of a killed process are swept after an hour, not before', async (t) => {
    const root = temporary(t);
    for (const name of ['.unpacking-old', '.unpacking-new', 'other']) mkdirSync(join(root, name), { recursive: true });
    const twoHoursAgo = new Date(Date.now() - 7_200_000);
    utimesSync(join(root, '.unpacking-old'), twoHoursAgo, twoHoursAgo);
    utimesSync(join(root, 'other'), twoHoursAgo, twoHoursAgo);
    await unpackPackage(root, digest, files);
    assert.deepEqual(readdirSync(root).toSorted(), ['.unpacking-new', 'other', `sha256-${'ab'.repeat(32)}`]);
  });

  test('a path that leaves the folder is refused, and no file is left', async (t) => {
    const root = temporary(t);
    const evil = new Map([...files, ['code/../../evil.mjs', Buffer.from('')]]);
    await assert.rejects(unpackPackage(root, digest, evil), { code: 'ARCHIVE_ENTRY_REFUSED' });
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
