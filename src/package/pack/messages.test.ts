import assert from 'node:assert/strict';
import { chdir, cwd } from 'node:process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { literal, packageJson, PackRig } from '../../testing/pack-rig.ts';
import { buildPackage } from './build.ts';

const rig = await PackRig.open('messages');

test('an error names its file from the project, whatever the working folder is', async (t) => {
  const dir = await rig.write({
    'package.json': packageJson(),
    'src/index.ts': `import q from './q.txt?raw';\nimport none from './none.ts';\nexport const a: unknown = [q, none];\n`,
    'src/q.txt': 'q',
  });
  const before = cwd();
  t.after(() => chdir(before));
  for (const folder of [dirname(dir), join(dir, 'src'), before]) {
    chdir(folder);
    await assert.rejects(buildPackage(dir, literal), (error: Error) => {
      assert.match(error.message, /does not build: src\/index\.ts:1:15: Could not load /);
      assert.match(error.message, /^src\/index\.ts:2:18: Could not resolve '\.\/none\.ts'$/m);
      return true;
    });
  }
});

test('all imports that lead nowhere are listed, each once, and those in a try are not', async () => {
  const message = await rig.refusal({
    'src/index.ts': `import a from './no.ts';
import b from 'nope';
import './m.ts';
export const x: unknown = [a, b, require('./zz'), import('./yy.ts')];
try { require('./optional'); } catch { /* goes on */ }
try { await import('optional'); } catch { /* goes on */ }
export * from 'nope';
`,
    'src/m.ts': `import c from './nono.ts';\nimport d from '@scope/none/deep';\nconsole.log(c, d);\n`,
  });
  assert.deepEqual(message.split('\n'), [
    "package sample v1.0.0 does not build: src/index.ts:1:15: Could not resolve './no.ts'",
    "src/index.ts:2:15: Could not resolve 'nope'",
    "src/index.ts:4:42: Could not resolve './zz'",
    "src/index.ts:4:58: Could not resolve './yy.ts'",
    "src/index.ts:7:15: Could not resolve 'nope'",
    "src/m.ts:1:15: Could not resolve './nono.ts'",
    "src/m.ts:2:15: Could not resolve '@scope/none/deep'",
  ]);
});

test('an error of the bundler is said once: it is no cause of itself', async () => {
  const dir = await rig.write({ 'package.json': packageJson(), 'src/index.ts': 'const a = ;\n' });
  await assert.rejects(buildPackage(dir, literal), (error: Error) => {
    assert.equal(error.cause, undefined);
    assert.match(error.message, /src\/index\.ts:1:11: Unexpected token\n/);
    return true;
  });
});

test('a doubt of the bundler about the code of the project is a warning with its place, one about a dependency is not', async () => {
  const { warnings } = await rig.pack({
    'src/index.ts': `import * as lib from './lib.ts';
import * as dep from 'dep';
export const x = (): unknown => [lib.gone(1), dep.gone, eval('x')];
export const y = (): unknown => (lib as unknown as () => void)();
`,
    'src/lib.ts': 'export const there = 1;\n',
    'node_modules/dep/package.json': '{ "name": "dep", "type": "module", "main": "index.js" }',
    'node_modules/dep/index.js': `import * as own from './own.js';\nexport const z = own.gone;\n`,
    'node_modules/dep/own.js': 'export const there = 1;\n',
  });
  assert.equal(warnings.length, 3, warnings.join('\n'));
  assert.match(warnings[0]!, /^src\/index\.ts:3:34: Import `gone` will always be undefined .*'src\/lib\.ts'$/);
  assert.match(warnings[1]!, /^src\/index\.ts:3:\d+: Import `gone` will always be undefined/);
  assert.match(warnings[2]!, /^src\/index\.ts:4:\d+: Cannot call a namespace/);
});

test('names of files that clash on some systems are refused by pack itself', async () => {
  const message = await rig.refusal({
    'package.json': packageJson({}, { files: ['src/*.txt'] }),
    'src/index.ts': 'export {};\n',
    'src/Data.txt': 'a',
    'src/data.txt': 'b',
  });
  assert.match(
    message,
    /cannot be packed: assets\/src\/data\.txt: it differs from 'assets\/src\/Data\.txt' only in case; rename the file/,
  );
});
