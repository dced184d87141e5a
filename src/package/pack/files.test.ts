import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { literal, packageJson, PackRig, text } from '../../testing/pack-rig.ts';
import type { ProjectFiles } from '../../testing/pack-rig.ts';
import { readArchive } from '../archive/archive.ts';
import { buildPackage } from './build.ts';

const rig = await PackRig.open('files');

async function assetsOf(files: ProjectFiles): Promise<readonly string[]> {
  const { manifest } = await rig.pack(files);
  return Object.keys(manifest.files).filter((path) => path.startsWith('assets/'));
}

const templates = {
  'src/templates/mail.hbs': 'Hi {{> name}}',
  'src/templates/parts/name.hbs': '{{name}}',
  'src/templates/.draft.hbs': 'draft',
};

test('packages.md, Files: cloacina.files keeps files with their names and places, and code finds them as in Node', async () => {
  const { found } = (await rig.run({
    ...templates,
    'package.json': packageJson({}, { files: ['src/templates/**'] }),
    'src/index.ts': `import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { own } from './deep/own.ts';
import cjs from './old.cjs';
const here = import.meta.url;
const { dirname: folder, filename } = import.meta;
const name = (text: string): string => text;
const read = (path: string | URL): string => readFileSync(path, 'utf8');
export const found = [
  readdirSync(new URL('./templates/', import.meta.url)).toSorted(),
  read(new URL(\`./templates/\${name('mail')}.hbs\`, here)),
  read(join(import.meta.dirname, 'templates', 'mail.hbs')),
  read(join(dirname(fileURLToPath(here)), 'templates/mail.hbs')),
  read(join(folder, 'templates/mail.hbs')),
  read(join(dirname(filename), 'templates/mail.hbs')),
  read(own),
  read(cjs.file),
  cjs.short.__filename.endsWith('old.cjs'),
];
`,
    'src/deep/own.ts': `export const own = new URL('../templates/mail.hbs', import.meta.url);\n`,
    'src/old.cjs': `const path = require('path');
exports.file = path.join(__dirname, 'templates', 'mail.hbs');
exports.short = { __filename, __dirname: typeof __dirname };
`,
  })) as { found: unknown[] };
  const mail = 'Hi {{> name}}';
  assert.deepEqual(found, [['mail.hbs', 'parts'], mail, mail, mail, mail, mail, mail, mail, true]);
});

test('files of a dependency are named by node_modules/NAME, wherever it is installed', async () => {
  const dependency = {
    'node_modules/afm/package.json': '{ "name": "afm", "main": "lib/index.js" }',
    'node_modules/afm/lib/index.js': `exports.font = () => require('fs').readFileSync(__dirname + '/../data/a.afm', 'utf8');\n`,
    'node_modules/afm/data/a.afm': 'font',
    'node_modules/afm/data/b.afm': 'other',
  };
  const project = {
    'package.json': packageJson({}, { files: ['node_modules/afm/data/*'] }),
    'src/index.ts': `import { font } from 'afm';\nexport const found: unknown = font();\n`,
  };
  const beside = await rig.pack({ ...project, ...dependency });
  const { files } = await readArchive(beside.bytes);
  assert.equal((await rig.load(files))['found'], 'font');
  // the path leads through `lib`, which exists therefore
  assert(files.has('assets/node_modules/afm/lib/cloacina-folder'));
  assert.deepEqual(beside.warnings, []);
  const above = join(rig.root, 'workspace');
  await rig.write(dependency, above);
  const hoisted = await buildPackage(await rig.write(project, join(above, 'packages', 'flows')), literal);
  assert.equal(hoisted.digest, beside.digest);
  const store = join(rig.root, 'store');
  await rig.write(
    Object.fromEntries(Object.entries(dependency).map(([path, data]) => [`node_modules/.pnpm/afm@1/${path}`, data])),
    store,
  );
  await symlink(join('.pnpm', 'afm@1', 'node_modules', 'afm'), join(store, 'node_modules', 'afm'), 'junction');
  const linked = await buildPackage(await rig.write(project, store), literal);
  assert.equal(linked.digest, beside.digest);
});

test('a package of the workspace is named like a dependency, and its code finds its files', async () => {
  const workspace = join(rig.root, 'linked');
  await rig.write(
    {
      'shared/package.json': '{ "name": "shared", "type": "module", "main": "src/index.ts" }',
      'shared/src/index.ts': `import { readFileSync } from 'node:fs';\nexport const text = () => readFileSync(import.meta.dirname + '/../data/x.txt', 'utf8');\n`,
      'shared/data/x.txt': 'shared data',
      'flows/package.json': packageJson({}, { files: ['node_modules/shared/data/**'] }),
      'flows/src/index.ts': `import { text } from 'shared';\nexport const found: unknown = text();\n`,
      'flows/node_modules/empty/package.json': '{}',
    },
    workspace,
  );
  await symlink(join('..', '..', 'shared'), join(workspace, 'flows', 'node_modules', 'shared'), 'junction');
  const { bytes, warnings } = await buildPackage(join(workspace, 'flows'), literal);
  const { files } = await readArchive(bytes);
  assert.equal((await rig.load(files))['found'], 'shared data');
  assert.equal(text(files, 'assets/up/shared/data/x.txt'), 'shared data');
  assert.deepEqual(warnings, []);
});

