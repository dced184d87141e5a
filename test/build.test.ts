// The build in the layout of an installed package: without `src/`, below a `package.json`.
import assert from 'node:assert/strict';
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { bundleInto } from '../scripts/bundle.ts';
import { root } from '../scripts/tool.ts';
import { startedFiles } from '../src/own-files.ts';
import type * as ownFiles from '../src/own-files.ts';
import { runProgram } from './docs/steps.ts';
import { loadedBy } from './startup/loaded.ts';

let place = '';
let dist = '';

before(async () => {
  // below the checkout, so that its node_modules are found
  mkdirSync(join(root, '.tmp'), { recursive: true });
  place = mkdtempSync(join(root, '.tmp', 'build-'));
  dist = join(place, 'dist');
  await bundleInto(dist);
  for (const path of ['package.json', 'bin', 'examples/registry-execution-demo']) {
    cpSync(join(root, path), join(place, path), { recursive: true });
  }
});
after(() => rmSync(place, { recursive: true, force: true, maxRetries: 5 }));

/** The names of files without the hash of their content. */
function named(files: readonly string[]): readonly string[] {
  return files.map((file) => file.replace(/-[\w-]{8}\.js$/, '.js')).toSorted();
}

describe('decisions/loading: the build', () => {
  test('has every file that is started by path, and finds it', async () => {
    const [shared, ...others] = globSync('**/shared-own-files-*.js', { cwd: dist });
    assert.deepEqual(others, []);
    const built = (await import(pathToFileURL(join(dist, shared!)).href)) as typeof ownFiles;
    assert.equal(built.ownManifest(), join(place, 'package.json'));
    for (const name of startedFiles) {
      const file = built.ownFile(name);
      assert.equal(file, join(dist, `${name}.js`));
      assert.ok(existsSync(file), file);
    }
  });

  test('packs, runs and schedules a package in isolates', async () => {
    const args = [join(place, 'bin', 'cloacina.js'), 'demo', '--for', '1s'];
    const { exitCode, output } = await runProgram(process.execPath, args, place, process.env);
    assert.equal(exitCode, 0, output);
    assert.match(output, /status completed/);
  });

  const open = (what: string, options = '{}'): string =>
    `await using opened = await cloacina.${what}.open('sqlite::memory:', ${options});`;
  const doors: readonly (readonly [door: string, code: string, files: readonly string[]])[] = [
    ['the import', '', ['client', 'core']],
    ['Client.open', open('Client'), ['client', 'core', 'database', 'lease', 'own-files', 'wire']],
    ['Runner.open', open('Runner'), ['client', 'core', 'database', 'engine', 'lease', 'own-files', 'run']],
  ];
  for (const [door, code, files] of doors) {
    test(`loads few files and no package at ${door}`, async () => {
      const loaded = await loadedBy(dist, 'index.js', code);
      assert.deepEqual(named(loaded.files), ['index.js', ...files.map((name) => `shared-${name}.js`)]);
      assert.deepEqual(loaded.packages, []);
    });
  }

  test('loads no library that reads manifests when a runner opens a registry', async () => {
    const { files, packages } = await loadedBy(dist, 'index.js', open('Runner', "{ registry: 'file:./packages' }"));
    assert.ok(named(files).includes('shared-packages.js'));
    assert.equal(named(files).includes('shared-archive.js'), false);
    assert.deepEqual(packages, []);
  });

  test('loads neither the engine nor the database to show the version', async () => {
    const { files, packages } = await loadedBy(dist, 'cli/main.js', "await cloacina.main(['--version']);");
    assert.deepEqual(named(files), ['cli/main.js', 'shared-arguments.js', 'shared-core.js', 'shared-own-files.js']);
    assert.deepEqual(packages, ['commander']);
  });
});
