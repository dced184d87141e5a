import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { importsOf, readImports, type ImportMap } from './layers/imports.ts';
import { foldersNamed, foldersOf } from './layers/listing.ts';
import {
  boundToRealm,
  busyEntries,
  cycles,
  impureFiles,
  namelessFiles,
  selfLocating,
  sqlOutsideStore,
  wrongDirections,
} from './layers/rules.ts';

const source = join(import.meta.dirname, '..', 'src');

describe('ARCHITECTURE.md: the sources keep their layers', () => {
  const map = readImports(source);
  const texts = new Map([...map.keys()].map((file) => [file, readFileSync(join(source, file), 'utf8')]));

  test('imports go downward only', () => assert.deepEqual(wrongDirections(map), []));
  test('there is no cycle', () => assert.deepEqual(cycles(map), []));
  test('file names say a role', () => assert.deepEqual(namelessFiles(map.keys()), []));
  test('entry files re-export, nothing else', () => assert.deepEqual(busyEntries(texts), []));
  test('core reads no clock and draws no random number', () => assert.deepEqual(impureFiles(texts), []));
  test('SQL is written in the store only', () => assert.deepEqual(sqlOutsideStore(texts), []));
  test('classes of the language are compared in realms.ts only', () => assert.deepEqual(boundToRealm(texts), []));
  test('only own-files.ts knows its own location', () => assert.deepEqual(selfLocating(texts), []));
  const folders = foldersOf(map.keys());
  test('ARCHITECTURE.md names every folder, and none that is not there', () => {
    const named = foldersNamed(readFileSync(join(source, '..', 'ARCHITECTURE.md'), 'utf8'));
    assert.deepEqual(named.toSorted(), [...folders.keys()].filter((folder) => folder !== '').toSorted());
  });
  test('a folder has at most 20 files without its tests', () => {
    assert.deepEqual(
      [...folders].filter(([, files]) => files > 20),
      [],
    );
  });
});

/** An import map from lines such as `core/a.ts -> store/b.ts`; `=>` imports types only. */
function imports(...lines: readonly string[]): ImportMap {
  const map = new Map<string, { target: string; isType: boolean }[]>();
  for (const line of lines) {
    const [from = '', arrow, target = ''] = line.split(' ');
    map.set(from, [...(map.get(from) ?? []), { target, isType: arrow === '=>' }]);
    if (target.endsWith('.ts') && !map.has(target)) map.set(target, []);
  }
  return map;
}

describe('ARCHITECTURE.md: the layer check refuses', () => {
  const refused: readonly (readonly [line: string, why: RegExp])[] = [
    ['core/plan.ts -> store/store.ts', /core may import nothing but itself/],
    ['core/plan.ts => store/store.ts', /core may import nothing but itself/],
    ['core/plan.ts -> node:fs', /no I\/O/],
    ['store/sqlite.ts -> engine/clock.ts', /store may import core/],
    ['engine/live.ts -> store/sqlite.ts', /engine may import core, store\/store.ts, store\/transition.ts/],
    ['engine/live.ts => store/rows.ts', /engine may import/],
    ['engine/live.ts -> package/registry.ts', /engine may import/],
    ['package/registry.ts -> schedule/loop.ts', /package may import core, store, engine/],
    ['schedule/loop.ts -> package/registry.ts', /schedule may import/],
    ['schedule/loop.ts -> open.ts', /schedule may import/],
    ['client/http.ts -> engine/client.ts', /client may import core, server\/contract.ts/],
    ['client/http.ts -> server/app.ts', /client may import/],
    ['server/app.ts -> cli/main.ts', /server may import/],
    ['open.ts -> cli/main.ts', /wiring may import/],
    ['cli/main.ts -> testing/clock.ts', /cli may import/],
    ['cli/main.ts -> index.ts', /for users/],
    ['cli/main.ts -> cloacina', /import the file itself/],
    ['cli/main.ts -> ../examples/a.ts', /outside src/],
    ['cli/main.ts -> ./output.js', /ends in .ts/],
    ['lib/a.ts -> core/plan.ts', /lib is no layer/],
  ];
  for (const [line, why] of refused) {
    test(line, () => {
      const found = wrongDirections(imports(line));
      assert.equal(found.length, 1);
      assert.match(found[0] ?? '', why);
    });
  }

  test('a cycle of files, of types, and of a file with itself', () => {
    const map = imports(
      'core/b.ts -> core/c.ts',
      'core/c.ts => core/a.ts',
      'core/a.ts -> core/b.ts',
      'core/d.ts -> core/d.ts',
      'core/d.ts -> core/a.ts',
    );
    assert.deepEqual(cycles(map), [['core/a.ts', 'core/b.ts', 'core/c.ts'], ['core/d.ts']]);
  });

  test('a name that says no role, wherever it stands in the path', () => {
    const names = [
      'core/utils.ts',
      'store/sql-helpers.ts',
      'common/plan.ts',
      'engine/lease-manager.ts',
      'core/types.ts',
    ];
    assert.deepEqual(namelessFiles([...names, 'core/plan.ts', 'server/contract.ts']), names);
  });

  test('an entry file with a statement of its own', () => {
    const texts = new Map([
      [
        'index.ts',
        "// all\nexport { a,\n b } from './a.ts';\nexport type { C } from './c.ts';\nexport * from './d.ts';\n",
      ],
      ['server.ts', "export { a } from './a.ts';\nexport const b = 1;\n"],
    ]);
    assert.deepEqual(busyEntries(texts), ['server.ts']);
  });

  test('a clock in core, but not one in a comment, a string or another layer', () => {
    const texts = new Map([
      ['core/a.ts', 'const now = Date.now();'],
      ['core/b.ts', "/** Never Date.now() */ const day = new Date(0); const text = 'process.exit'; // Math.random()"],
      ['engine/clock.ts', 'const now = Date.now();'],
    ]);
    assert.deepEqual(impureFiles(texts), ['src/core/a.ts uses Date.now(']);
  });

  test('a class of the language after instanceof, which is another one in another realm', () => {
    const texts = new Map([
      ['core/a.ts', 'if (thrown instanceof Error || at instanceof Date) return; // instanceof Map'],
      ['core/b.ts', 'return thrown instanceof ErrorLike || bytes instanceof Uint8Array;'],
      ['core/foreign/realms.ts', 'return value instanceof Error;'],
      ['core/c.test.ts', 'return value instanceof Error;'],
    ]);
    assert.deepEqual(boundToRealm(texts), [
      'src/core/a.ts uses instanceof Error: see core/foreign/realms.ts',
      'src/core/a.ts uses instanceof Date: see core/foreign/realms.ts',
      'src/core/b.ts uses instanceof Uint8Array: see core/foreign/realms.ts',
    ]);
  });
});

