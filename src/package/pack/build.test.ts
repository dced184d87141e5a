import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import { functionsOf, isWorkflow } from '../../core/definition/workflow.ts';
import { sampleWorkflow } from '../../testing/sample-package.ts';
import type { PackageFiles } from '../archive/archive.ts';
import { readWhole } from '../../testing/sample-package.ts';
import { buildPackage } from './build.ts';
import { createProject } from './project.ts';

const root = await mkdtemp(join(tmpdir(), 'cloacina-build-'));
after(() => rm(root, { recursive: true, force: true }));

let folders = 0;
async function write(files: { [path: string]: string }, dir = join(root, `p${++folders}`)): Promise<string> {
  for (const [path, content] of Object.entries(files)) {
    const file = join(dir, ...path.split('/'));
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }
  return dir;
}

function packageJson(more: object = {}): string {
  const json = { name: 'sample', version: '1.0.0', type: 'module', cloacina: { entry: 'src/index.ts' }, ...more };
  return JSON.stringify(json);
}

const literal = { describe: () => Promise.resolve([sampleWorkflow('w')]) };

/** Loads the bundle as a runner does: from its own folder, with `cloacina` supplied by the host. */
async function load(files: PackageFiles): Promise<Record<string, unknown>> {
  const dir = await write({
    'node_modules/cloacina/package.json': '{ "name": "cloacina", "type": "module", "exports": "./index.mjs" }',
    'node_modules/cloacina/index.mjs': `export * from ${JSON.stringify(new URL('../../core/definition/workflow.ts', import.meta.url).href)};`,
  });
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), bytes);
  }
  return import(pathToFileURL(join(dir, 'code', 'index.mjs')).href) as Promise<Record<string, unknown>>;
}

async function describeBundle({ files }: { files: PackageFiles }): Promise<WorkflowSpec[]> {
  return Object.values(await load(files)).flatMap((value) => (isWorkflow(value) ? [value.spec] : []));
}

function text(files: PackageFiles, path: string): string {
  const bytes = files.get(path);
  assert(bytes !== undefined, `${path} in ${[...files.keys()].join(', ')}`);
  return Buffer.from(bytes).toString('utf8');
}

/** Two modules of one name, each with an asset of one name, a dependency in CommonJS, and a lazily loaded module. */
const mixed = {
  'package.json': packageJson(),
  'README.md': '# Sample\n',
  '.env': 'SECRET=1\n',
  'src/index.ts': `import { workflow } from 'cloacina';
import { sep } from 'path';
import { left } from 'left';
import settings from './settings.json';
import a from './a/data.ts';
import b from './b/data.ts';
const flow = workflow('mixed');
flow.task('one', () => 1);
export const found: unknown = { sep, left: left(), settings, a, b, late: async () => (await import('./late.ts')).late };
export { flow };
`,
  'src/settings.json': '{ "size": 3 }\n',
  'src/late.ts': 'export const late: string = "late";\n',
  'src/a/data.ts': `// new URL('./nowhere.csv', import.meta.url)\nexport default new URL('./order list.csv?x#y', import.meta.url).href;\n`,
  'src/a/order list.csv': 'a;1\n',
  'src/b/data.ts': 'export default new URL(`./order list.csv`, import.meta.url).href;\n',
  'src/b/order list.csv': 'b;2\n',
  'src/unused.ts': 'export const unused = 1;\n',
  'node_modules/left/package.json': '{ "name": "left", "main": "main.js" }',
  'node_modules/left/main.js': `const fs = require('fs'); try { require('optional-thing'); } catch {}\nexports.left = () => typeof fs.readFileSync;\n`,
};

test('registry.md: a project is bundled into one module in which only node: and cloacina stay imports', async () => {
  const packed = await buildPackage(await write(mixed), { describe: describeBundle });
  const { files, manifest, digest } = await readWhole(packed.bytes);
  assert.equal(digest, packed.digest);
  assert.deepEqual(
    manifest.workflows.map((spec) => spec.name),
    ['mixed'],
  );
  const code = text(files, 'code/index.mjs');
  const imported = [...code.matchAll(/^import .* from "(.*)";$/gm)].map((match) => match[1]);
  assert.deepEqual(new Set(imported), new Set(['cloacina', 'node:module', 'node:path']));
  const paths = [...files.keys()].map((path) => path.replace(/-[0-9a-f]{8}\./, '-*.'));
  assert.deepEqual(paths, [
    'assets/order list-*.csv',
    'assets/order list-*.csv',
    'code/index.mjs',
    'code/index.mjs.map',
    'source/README.md',
    'source/package.json',
    'source/src/a/data.ts',
    'source/src/b/data.ts',
    'source/src/index.ts',
    'source/src/late.ts',
    'source/src/settings.json',
  ]);
  const { found } = (await load(files)) as { found: { [key: string]: unknown; late: () => Promise<string> } };
  assert.equal(found.left, 'function');
  assert.deepEqual(found.settings, { size: 3 });
  assert.equal(await found.late(), 'late');
});

