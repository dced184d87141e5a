import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PackRig } from '../../../testing/pack-rig.ts';

const rig = await PackRig.open('requires');

const dependencies = {
  'node_modules/one/package.json': '{ "name": "one", "main": "main.js" }',
  'node_modules/one/main.js': 'exports.one = 1;\n',
  'node_modules/two/package.json': '{ "name": "two", "type": "module", "main": "main.js" }',
  'node_modules/two/main.js': `import { createRequire } from 'node:module';
const load = createRequire(import.meta.url);
const { one } = load('one');
let gone;
try { load('not-installed'); } catch (error) { gone = error.code; }
export const two = [one, gone, () => load('never-installed')];
`,
};

test('packages.md, Packing: literal calls of what createRequire returns are followed, as imports are', async () => {
  const { found } = (await rig.run({
    ...dependencies,
    'package.json': JSON.stringify({
      name: 'sample',
      version: '1.0.0',
      type: 'module',
      imports: { '#settings': './src/settings.json' },
      cloacina: { entry: 'src/index.ts' },
    }),
    'src/settings.json': '{ "size": 3 }',
    'src/late.cjs': 'exports.late = "late";\n',
    'src/index.ts': `import { createRequire } from 'node:module';
import { two } from 'two';
import { renamed } from './renamed.ts';
const require = createRequire(import.meta.url);
const holder = { require };
const name = (text: string): string => text;
const optional = (): unknown => { try { return require('absent'); } catch (error) { return (error as { code: string }).code; } };
export { require as exported };
export const found: unknown = [renamed, two, () => require('./late.cjs').late, optional(), typeof holder.require.resolve, require(name('node:path')).sep !== undefined];
`,
    'src/renamed.ts': `import module from 'node:module';
const load = module.createRequire(import.meta.filename);
export const renamed: unknown = [load('one').one, load('#settings').size, load('fs') === module.createRequire(import.meta.url)('node:fs')];
`,
  })) as { found: [unknown, [number, string, () => unknown], () => string, ...unknown[]] };
  const [renamed, [one, gone, never], late, ...rest] = found;
  assert.deepEqual(renamed, [1, 3, true]);
  assert.deepEqual([one, gone], [1, 'MODULE_NOT_FOUND']);
  assert.throws(never, { code: 'MODULE_NOT_FOUND' });
  assert.equal(late(), 'late');
  assert.deepEqual(rest, ['MODULE_NOT_FOUND', 'function', true]);
});

test('a literal call that leads to no module is refused with its place, unless the code goes on without it', async () => {
  const message = await rig.refusal({
    'src/index.ts': `import { createRequire } from 'node:module';
const load = createRequire(import.meta.url);
try { load('optional'); } catch { /* it is optional */ }
export const a = [load('absent'), createRequire(import.meta.url)('./none.cjs'), import('gone').catch(() => null)];
`,
  });
  assert.match(message, /src\/index\.ts:4:24: Could not resolve 'absent'\n/);
  assert.match(message, /src\/index\.ts:4:66: Could not resolve '\.\/none\.cjs'$/);
  assert.doesNotMatch(message, /optional|gone/);
});

test('a module that is named only when the code runs is a warning with its place', async () => {
  const { warnings } = await rig.pack({
    ...dependencies,
    'src/index.ts': `import { createRequire } from 'node:module';
import { other } from './other.cjs';
const require = createRequire(import.meta.url);
export const load = (name: string): unknown => [other, require(name), import(\`./\${name}.js\`), import('./other.cjs'), require('node:fs')];
`,
    'src/other.cjs': 'exports.other = (name) => require(name);\n',
  });
  const tail = 'finds only modules that are in the package by another import';
  assert.deepEqual(warnings, [
    `src/index.ts:4:56: require(name) ${tail}`,
    `src/index.ts:4:71: import(\`./\${name}.js\`) ${tail}`,
    `src/other.cjs:1:27: require(name) ${tail}`,
  ]);
});

test('an exported or shadowed require stays what it is', async () => {
  const { exported, inner } = (await rig.run({
    ...dependencies,
    'src/index.ts': `import { createRequire } from 'node:module';
export const require = createRequire(import.meta.url);
export { inner } from './inner.ts';
export { require as load };
export const exported: unknown = [require('fs').readFileSync !== undefined, typeof require.resolve];
`,
    'src/inner.ts': `import { createRequire } from 'node:module';
const load = createRequire(import.meta.url);
const wrap = (require: (name: string) => string): string => require('shadow');
export const inner: unknown = [wrap((name) => name + '!'), load('fs').readFileSync !== undefined];
`,
  })) as { exported: unknown; inner: unknown };
  assert.deepEqual(
    [exported, inner],
    [
      [true, 'function'],
      ['shadow!', true],
    ],
  );
});
