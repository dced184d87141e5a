import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PackRig } from '../../testing/pack-rig.ts';
import type { ProjectFiles } from '../../testing/pack-rig.ts';

const rig = await PackRig.open('native');

/** A dependency with one module. */
function dependency(name: string, source: string, more: object = {}): ProjectFiles {
  return {
    [`node_modules/${name}/package.json`]: JSON.stringify({ name, main: 'index.js', ...more }),
    [`node_modules/${name}/index.js`]: source,
  };
}

const loader = {
  ...dependency(
    'bindings',
    `module.exports = (name) => require(require('path').join(__dirname, '../x/build', name));\n`,
  ),
  ...dependency('node-gyp-build', `module.exports = (dir) => require(dir + '/build/x.node');\n`),
};
/** Loads its native part when it is used. */
const sqlite = dependency(
  'sqlite',
  `let addon;\nexports.open = () => (addon ??= require('bindings')('sqlite.node'));\n`,
);
const platforms = { 'pic-linux-x64': '1', 'pic-darwin-arm64': '1', 'pic-win32-x64': '1' };
const pic = dependency('pic', `exports.pic = () => require('pic-' + process.platform);\n`, {
  optionalDependencies: platforms,
});

const why = 'is a native module, which cannot be packed: it fits one platform and may not run isolated';

function using(source: string, ...dependencies: readonly ProjectFiles[]): ProjectFiles {
  return Object.assign({ ...loader, 'src/index.ts': source }, ...dependencies) as ProjectFiles;
}

test('packages.md, Packing: a native module that the project uses is named, however it loads its native part', async () => {
  const direct = dependency('direct', `module.exports = require('./build/Release/direct.node');\n`);
  const gyp = dependency('gyp', `module.exports = require('node-gyp-build')(__dirname);\n`);
  for (const [source, dependencies, name] of [
    [`import { open } from 'sqlite';\nexport const a: unknown = open;\n`, [sqlite], 'sqlite'],
    [`export const a = async (): Promise<unknown> => (await import('sqlite')).open();\n`, [sqlite], 'sqlite'],
    [`import { pic } from 'pic';\nexport const a: unknown = pic;\n`, [pic], 'pic'],
    [`import a from 'direct';\nexport { a };\n`, [direct], 'direct'],
    [
      `import a from 'direct';\nexport { a };\n`,
      [direct, { 'node_modules/direct/build/Release/direct.node': 'ELF' }],
      'direct',
    ],
    [`import a from 'gyp';\nexport { a };\n`, [gyp], 'gyp'],
  ] as const) {
    const message = await rig.refusal(using(source, ...dependencies));
    assert.match(message, new RegExp(`src/index\\.ts:1:\\d+: ${name} ${why}; use a package in JavaScript`), name);
    assert.equal(message.split(why).length, 2, 'once');
  }
});

test('a native module of a dependency is named with the dependency', async () => {
  const client = dependency('client', `exports.client = require('sqlite').open;\n`);
  const message = await rig.refusal(
    using(`import { client } from 'client';\nexport const a: unknown = client;\n`, client, sqlite),
  );
  assert.match(message, /src\/index\.ts:1:24: sqlite, which client needs, is a native module/);
});

test('a native part that a dependency loads in a try is left out, and the dependency goes on without it', async () => {
  const fast = dependency('fast', `module.exports = require('../build/fast.node');\n`);
  const wrapped = dependency('wrapped', `module.exports = require('fast');\n`);
  const ssh = dependency(
    'ssh',
    `exports.codes = [];
for (const load of [() => require('./build/ssh.node'), () => require('./build/ssh.node')]) {
  try { load(); } catch (error) { exports.codes.push(error.code); }
}
for (let at = 0; at < 2; at++) {
  try { require('./build/ssh.node'); } catch (error) { exports.codes.push(error.code); }
  try { require('wrapped'); } catch (error) { exports.codes.push(error.code); }
}
`.replaceAll(
      /\(\) => require\('(.*?)'\)/g,
      (call) => `() => { try { return ${call.slice(6)}; } catch (error) { throw error; } }`,
    ),
  );
  const source = `import { codes } from 'ssh';\nexport const found: unknown = codes;\n`;
  for (const more of [{}, { 'node_modules/ssh/build/ssh.node': 'ELF', 'node_modules/build/fast.node': 'ELF' }]) {
    const files = using(source, ssh, wrapped, fast, more);
    const { found } = await rig.run(files);
    assert(Array.isArray(found));
    assert.deepEqual(new Set(found), new Set(['MODULE_NOT_FOUND']));
    assert.deepEqual((await rig.pack(files)).warnings, []);
  }
});

test('a native driver that another dependency loads in some of its functions is a warning', async () => {
  const knex = dependency('knex', `exports.connect = (client) => (client === 'pg' ? 1 : require('sqlite').open());\n`);
  const source = `import { connect } from 'knex';\nexport const a: unknown = connect('pg');\n`;
  const { warnings } = await rig.pack(using(source, knex, sqlite));
  assert.deepEqual(warnings, ['knex loads sqlite in some of its functions, which fail: sqlite is a native module']);
});

test('the code of the project may try a native module, too', async () => {
  const source = `export const a = async (): Promise<unknown> => {\n  try {\n    return await import('sqlite');\n  } catch {\n    return null;\n  }\n};\n`;
  await rig.pack(using(source, sqlite));
});
