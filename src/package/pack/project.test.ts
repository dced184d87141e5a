import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { defaultEngine } from '../archive/engine-range.ts';
import { createProject, readProject } from './project.ts';

const root = await mkdtemp(join(tmpdir(), 'cloacina-project-'));
after(() => rm(root, { recursive: true, force: true }));

let folders = 0;
async function newFolder(packageJson: unknown, entry = 'src/index.ts'): Promise<string> {
  folders++;
  const dir = join(root, `project-${folders}`);
  await mkdir(join(dir, 'src'), { recursive: true });
  await writeFile(join(dir, entry), 'export {};\n');
  const text = typeof packageJson === 'string' ? packageJson : JSON.stringify(packageJson);
  await writeFile(join(dir, 'package.json'), text);
  return dir;
}

const plain = { name: 'daily-load', version: '1.2.3', cloacina: { entry: 'src/index.ts' } };

test('registry.md: a project is a folder with a package.json that names its entry', async () => {
  const project = await readProject(await newFolder(plain));
  const about = {
    name: 'daily-load',
    version: '1.2.3',
    description: null,
    authors: [],
    license: null,
    repository: null,
  };
  assert.deepEqual(project.package, about);
  assert.equal(project.entry, 'src/index.ts');
  assert.deepEqual(project.permissions, { net: false, env: [], read: [], write: [] });
  assert.deepEqual(project.engine, defaultEngine());
});

test('the metadata of package.json is used', async () => {
  const full = {
    ...plain,
    description: 'Loads.',
    author: 'Ada',
    contributors: [{ name: 'Grace', email: 'grace@example.org', url: 'https://example.org' }],
    license: 'MIT',
    repository: { type: 'git', url: 'https://example.org/repo.git' },
    dependencies: {},
    cloacina: {
      entry: './src/index.ts',
      permissions: { env: ['TOKEN'], net: ['example.org'] },
      engine: { node: '>=26' },
    },
  };
  const project = await readProject(await newFolder(full));
  assert.deepEqual(project.package, {
    name: 'daily-load',
    version: '1.2.3',
    description: 'Loads.',
    authors: ['Ada', 'Grace <grace@example.org> (https://example.org)'],
    license: 'MIT',
    repository: 'https://example.org/repo.git',
  });
  assert.equal(project.entry, 'src/index.ts');
  assert.deepEqual(project.permissions, { net: ['example.org'], env: ['TOKEN'], read: [], write: [] });
  assert.deepEqual(project.engine, { ...defaultEngine(), node: '>=26' });
});

test('a project that cannot be packed is PROJECT_INVALID, with all problems', async () => {
  const broken = {
    name: '../x',
    version: '1',
    cloacina: { entry: '../index.ts', permissions: { nett: true }, out: 'x' },
  };
  const faults = [
    'name: ',
    'version: ',
    'cloacina.entry: ',
    'cloacina.permissions.nett: ',
    "cloacina.out: 'out' is not a key",
  ];
  await assert.rejects(readProject(await newFolder(broken)), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'PROJECT_INVALID');
    for (const fault of faults) assert(error.message.includes(fault), `${fault} in ${error.message}`);
    return true;
  });
  const cases: [unknown, RegExp][] = [
    ['{ "name": ', /not JSON/],
    ['[]', /it must be an object/],
    [{ name: 'a', version: '1.0.0' }, /cloacina: it is missing/],
    [{ ...plain, cloacina: { entry: 'src/other.ts' } }, /'src\/other.ts' of package.json/],
    [{ ...plain, cloacina: { entry: 'src' } }, /'src' of package.json/],
    [{ ...plain, cloacina: { entry: '/etc/passwd' } }, /inside the project/],
    [{ ...plain, cloacina: { entry: 'C:\\x.ts' } }, /inside the project/],
    [{ ...plain, cloacina: { entry: 'src/index.ts', engine: { node: 'new' } } }, /engine.node: .*range/],
  ];
  for (const [json, message] of cases) {
    await assert.rejects(readProject(await newFolder(json)), { code: 'PROJECT_INVALID', message });
  }
});

test('a folder that is absent, a file, or has no package.json is named', async () => {
  const dir = await newFolder(plain);
  await assert.rejects(readProject(join(dir, 'nowhere')), { code: 'FILE_UNREADABLE' });
  await assert.rejects(readProject(join(dir, 'package.json')), { code: 'PROJECT_INVALID' });
  await assert.rejects(readProject(join(dir, 'src')), { code: 'PROJECT_INVALID', message: /package new/ });
});

test('a new project is valid and named after its folder', async () => {
  const dir = join(root, 'My Flow!');
  const created = await createProject(dir);
  assert.equal(created.name, 'my-flow');
  assert.deepEqual(created.files, ['package.json', 'tsconfig.json', 'src/index.ts', 'README.md']);
  assert.equal((await readProject(dir)).package.name, 'my-flow');
  assert.match(await readFile(join(dir, 'src', 'index.ts'), 'utf8'), /workflow\('my_flow'/);
  assert.match(await readFile(join(dir, 'README.md'), 'utf8'), /workflow run my_flow /);
});

test('a new project takes the given name, or an error says why not', async () => {
  const dir = join(root, 'scoped');
  assert.equal((await createProject(dir, { name: '@shop/daily-load' })).name, '@shop/daily-load');
  assert.match(await readFile(join(dir, 'README.md'), 'utf8'), /register shop-daily-load-1.0.0.cloacina/);
  await assert.rejects(createProject(join(root, 'unnamed'), { name: 'a b' }), { code: 'OPTION_INVALID' });
});

test('a new project is written into an empty folder only', async () => {
  const dir = await newFolder(plain);
  const before = await readFile(join(dir, 'package.json'), 'utf8');
  await assert.rejects(createProject(dir), { code: 'TARGET_EXISTS' });
  await assert.rejects(createProject(join(dir, 'package.json')), { code: 'TARGET_EXISTS' });
  await assert.rejects(createProject(join(dir, 'package.json', 'x')), { code: 'TARGET_EXISTS' });
  assert.equal(await readFile(join(dir, 'package.json'), 'utf8'), before);
  await mkdir(join(root, 'empty'));
  await createProject(join(root, 'empty'));
});
