import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { literal, packageJson, PackRig } from '../../testing/pack-rig.ts';
import type { ProjectFiles } from '../../testing/pack-rig.ts';
import { readArchive } from '../archive/archive.ts';
import { buildPackage } from './build.ts';
import type { BuiltPackage } from './build.ts';

const rig = await PackRig.open('tsconfig');

const aliases = '{ "compilerOptions": { "paths": { "~/*": ["./lib/*"] } } }';
const decorated = `function d(_target: object, _name: string): void {}\nexport class C {\n  @d m(): string {\n    return 'm';\n  }\n}\n`;

let places = 0;

/** Packs `packages/flows` of a folder with these files. */
async function packFlows(files: ProjectFiles): Promise<BuiltPackage> {
  const root = await rig.write(
    { 'packages/flows/package.json': packageJson(), ...files },
    join(rig.root, `w${++places}`),
  );
  await rig.write({ 'packages/flows/node_modules/none/package.json': '{}' }, root);
  await symlink(join('..', '..', 'shared'), join(root, 'packages', 'flows', 'node_modules', 'shared'), 'junction');
  return buildPackage(join(root, 'packages', 'flows'), literal);
}

async function found(packed: BuiltPackage): Promise<unknown> {
  return (await rig.load((await readArchive(packed.bytes)).files))['found'];
}

const shared = {
  'packages/shared/package.json': '{ "name": "shared", "type": "module", "main": "src/index.ts" }',
  'packages/shared/src/index.ts': `import { v } from '~/v.ts';\nexport const shared: string = v;\n`,
  'packages/shared/lib/v.ts': `export const v = 'shared';\n`,
};
const flows = {
  'packages/flows/src/index.ts': `import { shared } from 'shared';\nimport { v } from '~/v.ts';\nexport const found: unknown = [shared, v];\n`,
  'packages/flows/lib/v.ts': `export const v = 'flows';\n`,
};

test('packages.md, Packing: each module has the nearest tsconfig.json of its workspace', async () => {
  for (const workspace of [
    { 'package.json': '{ "workspaces": ["packages/*"] }' },
    { 'pnpm-workspace.yaml': 'packages: ["packages/*"]' },
  ] as ProjectFiles[]) {
    const own = { 'packages/flows/tsconfig.json': aliases, 'packages/shared/tsconfig.json': aliases };
    assert.deepEqual(await found(await packFlows({ ...workspace, ...flows, ...shared, ...own })), ['shared', 'flows']);
    const upper = '{ "compilerOptions": { "paths": { "~/*": ["./packages/flows/lib/*"] } } }';
    const one = await packFlows({
      ...workspace,
      ...flows,
      ...shared,
      'tsconfig.json': upper,
      'packages/shared/tsconfig.json': aliases,
    });
    assert.deepEqual(await found(one), ['shared', 'flows']);
  }
});

test('a package outside of the workspace has its own tsconfig.json', async () => {
  const own = { 'packages/flows/tsconfig.json': aliases, 'packages/shared/tsconfig.json': aliases };
  assert.deepEqual(await found(await packFlows({ ...flows, ...shared, ...own })), ['shared', 'flows']);
});

test('a tsconfig.json above the workspace changes nothing, and the error of an alias names it', async () => {
  const plain = {
    'packages/flows/src/index.ts': `export class A { x = 1 }\nexport const found: unknown = new A().x;\n`,
  };
  const alone = await packFlows(plain);
  const below = await packFlows({ ...plain, 'tsconfig.json': '{ "compilerOptions": { "target": "es5" } }' });
  assert.equal(below.digest, alone.digest);
  const upper = '{ "compilerOptions": { "paths": { "~/*": ["./packages/flows/lib/*"] } } }';
  await assert.rejects(packFlows({ 'tsconfig.json': upper, ...flows, ...shared }), (error: Error) => {
    assert.match(error.message, /src\/index\.ts:2:19: Could not resolve '~\/v\.ts'/);
    assert.match(
      error.message,
      /\.\.\/\.\.\/tsconfig\.json was not read, because it lies outside of the workspace of the project/,
    );
    return true;
  });
});

test('the tsconfig.json of a dependency is not read', async () => {
  const { warnings } = await rig.pack({
    'tsconfig.json': '{}',
    'src/index.ts': `import { x } from 'dep';\nexport const found: unknown = x;\n`,
    'node_modules/dep/package.json': '{ "name": "dep", "type": "module", "main": "index.js" }',
    'node_modules/dep/tsconfig.json': '{ "extends": "@nowhere/tsconfig", "compilerOptions": { "target": "es5" } }',
    'node_modules/dep/index.js': `export const x = class { y = 1 };\n`,
  });
  assert.deepEqual(warnings, []);
});

test('decorators run with experimentalDecorators, and are refused with their places without it', async () => {
  const files = {
    'src/index.ts': `import { C } from './c.ts';\nexport const found: unknown = new C().m();\n`,
    'src/c.ts': decorated,
  };
  const settings = '{ "compilerOptions": { "experimentalDecorators": true } }';
  assert.equal((await rig.run({ ...files, 'tsconfig.json': settings }))['found'], 'm');
  const node = `Node ${process.versions.node} has no`;
  const advice = 'set "experimentalDecorators": true in tsconfig.json, or compile them before packing';
  assert.equal(
    await rig.refusal({ ...files, 'tsconfig.json': '{}' }),
    `package sample v1.0.0 does not build: src/c.ts:3:3: ${node} decorators; ${advice}`,
  );
  const accessor = `export class A {\n  accessor x = 1;\n}\n// a@b.example, @example, and an accessor\n`;
  assert.match(
    await rig.refusal({ 'src/index.ts': accessor }),
    new RegExp(`src/index\\.ts:2:3: ${node} the keyword 'accessor'`),
  );
});
