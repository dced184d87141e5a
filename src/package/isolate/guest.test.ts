import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { callOf, completed, definition, failed, hostOf, open, openSource } from '../../testing/isolate-rig.ts';
import { Isolate } from './isolate.ts';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** A package in `app/.cloacina/packages`, below an application whose `node_modules` has the module `nest/there`. */
function belowApplication(t: TestContext, tasks: string): Isolate {
  const app = realpathSync(mkdtempSync(join(tmpdir(), 'cloacina-app-')));
  t.after(() => rmSync(app, { recursive: true, force: true, maxRetries: 5 }));
  const dir = join(app, '.cloacina', 'packages');
  mkdirSync(join(dir, 'code'), { recursive: true });
  mkdirSync(join(app, 'node_modules', 'nest'), { recursive: true });
  writeFileSync(join(app, 'node_modules', 'nest', 'there.js'), 'module.exports = 1;');
  writeFileSync(join(dir, 'code', 'index.mjs'), definition + tasks);
  const isolate = new Isolate({ dir, label: 'sample v1.0.0', logger: silent });
  t.after(() => isolate.close());
  return isolate;
}

describe('registry.md, Isolation: code of npm runs in an isolate as it does in Node', { concurrency: 2 }, () => {
  test('a module that is not in the package has the code of a missing module, wherever the package lies', async (t) => {
    const isolate = belowApplication(
      t,
      `import { createRequire } from 'node:module';
      const require = createRequire(import.meta.url);
      w.task('required', () => require('pg'));
      w.task('resolved', () => require.resolve('nest/there'));
      w.task('relative', () => require('./pg'));
      w.task('imported', () => import('pg'));`,
    );
    const code = isolate.code('w');
    for (const [task, errorCode, name] of [
      ['required', 'MODULE_NOT_FOUND', 'pg'],
      ['resolved', 'MODULE_NOT_FOUND', 'nest/there'],
      ['relative', 'MODULE_NOT_FOUND', './pg'],
      ['imported', 'ERR_MODULE_NOT_FOUND', 'pg'],
    ] as const) {
      const { error } = await failed(code.run(callOf(task), hostOf()));
      assert.deepEqual([task, error.code], [task, errorCode], error.message);
      assert.match(error.message, new RegExp(`'${name}'`));
    }
    const { error } = await failed(code.run(callOf('required'), hostOf()));
    assert.equal(error.message, "Cannot find module 'pg': it is not in the package");
  });

  test('instrumentation wraps process.getBuiltinModule, and node:sqlite stays out of reach', async (t) => {
    const { code } = open(
      t,
      `const original = process.getBuiltinModule;
      const seen = [];
      process.getBuiltinModule = (id) => { seen.push(id); return original.call(process, id); };
      w.task('wrapped', () => [typeof process.getBuiltinModule('fs').readFileSync, seen]);
      w.task('sqlite', () => process.getBuiltinModule('node:sqlite'));
      w.task('original', () => original('node:sqlite'));
      w.task('deleted', () => { delete process.getBuiltinModule; });
      w.task('inherited', () => Object.getPrototypeOf(process).getBuiltinModule?.('node:sqlite') ?? null);`,
    );
    assert.deepEqual(await completed(code.run(callOf('wrapped'), hostOf())), ['function', ['fs']]);
    for (const task of ['sqlite', 'original']) {
      const { error } = await failed(code.run(callOf(task), hostOf()));
      assert.match(error.message, /'node:sqlite' cannot be imported in a package/, task);
    }
    assert.equal((await failed(code.run(callOf('deleted'), hostOf()))).error.name, 'TypeError');
    assert.equal(await completed(code.run(callOf('inherited'), hostOf())), null);
  });

  test('workflows are found among the members of a default export, as a CommonJS module has them', async (t) => {
    for (const exported of ['{ a, b }', '[a, b]', 'Object.assign(Object.create(null), { a, b })']) {
      const { isolate } = openSource(
        t,
        `import { workflow } from 'cloacina';
        const [a, b] = ['a', 'b'].map((name) => { const w = workflow(name); w.task('t', () => name); return w; });
        export default ${exported};`,
      );
      assert.deepEqual(
        (await isolate.describe()).map((spec) => spec.name),
        ['a', 'b'],
        exported,
      );
      assert.equal(await completed(isolate.code('b').run(callOf('t', { workflow: 'b' }), hostOf())), 'b');
    }
  });
});
