import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SourceMap } from 'node:module';
import type { SourceMapPayload } from 'node:module';
import { packageJson, PackRig, text } from '../../../testing/pack-rig.ts';
import { readArchive } from '../../archive/archive.ts';

const rig = await PackRig.open('input-map');

// line 1 of the built file is line 7 of the source, column for column
const map = JSON.stringify({ version: 3, sources: ['../src/index.ts'], names: [], mappings: 'AAMA' });
const code = 'export const fail = () => { throw new Error("x"); };\n';
const project = packageJson({}, { entry: 'dist/index.js' });

async function placeOf(files: { readonly [path: string]: string }): Promise<string> {
  const { bytes } = await rig.pack({ 'package.json': project, ...files });
  const { files: packed } = await readArchive(bytes);
  const bundle = text(packed, 'code/index.mjs').split('\n');
  const line = bundle.findIndex((each) => each.includes('fail'));
  const payload = JSON.parse(text(packed, 'code/index.mjs.map')) as SourceMapPayload;
  const found = new SourceMap(payload).findEntry(line, bundle[line]!.indexOf('fail'));
  return 'originalLine' in found ? `${found.originalSource}:${found.originalLine + 1}` : 'none';
}

test('a stack of code that was built before names the source by the map of that build', async () => {
  assert.equal(
    await placeOf({ 'dist/index.js': `${code}//# sourceMappingURL=index.js.map\n`, 'dist/index.js.map': map }),
    '../source/src/index.ts:7',
  );
  const inline = `data:application/json;charset=utf-8;base64,${Buffer.from(map).toString('base64')}`;
  assert.equal(
    await placeOf({ 'dist/index.js': `${code}//# sourceMappingURL=${inline}\n` }),
    '../source/src/index.ts:7',
  );
});

test('a map that is missing or damaged changes nothing', async () => {
  for (const damaged of [undefined, '{', '[]', '{}']) {
    const files = { 'dist/index.js': `${code}//# sourceMappingURL=index.js.map\n` };
    const all = damaged === undefined ? files : { ...files, 'dist/index.js.map': damaged };
    assert.equal(await placeOf(all), '../source/dist/index.js:1');
  }
});