test('registry.md: assets are stored beside the code and found there, also two of one name', async () => {
  const { bytes } = await buildPackage(await write(mixed), literal);
  const { found } = (await load((await readWhole(bytes)).files)) as { found: { a: string; b: string } };
  assert.equal(await readFile(new URL(found.a), 'utf8'), 'a;1\n');
  assert.equal(await readFile(new URL(found.b), 'utf8'), 'b;2\n');
});

test('registry.md: the same sources produce the same bytes in another folder, and name no folder', async () => {
  const one = await buildPackage(await write(mixed), literal);
  const elsewhere = join(root, 'another', 'place', 'with a longer name');
  // the dependency is above the project here, and the tsconfig is not the project's own
  const { 'node_modules/left/package.json': json, 'node_modules/left/main.js': main, ...own } = mixed;
  await write(
    {
      'node_modules/left/package.json': json,
      'node_modules/left/main.js': main,
      'tsconfig.json': '{ "compilerOptions": { "target": "es5" } }',
    },
    join(root, 'another'),
  );
  const other = await buildPackage(await write(own, elsewhere), literal);
  assert.equal(other.digest, one.digest);
  assert.deepEqual(Buffer.from(other.bytes), Buffer.from(one.bytes));
  const { files } = await readWhole(one.bytes);
  for (const [path, bytes] of files) {
    assert(!Buffer.from(bytes).includes('cloacina-build-'), `${path} names the folder it was built in`);
  }
});

test('registry.md: a project inside a node_modules folder produces the same bytes too', async () => {
  const files = {
    'package.json': packageJson(),
    'src/index.ts': `import { w } from './w.ts';\nexport { w };\n`,
    'src/w.ts': `import { workflow } from 'cloacina';\nexport const w: unknown = workflow('w');\n`,
  };
  const outside = await buildPackage(await write(files), literal);
  const inside = await buildPackage(await write(files, join(root, 'app', 'node_modules', 'host', 'demo')), literal);
  assert.equal(inside.digest, outside.digest);
});

test('the source map points from the bundle to the stored sources, rewritten modules included', async () => {
  const { bytes } = await buildPackage(await write(mixed), literal);
  const { files } = await readWhole(bytes);
  const map = JSON.parse(text(files, 'code/index.mjs.map')) as { sources: string[]; sourcesContent?: unknown };
  const own = map.sources.filter((source) => !source.includes('node_modules'));
  for (const source of own) assert(files.has(new URL(source, 'file:///code/').pathname.slice(1)), source);
  assert(own.includes('../source/src/a/data.ts'));
  assert(map.sources.includes('../source/node_modules/left/main.js'));
  assert.equal(map.sourcesContent, undefined);
});

test('a changed source or manifest changes the digest', async () => {
  const one = await buildPackage(await write(mixed), literal);
  const source = { ...mixed, 'src/late.ts': 'export const late: string = "later";\n' };
  const version = { ...mixed, 'package.json': packageJson({ version: '1.0.1' }) };
  for (const change of [source, version]) {
    assert.notEqual((await buildPackage(await write(change), literal)).digest, one.digest);
  }
});

test('registry.md: a new project packs as it is, with nothing installed, and runs', async () => {
  const dir = join(root, 'greeter');
  await createProject(dir);
  const packed = await buildPackage(dir, { describe: describeBundle });
  const [spec] = packed.manifest.workflows;
  assert.equal(spec?.name, 'greeter');
  assert.deepEqual(
    spec.tasks.map((task) => task.name),
    ['split', 'count', 'report'],
  );
  assert.deepEqual(
    Object.keys(packed.manifest.files).filter((path) => path.startsWith('source/')),
    ['source/README.md', 'source/package.json', 'source/src/index.ts', 'source/tsconfig.json'],
  );
  const { default: flow } = (await load((await readWhole(packed.bytes)).files)) as { default: AnyWorkflow };
  const needs: Record<string, unknown> = {};
  for (const [name, functions] of functionsOf(flow).tasks) {
    const ctx = { input: { text: 'One two, TWO!' }, needs: { ...needs }, log: { info: () => undefined } };
    needs[name] = await functions.run?.(ctx as never);
  }
  const top = [
    { word: 'two', times: 2 },
    { word: 'one', times: 1 },
  ];
  assert.deepEqual(needs['report'], { words: 3, distinct: 2, top });
});

