import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PackRig } from '../../../testing/pack-rig.ts';

const rig = await PackRig.open('media');

test('packages.md, Packing: files are imported as text or bytes by an attribute, and some as text without one', async () => {
  const bytes = Buffer.from([0, 255, 10, 13, 239, 187, 191]);
  const { found } = (await rig.run({
    'src/index.ts': `import query from './q.sql';
import page from './page.html' with { type: 'text' };
import rules from './rules.yaml' with { "type": "text" };
import wasm from './add.wasm' with { type: 'bytes' };
import same from './rules.yaml' with { type: 'bytes' };
import settings from './settings.json' with { type: 'json' };
import raw from './settings.json' with { type: 'text' };
import { data } from 'dep';
export { default as again } from './q.sql' with { type: 'text' };
const { default: late } = await import('./late.tpl', { with: { type: 'text' } });
export const found: unknown = [query, page, rules, [...wasm], wasm instanceof Uint8Array, same.length, settings.size, raw, late, data];
`,
    'src/q.sql': "select '\u2028é😀';\n",
    'src/page.html': '\ufeff<p>`${x}`</p>\n',
    'src/rules.yaml': 'a: 1\n',
    'src/add.wasm': bytes,
    'src/settings.json': '{"size":3}',
    'src/late.tpl': 'late',
    'node_modules/dep/package.json': '{ "name": "dep", "type": "module", "main": "main.js" }',
    'node_modules/dep/main.js': `import data from './data.bin' with { type: 'text' };\nexport { data };\n`,
    'node_modules/dep/data.bin': 'data',
  })) as { found: unknown };
  assert.deepEqual(found, [
    "select '\u2028é😀';\n",
    '<p>`${x}`</p>\n',
    'a: 1\n',
    [...bytes],
    true,
    5,
    3,
    '{"size":3}',
    'late',
    'data',
  ]);
});

test('imported files are among the stored sources, and a source map names them', async () => {
  const { manifest } = await rig.pack({
    'src/index.ts': `import page from './page.tpl' with { type: 'text' };\nexport const found = page;\n`,
    'src/page.tpl': 'page',
  });
  assert('source/src/page.tpl' in manifest.files, Object.keys(manifest.files).join());
});

test('an import of another kind of file says how to import it, for all of them at once', async () => {
  const message = await rig.refusal({
    'src/index.ts': `import rules, { a } from './rules.yaml';
import './style.css';
import wasm from './add.wasm';
import raw from './q.sql?raw';
export const found: unknown = [rules, a, wasm, raw];
`,
    'src/rules.yaml': 'a: 1\nb: [2]\n',
    'src/style.css': 'body {}',
    'src/add.wasm': Buffer.from([0, 97, 115, 109]),
    'src/q.sql': 'select 1',
  });
  for (const [file, kind] of [
    ['rules.yaml', '.yaml'],
    ['style.css', '.css'],
    ['add.wasm', '.wasm'],
  ]) {
    const advice = `src/${file}: there is no loader for ${kind}; import it with { type: 'text' } or { type: 'bytes' }`;
    assert(message.includes(advice), message);
  }
  assert.match(
    message,
    /^src\/index\.ts:4:17: Could not load .*q\.sql\?raw.*; to import a file as text or bytes, use \{ type: 'text' \}/m,
  );
});
