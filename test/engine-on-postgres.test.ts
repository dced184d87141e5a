/** The suites of the engine that use its rig, once more on PostgreSQL: each with its own schema. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { rigsOnPostgres } from '../src/testing/rig-store.ts';

const folder = join(import.meta.dirname, '..', 'src', 'engine');
const suites = globSync('**/*.test.ts', { cwd: folder })
  .toSorted()
  .filter((name) => /openRig|openStores|openOneStore/.test(readFileSync(join(folder, name), 'utf8')));

const server = await testPostgres();
if (typeof server === 'string') {
  describe('the suites of the engine on PostgreSQL', () => {
    it('they have a server', (t) => t.skip(server));
  });
} else {
  rigsOnPostgres(server.url);
  for (const suite of suites) await import(`../src/engine/${suite.replaceAll('\\', '/')}`);
}