async function assertBuildFails(files: { [path: string]: string }, message: RegExp): Promise<void> {
  const dir = await write({ 'package.json': packageJson(), ...files });
  await assert.rejects(buildPackage(dir, literal), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'BUILD_FAILED', String(error));
    assert.match(error.message, message);
    assert(!error.message.includes('\u001b'), 'no colours');
    return true;
  });
}

test('registry.md, Packing: an error of an entry that does not build has the message of the bundler with file and line', async () => {
  await assertBuildFails(
    { 'src/index.ts': 'export const a = 1;\nconst b = ;\n' },
    /src\/index\.ts:2:11: Unexpected token/,
  );
  await assertBuildFails(
    { 'src/index.ts': "import x from './no.ts';\nexport const a = x;\n" },
    /src\/index\.ts:1:15: Could not resolve '.\/no.ts'/,
  );
  await assertBuildFails(
    { 'src/index.ts': "\nexport * from 'not-installed';\n" },
    /src\/index\.ts:2:15: Could not resolve 'not-installed'/,
  );
  await assertBuildFails(
    { 'src/index.ts': "export const a = await import('not-installed');\n" },
    /src\/index\.ts:1:\d+: Could not resolve/,
  );
  await assertBuildFails(
    { 'src/index.ts': "import { b } from './b.ts';\nexport const a = b;\n", 'src/b.ts': '\n' },
    /src\/index\.ts:1:10: "b" is not exported/,
  );
});

test('a missing import of a dependency is refused', async () => {
  await assertBuildFails(
    {
      'src/index.ts': "import { x } from 'dep';\nexport const a = x;\n",
      'node_modules/dep/package.json': '{ "name": "dep", "type": "module", "main": "main.js" }',
      'node_modules/dep/main.js': "import y from 'not-installed';\nexport const x = y;\n",
    },
    /node_modules\/dep\/main\.js:1:15: Could not resolve 'not-installed'/,
  );
});

test('native modules, parts of the host, and missing assets are refused', async () => {
  await assertBuildFails(
    { 'src/index.ts': "import a from './a.node';\nexport { a };\n", 'src/a.node': 'ELF' },
    /src\/a\.node: a native module/,
  );
  await assertBuildFails(
    { 'src/index.ts': "import { a } from 'cloacina/server';\nexport { a };\n" },
    /src\/index\.ts: 'cloacina\/server' cannot be imported in a package/,
  );
  const asset = "export const a = 1;\nexport const u = new URL('./no.csv', import.meta.url);\n";
  await assertBuildFails({ 'src/index.ts': asset }, /src\/index\.ts:2:26: the file 'src\/no\.csv' cannot be read/);
  const secret = "export const u = new URL('./.env', import.meta.url);\n";
  await assertBuildFails({ 'src/index.ts': secret, 'src/.env': 'SECRET=1' }, /begins with a dot/);
});

test('a text that names no file of the project is left unchanged', async () => {
  const urls = [
    "new URL('https://example.org/x', import.meta.url)",
    "new URL('..', import.meta.url)",
    "new URL('/x', import.meta.url)",
    "new URL('./x', 'file:///')",
    "new URL('%', import.meta.url)",
  ];
  const source = `export const urls = [${urls.join(', ')}];\n`;
  const { bytes } = await buildPackage(await write({ 'package.json': packageJson(), 'src/index.ts': source }), literal);
  const code = text((await readWhole(bytes)).files, 'code/index.mjs');
  assert.deepEqual(
    [...code.matchAll(/new URL\("(.*?)"/g)].map((match) => match[1]),
    ['https://example.org/x', '..', '/x', './x', '%'],
  );
});

test('registry.md, Packing: an entry that exports no workflow is NO_WORKFLOWS', async () => {
  const dir = await write({ 'package.json': packageJson(), 'src/index.ts': 'export const a = 1;\n' });
  await assert.rejects(buildPackage(dir, { describe: describeBundle }), {
    code: 'NO_WORKFLOWS',
    message: /src\/index\.ts/,
  });
});

test('registry.md: an invalid workflow is refused with the error that describing it throws', async () => {
  const source =
    "import { workflow } from 'cloacina';\nconst w = workflow('w');\nw.task('a', () => 1);\nw.task('a', () => 2);\nexport { w };\n";
  const dir = await write({ 'package.json': packageJson(), 'src/index.ts': source });
  await assert.rejects(buildPackage(dir, { describe: describeBundle }), { message: /'a'/ });
});

test('sources above the project are stored under up/', async () => {
  const dir = join(root, 'monorepo', 'flow');
  await write({ 'shared/x.ts': 'export const x = 1;\n' }, join(root, 'monorepo'));
  await write({ 'package.json': packageJson(), 'src/index.ts': "export { x } from '../../shared/x.ts';\n" }, dir);
  const { manifest } = await buildPackage(dir, literal);
  assert('source/up/shared/x.ts' in manifest.files);
});
