import assert from 'node:assert/strict';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';
import { Client, Runner, workflow } from '../src/index.ts';
import { packArchive } from '../src/package/archive/archive.ts';
import { tempFolder } from '../src/testing/engine-rig.ts';
import { sampleManifest } from '../src/testing/sample-package.ts';

/** A package that keeps its input in a variable of its module, and returns the value it found there. */
const code = `import { workflow } from 'cloacina';
let left = null;
export const keep = workflow('keep');
keep.returns(keep.task('keep', ({ input }) => {
  const found = left;
  left = input.secret;
  return { found, pid: process.pid };
}));
export const parent = workflow('parent');
const keeping = parent.child('keeping', 'keep', { input: ({ input }) => input });
parent.returns(keeping);
`;

async function pack(): Promise<Uint8Array> {
  const keep = workflow('keep');
  keep.returns(keep.task('keep', () => null));
  const parent = workflow('parent');
  parent.returns(parent.child('keeping', 'keep', { input: () => ({}) }));
  const manifest = { ...sampleManifest('keeper'), workflows: [keep.spec, parent.spec] };
  return (await packArchive(manifest, new Map([['code/index.mjs', Buffer.from(code)]]))).bytes;
}

test('registry.md, Isolation: tenants that registered the same bytes share no process', async (t) => {
  const folder = tempFolder(t);
  const database = `sqlite:${join(folder, 'db.sqlite')}`;
  const registry = pathToFileURL(join(folder, 'packages')).href;
  const bytes = await pack();
  await using globex = await Client.open(database, { registry, tenant: 'globex' });
  await using acme = await Runner.open(database, { registry, tenant: 'acme' });
  await acme.registry.register(bytes);
  await globex.registry.register(bytes);

  interface Kept {
    readonly found: string | null;
    readonly pid: number;
  }
  const run = async (who: Client, secret: string, name = 'keep'): Promise<Kept> =>
    (await who.execute(name, { secret })).output as unknown as Kept;
  const first = await run(acme, 'of acme');
  assert.equal(first.found, null);
  const theirs = await run(globex, 'of globex');
  assert.equal(theirs.found, null);
  assert.notEqual(theirs.pid, first.pid);
  assert.deepEqual(await run(acme, 'more', 'parent'), { found: 'of acme', pid: first.pid }, 'one tenant, one process');
  assert.deepEqual(await run(globex, 'more', 'parent'), { found: 'of globex', pid: theirs.pid });
});
