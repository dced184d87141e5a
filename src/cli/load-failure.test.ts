import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { packageJson, PackRig } from '../testing/pack-rig.ts';
import type { ProjectFiles } from '../testing/pack-rig.ts';
import { describeInIsolate } from './describe.ts';

const rig = await PackRig.open('load-failure');
const inIsolate = { describe: describeInIsolate };

const workflow = `import { workflow } from 'cloacina';\nconst w = workflow('w');\nw.task('a', () => 1);\nexport default w;\n`;

async function refusal(files: ProjectFiles): Promise<string> {
  const error: unknown = await rig.pack(files, inIsolate).catch((thrown: unknown) => thrown);
  assert(error instanceof Error && Reflect.get(error, 'code') === 'BUILD_FAILED', String(error));
  return error.message;
}

function dependency(source: string, more: object = {}): ProjectFiles {
  return {
    'node_modules/dep/package.json': JSON.stringify({ name: 'dep', main: 'lib/index.js', ...more }),
    'node_modules/dep/lib/index.js': source,
    'src/index.ts': `import 'dep';\n${workflow}`,
  };
}

describe('registry.md, Packing: the error of code that does not load says what is missing', { concurrency: 2 }, () => {
  test('a file beside the code of a dependency that is not in the package is named with the field that takes it', async () => {
    const files = dependency(
      `const name = ['a', 'dat'].join('.');\nmodule.exports = require('fs').readFileSync(require('path').join(__dirname, '..', 'data', name));\n`,
    );
    assert.match(
      await refusal({ ...files, 'node_modules/dep/data/a.dat': 'x' }),
      /does not load: node_modules\/dep\/lib\/index\.js:2:\d+: ENOENT.*; 'node_modules\/dep\/data\/a\.dat' is not in the package: name it in cloacina\.files of package\.json$/,
    );
    const named = packageJson({}, { files: ['node_modules/dep/data/*'] });
    await rig.pack({ ...files, 'node_modules/dep/data/a.dat': 'x', 'package.json': named }, inIsolate);
  });

  test('a package with native parts that does not load is named as a native module', async () => {
    const source = `const name = ['addon', 'node'].join('.');\nmodule.exports = require(require('path').join(__dirname, name));\n`;
    const message = await refusal(dependency(source, { gypfile: true }));
    assert.match(
      message,
      /does not load: node_modules\/dep\/lib\/index\.js:2:\d+: Cannot find module .*; dep is a native module, which cannot be packed$/s,
    );
    assert.doesNotMatch(await refusal(dependency(source)), /native module/);
  });

  test('doubts about the code follow an error without another reason', async () => {
    const source = `const { existsSync } = require('fs');\nif (!existsSync(__dirname + '/' + ['x', 'wasm'].join('.'))) throw new Error('the engine is away');\n`;
    assert.match(
      await refusal({ ...dependency(source), 'node_modules/dep/lib/x.wasm': 'w' }),
      /: the engine is away\ndep names files of its own that are not in the package: 'node_modules\/dep\/lib\/x\.wasm'/,
    );
  });
});

describe('packages.md, Project: an entry is an ES module or a CommonJS module', { concurrency: 2 }, () => {
  const head = `const { workflow } = require('cloacina');\nconst w = workflow('w');\nw.task('a', () => 1);\n`;
  for (const [name, entry, source] of [
    ['a named export', 'index.js', `${head}exports.w = w;\n`],
    ['module.exports', 'index.cjs', `${head}module.exports = { w };\n`],
    ['module.exports itself', 'index.cjs', `${head}module.exports = w;\n`],
    [
      'what a compiler emits for a default export',
      'index.js',
      `"use strict";\nObject.defineProperty(exports, "__esModule", { value: true });\n${head}exports.default = w;\n`,
    ],
    [
      'export = of TypeScript',
      'index.cts',
      `import { workflow } from 'cloacina';\nconst w = workflow('w');\nw.task('a', () => 1);\nexport = { w };\n`,
    ],
    [
      'members of a default export',
      'index.mjs',
      `import { workflow } from 'cloacina';\nconst w = workflow('w');\nw.task('a', () => 1);\nexport default { w };\n`,
    ],
  ] as const) {
    test(name, async () => {
      const json = JSON.stringify({ name: 'flows', version: '1.0.0', cloacina: { entry } });
      const { manifest } = await rig.pack({ 'package.json': json, [entry]: source }, inIsolate);
      assert.deepEqual(
        manifest.workflows.map((spec) => spec.name),
        ['w'],
      );
    });
  }
});
