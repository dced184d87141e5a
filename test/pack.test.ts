import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { root, toolFile } from '../scripts/tool.ts';
import { blocksOf } from './docs/blocks.ts';
import { follow, runProgram } from './docs/steps.ts';
import { installedNode, newerNode, registryProblem, runNpm, toolchain, type Toolchain } from './pack/npm.ts';

const { version, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly version: string;
  readonly exports: Readonly<Record<string, unknown>>;
};
const pinned = toolchain(process.execPath);

describe('the packed npm package', () => {
  let folder = '';
  let tarball = '';
  /** A project as `npm init -y` makes it, with the tarball installed. */
  let project = '';
  let offline: string | undefined;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cloacina-pack-'));
    await runNpm(pinned, ['pack', '--pack-destination', folder], root);
    tarball = join(folder, `cloacina-${version}.tgz`);
    offline = await registryProblem(pinned, folder);
    if (offline !== undefined) return;
    project = join(folder, 'project');
    mkdirSync(project);
    await runNpm(pinned, ['init', '-y'], project);
    await runNpm(pinned, ['install', '--prefer-offline', tarball], project);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** A test that needs npm's registry, and is skipped with the reason if it cannot be reached. */
  function online(name: string, run: () => Promise<void> | void): void {
    test(name, (t: TestContext) => (offline === undefined ? run() : t.skip(offline)));
  }

  test('it exports each entry file of src/ and nothing else', () => {
    const names = ['index', 'testing', 'server', 'client'].filter((name) =>
      existsSync(join(root, 'src', `${name}.ts`)),
    );
    const wanted = names.map((name) => [
      name === 'index' ? '.' : `./${name}`,
      { types: `./dist/${name}.d.ts`, default: `./dist/${name}.js` },
    ]);
    assert.deepEqual(exports, { ...Object.fromEntries(wanted), './package.json': './package.json' });
  });

  test('it is smaller than a megabyte', () => {
    assert.ok(statSync(tarball).size < 1_000_000, `${statSync(tarball).size} bytes`);
  });

  online('has the build, the demo and the licence in it, and neither sources nor tests', () => {
    const installed = join(project, 'node_modules', 'cloacina');
    const files = readdirSync(installed, { recursive: true, encoding: 'utf8' }).map((file) =>
      file.replaceAll('\\', '/'),
    );
    const wanted = ['bin/cloacina.js', 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js', 'LICENSE', 'README.md'];
    assert.deepEqual(
      wanted.filter((file) => !files.includes(file)),
      [],
    );
    assert.ok(files.some((file) => file.startsWith('examples/registry-execution-demo/') && file.endsWith('.csv')));
    assert.deepEqual(
      files.filter((file) => /^(src|test|scripts)\b|\.(test|soak)\./.test(file)),
      [],
    );
  });

  online('has types that a strict compiler accepts', async () => {
    writeFileSync(join(project, 'use.mts'), "export { Client, Runner, workflow } from 'cloacina';\n");
    const typeRoots = join(root, 'node_modules', '@types');
    const options = [
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2024',
      '--lib',
      'es2024,esnext.disposable',
    ];
    const args = [toolFile('typescript', 'tsc'), ...options, '--types', 'node', '--typeRoots', typeRoots, 'use.mts'];
    assert.equal((await runProgram(process.execPath, args, project, pinned.env)).output, '');
  });

  const toolchains = [
    [process.versions.node, () => Promise.resolve(pinned)],
    [newerNode, async () => toolchain(await installedNode(pinned, newerNode))],
  ] as const;
  for (const [node, ready] of toolchains) {
    online(`answers npx cloacina --version on Node ${node}`, async () => {
      const tools = await ready();
      const shown = await runProgram(tools.node, [tools.npx, 'cloacina', '--version'], project, tools.env);
      assert.equal(shown.output.trim().split('\n').at(-1), version);
    });

    online(`does what the README's quick start says on Node ${node}`, async () => {
      const around = join(folder, `quick-start-${node}`);
      mkdirSync(around);
      await quickStart(await ready(), around, tarball);
    });
  }
});

/** Follows the README with the tarball instead of the published package. */
async function quickStart(tools: Toolchain, folder: string, tarball: string): Promise<void> {
  const blocks = blocksOf(root, 'README.md');
  assert.ok(
    blocks.some(({ marks }) => marks.has('quickstart')),
    'the README has a quick start',
  );
  await follow(blocks, 'quickstart', {
    folder,
    env: tools.env,
    programs: ([program, ...args]) => {
      if (program === 'node') return [tools.node, ...args];
      if (program === 'npx') return [tools.node, tools.npx, ...args];
      if (program !== 'npm') return undefined;
      return [tools.node, tools.npm, ...args.map((word) => (word === 'cloacina' ? tarball : word))];
    },
  });
}
