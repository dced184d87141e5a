import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { samplePackage } from '../../testing/sample-package.ts';
import { openStorage } from './open.ts';
import type { StoredPackage } from './storage.ts';

const root = await mkdtemp(join(tmpdir(), 'cloacina-storage-'));
after(() => rm(root, { recursive: true, force: true }));

let folders = 0;
function newFolder(): string {
  folders++;
  return join(root, `deep ${folders}`, 'packages');
}

const one = await samplePackage('export const one = 1;\n');
const two = await samplePackage('export const two = 2;\n');

async function listed(url: string): Promise<StoredPackage[]> {
  const found: StoredPackage[] = [];
  for await (const stored of openStorage(url).list()) found.push(stored);
  return found.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
}

function fileOf(folder: string, digest: string): string {
  return join(folder, `${digest.replace(':', '-')}.cloacina`);
}

test('registry.md: bytes are stored under their digest and read back', async () => {
  const storage = openStorage(`file:${newFolder()}`);
  assert.equal(await storage.has(one.digest), false);
  assert.deepEqual(await listed(storage.url), []);
  await storage.put(one.digest, one.bytes);
  await storage.put(two.digest, two.bytes);
  assert.equal(await storage.has(one.digest), true);
  assert.deepEqual(Buffer.from(await storage.get(one.digest)), Buffer.from(one.bytes));
  const sizes = (await listed(storage.url)).map(({ digest, bytes }) => ({ digest, bytes }));
  const expected = [one, two].map(({ digest, bytes }) => ({ digest, bytes: bytes.length }));
  assert.deepEqual(
    sizes,
    expected.toSorted((a, b) => (a.digest < b.digest ? -1 : 1)),
  );
  await storage.delete(one.digest);
  await storage.delete(one.digest);
  assert.equal(await storage.has(one.digest), false);
  await assert.rejects(storage.get(one.digest), { code: 'PACKAGE_NOT_FOUND' });
});

test('registry.md, Storage: the folder is open to its user alone, whatever the umask', async (t) => {
  if (process.platform === 'win32') return t.skip('Windows has no modes');
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const folder = newFolder();
  await openStorage(`file:${folder}`).put(one.digest, one.bytes);
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
});

test('a put may be repeated, also at the same moment from several callers', async () => {
  const folder = newFolder();
  const sides = Array.from({ length: 8 }, () => openStorage(`file:${folder}`).put(one.digest, one.bytes));
  await Promise.all(sides);
  await openStorage(`file:${folder}`).put(one.digest, one.bytes);
  assert.deepEqual(await readdir(folder), [`${one.digest.replace(':', '-')}.cloacina`]);
});

test('registry.md: changed stored bytes are DIGEST_MISMATCH, and the next put repairs them', async () => {
  const folder = newFolder();
  const storage = openStorage(`file:${folder}`);
  await storage.put(one.digest, one.bytes);
  const path = fileOf(folder, one.digest);
  const damages = [
    () => writeFile(path, two.bytes),
    () => truncate(path, 100),
    () => writeFile(path, ''),
    async () => writeFile(path, (await readFile(path)).fill(0, 40, 60)),
  ];
  for (const damage of damages) {
    await damage();
    await assert.rejects(storage.get(one.digest), { code: 'DIGEST_MISMATCH', expected: one.digest });
    await storage.put(one.digest, one.bytes);
    await storage.get(one.digest);
  }
});

test('bytes of another digest are not stored', async () => {
  const folder = newFolder();
  await assert.rejects(openStorage(`file:${folder}`).put(one.digest, two.bytes), {
    code: 'DIGEST_MISMATCH',
    actual: two.digest,
  });
  await assert.rejects(openStorage(`file:${folder}`).put(one.digest, Buffer.from('no archive')), {
    code: 'DIGEST_MISMATCH',
  });
  await assert.rejects(readdir(folder), { code: 'ENOENT' });
});

test('the remains of a process that died in a write are never listed, and are removed later', async () => {
  const folder = newFolder();
  await openStorage(`file:${folder}`).put(one.digest, one.bytes);
  const leftover = (digit: string): string => join(folder, `${two.digest.replace(':', '-')}.${digit.repeat(36)}.tmp`);
  await writeFile(leftover('0'), two.bytes.subarray(0, 50));
  await writeFile(leftover('1'), two.bytes.subarray(0, 50));
  await writeFile(join(folder, 'notes.txt'), 'of another program');
  const old = new Date(Date.now() - 2 * 3_600_000);
  await utimes(leftover('0'), old, old);
  const storage = openStorage(`file:${folder}`);
  assert.equal(await storage.has(two.digest), false);
  assert.deepEqual(
    (await listed(storage.url)).map((stored) => stored.digest),
    [one.digest],
  );
  await storage.put(two.digest, two.bytes);
  await storage.get(two.digest);
  const left = (await readdir(folder)).filter((name) => !name.endsWith('.cloacina'));
  assert.deepEqual(left.toSorted(), ['notes.txt', relative(folder, leftover('1'))].toSorted());
});

test('only digests become file names', async () => {
  const storage = openStorage(`file:${newFolder()}`);
  for (const digest of ['../../etc/passwd', 'sha256:xyz', '', `sha256:${'A'.repeat(64)}`]) {
    await assert.rejects(storage.get(digest), { code: 'PACKAGE_NOT_FOUND' });
    await assert.rejects(storage.put(digest, one.bytes), { code: 'DIGEST_MISMATCH' });
    await assert.rejects(storage.delete(digest), { code: 'PACKAGE_NOT_FOUND' });
  }
});

test('a folder that cannot be written or read is STORE_UNAVAILABLE', async () => {
  const file = join(root, 'a file');
  await writeFile(file, '');
  const storage = openStorage(`file:${join(file, 'packages')}`);
  await assert.rejects(storage.put(one.digest, one.bytes), { code: 'STORE_UNAVAILABLE' });
  await assert.rejects(listed(storage.url), { code: 'STORE_UNAVAILABLE' });
});

test('a read-only folder is STORE_UNAVAILABLE, and no file is left in it', { skip: mayWriteAnywhere() }, async () => {
  const folder = newFolder();
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o500);
  await assert.rejects(openStorage(`file:${folder}`).put(one.digest, one.bytes), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual(await readdir(folder), []);
});

function mayWriteAnywhere(): boolean {
  return process.platform === 'win32' || process.getuid?.() === 0;
}

test('registry.md: storage URLs: relative, absolute, percent-encoded', async () => {
  const folder = newFolder();
  await openStorage(`file:${folder}`).put(one.digest, one.bytes);
  const absolute = pathToFileURL(folder).href;
  assert.match(absolute, /%20/);
  for (const url of [absolute, `file:${relative(process.cwd(), folder)}`, `FILE:${folder}`]) {
    const storage = openStorage(url);
    assert.equal(storage.url, absolute);
    assert.equal(await storage.has(one.digest), true);
  }
  const unknown = [
    '',
    './packages',
    'file:',
    's3://bucket/prefix',
    'database:',
    'https://example.org',
    'file:a\0b',
    'file:///a%2Fb',
  ];
  for (const url of unknown) {
    assert.throws(() => openStorage(url), { code: 'REGISTRY_URL_INVALID' }, url);
  }
});
