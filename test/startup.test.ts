import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { root } from '../scripts/tool.ts';
import { loadedBy } from './startup/loaded.ts';

const source = join(root, 'src');
const open = (what: string, options = '{}'): string =>
  `await using opened = await cloacina.${what}.open('sqlite::memory:', ${options});`;

/** The folders of the files, without repetition. */
function folders(files: readonly string[]): readonly string[] {
  return [...new Set(files.map((file) => file.slice(0, file.lastIndexOf('/') + 1)))].toSorted();
}

/** The files in one folder of `src/` or below. */
function within(folder: string, files: readonly string[]): readonly string[] {
  return files.filter((file) => file.startsWith(`${folder}/`)).toSorted();
}

// each file, package and builtin costs start time: a new one here is a decision
describe('decisions/loading: the sources load', () => {
  test('the definition API and the shell of a client after the import', async () => {
    const { files, packages, builtins } = await loadedBy(source, 'index.ts', '');
    assert.deepEqual(folders(files), [
      '',
      'core/',
      'core/definition/',
      'core/schedule/',
      'engine/',
      'engine/client/',
      'engine/execution/',
      'engine/liveness/',
    ]);
    assert.ok(files.length < 45, `${files.length} files`);
    assert.deepEqual(packages, []);
    assert.deepEqual(builtins, ['node:crypto']);
  });

  test('the store and the lookup of packages after Client.open', async () => {
    const { files, packages, builtins } = await loadedBy(source, 'index.ts', open('Client'));
    assert.ok(files.includes('store/sqlite/driver.ts'));
    assert.deepEqual(within('package', files), ['package/load/grants.ts', 'package/registry/lookup.ts']);
    assert.deepEqual(within('schedule', files), []);
    assert.deepEqual(within('store/postgres/commit', files), []);
    assert.equal(files.includes('engine/engine.ts'), false);
    assert.deepEqual(packages, []);
    assert.equal(builtins.includes('node:child_process'), false);
  });

  test('the engine and the loop of schedules after Runner.open', async () => {
    const { files, packages, builtins } = await loadedBy(source, 'index.ts', open('Runner'));
    assert.ok(files.includes('engine/engine.ts'));
    assert.ok(files.includes('schedule/loop.ts'));
    assert.equal(files.includes('schedule/schedules.ts'), false);
    assert.deepEqual(within('package', files), ['package/load/grants.ts', 'package/registry/lookup.ts']);
    assert.deepEqual(within('store/postgres/commit', files), []);
    assert.deepEqual(packages, []);
    assert.equal(builtins.includes('node:child_process'), false);
  });

  test('the reconciler, and no library that reads manifests, after Runner.open with a registry', async () => {
    const { files, packages } = await loadedBy(source, 'index.ts', open('Runner', "{ registry: 'file:./packages' }"));
    assert.ok(files.includes('package/load/reconciler.ts'));
    assert.equal(files.includes('package/archive/manifest.ts'), false);
    assert.deepEqual(packages, []);
  });

  test('the registry and the schedules with the first call of a verb', async () => {
    const code = `${open('Client')}
      await opened.start('missing').catch(() => undefined);
      await opened.registry.list();
      await opened.schedules.list();`;
    const { files, packages } = await loadedBy(source, 'index.ts', code);
    assert.ok(files.includes('package/registry/registry.ts'));
    assert.ok(files.includes('schedule/schedules.ts'));
    assert.equal(files.includes('package/archive/manifest.ts'), false);
    assert.deepEqual(packages, []);
  });

  test('the libraries that read manifests with the first package file', async () => {
    const code = `${open('Client', "{ registry: 'file:./packages' }")}
      await opened.registry.register(new Uint8Array(8)).catch(() => undefined);`;
    const { packages } = await loadedBy(source, 'index.ts', code);
    assert.deepEqual(packages.toSorted(), ['semver', 'zod']);
  });
});