test('ARCHITECTURE.md: the layer check refuses SQL and lock clauses outside of the store, and no words of English', () => {
  const texts = new Map([
    ['engine/a.ts', "const text = 'select id from executions where id = $1';"],
    ['package/b.ts', 'run(`update packages set status = ${status}`);'],
    ['package/c.ts', "all('delete from channels'); all('insert into channels values (1)');"],
    ['schedule/d.ts', 'all(`with recursive t(id) as (${next})`);'],
    ['schedule/e.ts', "lockSchedule(id, ' for no key update'); lockSchedule(id, ' for update skip locked');"],
    ['engine/f.ts', "// 'select 1 from runners'\nconst words = 'update the runner, then select one from the list';"],
    ['store/g.ts', "all('select 1 from runners for share');"],
    ['testing/h.ts', "all('select 1 from runners');"],
  ]);
  const files = sqlOutsideStore(texts).map((line) => line.split(' ')[0]);
  assert.deepEqual(files, [
    'src/engine/a.ts',
    'src/package/b.ts',
    'src/package/c.ts',
    'src/package/c.ts',
    'src/schedule/d.ts',
    'src/schedule/e.ts',
    'src/schedule/e.ts',
  ]);
});

test('ARCHITECTURE.md: the layer check refuses a file that uses its own location', () => {
  const texts = new Map([
    ['own-files.ts', 'const here = import.meta.url;'],
    ['store/a.ts', "const file = new URL('./thread.ts', import.meta.url);"],
    ['store/b.ts', '// import.meta.url'],
  ]);
  assert.deepEqual(selfLocating(texts), ['src/store/a.ts uses import.meta: see own-files.ts']);
});

describe('ARCHITECTURE.md: the layer check lets pass', () => {
  const allowed = [
    'core/plan.ts -> node:crypto',
    'store/sqlite.ts -> core/plan.ts',
    'store/lease.ts -> own-files.ts',
    'engine/live.ts -> store/store.ts',
    'engine/live.ts -> store/transition.ts',
    'package/registry.ts -> engine/client.ts',
    'schedule/loop.ts -> store/store.ts',
    'open.ts -> package/registry.ts',
    'open.ts -> wire.ts',
    'client/http.ts -> server/contract.ts',
    'client/http.ts => engine/client.ts',
    'server/app.ts -> open.ts',
    'cli/main.ts -> server/app.ts',
    'index.ts -> open.ts',
  ];
  test(allowed.join(', '), () => assert.deepEqual(wrongDirections(imports(...allowed)), []));
});

test('ARCHITECTURE.md: folders are read from the first column of its tables', () => {
  const page = `
No table: \`x/\`.

| folder | holds |
| --- | --- |
| \`a/\`, \`a/b/\` | \`c/\` is no folder here |`;
  assert.deepEqual(foldersNamed(page), ['a/', 'a/b/']);
  assert.deepEqual(
    [...foldersOf(['index.ts', 'a/x.ts', 'a/y.ts'])],
    [
      ['', 1],
      ['a/', 2],
    ],
  );
});

test('ARCHITECTURE.md: every way to import is seen by the layer check', () => {
  const text = `
    import type { A } from './a.ts';
    import { type B } from '../core/b.ts';
    export * from './c.ts';
    export type { D } from './d.ts';
    type E = import('./e.ts').E;
    const f = await import('./f.ts');
    import 'node:fs';
    const text = "import x from './no.ts'"; // import './no.ts'
    export const local = 1;`;
  assert.deepEqual(
    importsOf('store/x.ts', text).map(({ target, isType }) => `${isType ? 'type ' : ''}${target}`),
    ['type store/a.ts', 'core/b.ts', 'store/c.ts', 'type store/d.ts', 'type store/e.ts', 'store/f.ts', 'node:fs'],
  );
});