test('a pattern takes files: no dotfiles, and no dependencies unless it names them', async () => {
  const files = {
    ...templates,
    'src/index.ts': 'export {};\n',
    'node_modules/dep/x.hbs': 'x',
    'node_modules/dep/package.json': '{}',
  };
  const hbs = await assetsOf({ ...files, 'package.json': packageJson({}, { files: ['**/*.hbs'] }) });
  assert.deepEqual(hbs, ['assets/src/templates/mail.hbs', 'assets/src/templates/parts/name.hbs']);
  const all = await assetsOf({
    ...files,
    'package.json': packageJson({}, { files: ['./src/templates/*', 'node_modules/dep/*.hbs'] }),
  });
  assert.deepEqual(all, ['assets/node_modules/dep/x.hbs', 'assets/src/templates/mail.hbs']);
});

test('a pattern that matches nothing, is absolute or names a dotfile is refused', async () => {
  const refusal = (pattern: string, code = 'PROJECT_INVALID'): Promise<string> =>
    rig.refusal(
      { ...templates, 'package.json': packageJson({}, { files: [pattern] }), 'src/index.ts': 'export {};\n' },
      code,
    );
  assert.match(await refusal('src/templats/**'), /cloacina\.files: 'src\/templats\/\*\*' matches no file in /);
  assert.match(await refusal('node_modules/none/*'), /matches no file/);
  for (const absolute of ['/etc/*', 'C:\\x', ''])
    assert.match(await refusal(absolute), /cloacina\.files\[0\]: it must be a relative path/);
  assert.match(await refusal('src/templates/.draft.hbs', 'BUILD_FAILED'), /begins with a dot/);
});

test('two versions of a dependency with different files of one place are refused', async () => {
  const version = (at: string, data: string): ProjectFiles => ({
    [`${at}/package.json`]: '{ "name": "dep", "type": "module", "main": "index.js" }',
    [`${at}/index.js`]: `export const url = new URL('./x.dat', import.meta.url);\n`,
    [`${at}/x.dat`]: data,
  });
  const files = {
    ...version('node_modules/dep', 'one'),
    'node_modules/user/package.json': '{ "name": "user", "type": "module", "main": "index.js" }',
    'node_modules/user/index.js': `export { url as other } from 'dep';\n`,
    'src/index.ts': `import { url } from 'dep';\nimport { other } from 'user';\nexport const urls: unknown = [url, other];\n`,
  };
  const nested = 'node_modules/user/node_modules/dep';
  assert.match(
    await rig.refusal({ ...files, ...version(nested, 'two') }),
    /node_modules\/dep\/x\.dat is in the package twice/,
  );
  await rig.pack({ ...files, ...version(nested, 'one') });
});

test('what the code seems to read beside itself and is not in the package is a warning with its place', async () => {
  const source = `import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
const root = join(import.meta.dirname, '..');
const folder = fileURLToPath(new URL('./templates', import.meta.url));
export const names = (name: string) => [
  readFileSync(join(import.meta.dirname, 'templates', 'mail.hbs')),
  readFileSync(\`\${folder}/\${name}\`),
  readdirSync(new URL('./templates/', import.meta.url)),
  readFileSync(new URL(name, import.meta.url)),
  readFileSync(join(root, 'none.txt')),
  readFileSync('src/templates/mail.hbs'),
  readdirSync(import.meta.dirname),
  import.meta.url === process.argv[1],
];
`;
  const files = { ...templates, 'src/index.ts': source };
  const { warnings } = await rig.pack(files);
  assert.deepEqual(warnings, [
    `src/index.ts:5:38: 'src/templates/**' is not in the package; add "src/templates/**" to cloacina.files`,
    `src/index.ts:7:16: 'src/templates/mail.hbs' is not in the package; add "src/templates/mail.hbs" to cloacina.files`,
    `src/index.ts:8:16: a file that this path names is in the package only if cloacina.files names it`,
    `src/index.ts:9:15: 'src/templates/**' is not in the package; add "src/templates/**" to cloacina.files`,
    `src/index.ts:10:16: a file that this path names is in the package only if cloacina.files names it`,
    `src/index.ts:12:3: 'src/templates/mail.hbs' is read from the working folder, which is not the project's in a package; use new URL('./templates/mail.hbs', import.meta.url)`,
    `src/index.ts:13:15: 'src/**' is not in the package; add "src/**" to cloacina.files`,
  ]);
  const named = await rig.pack({ ...files, 'package.json': packageJson({}, { files: ['src/templates/**'] }) });
  assert.deepEqual(
    named.warnings.map((warning) => /:(\d+):/.exec(warning)?.[1]),
    ['12'],
    named.warnings.join('\n'),
  );
});

test('files of a dependency that it names by a literal, and its WebAssembly, are one warning', async () => {
  const { warnings } = await rig.pack({
    'src/index.ts': `import { font } from 'afm';\nexport const found: unknown = font;\n`,
    'node_modules/afm/package.json': '{ "name": "afm", "main": "lib/index.js" }',
    'node_modules/afm/lib/index.js': `const { join } = require('path');
exports.font = (name) => [join(__dirname, '..', 'data', 'a.afm'), join(__dirname, '../data'), join(__dirname, name), __dirname];
`,
    'node_modules/afm/lib/index.wasm': 'w',
    'node_modules/afm/lib/other.wasm': 'w',
    'node_modules/afm/data/a.afm': 'font',
  });
  const [files, ...others] = warnings;
  assert.deepEqual(others, []);
  assert.equal(
    files,
    "afm names files of its own that are not in the package: 'node_modules/afm/data/**', 'node_modules/afm/data/a.afm', 'node_modules/afm/lib/index.wasm'; add those that it needs to cloacina.files",
  );
});
