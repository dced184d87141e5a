// npm run test:packages [-- NAME...] packs and runs all projects of this folder, or those with these names. Packages are
// installed from npm's registry into the user's cache folder, once.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { startedServer } from '../../src/testing/postgres-server.ts';
import { toolchain } from '../pack/npm.ts';
import { readCases } from './cases.ts';
import { checkCase } from './check.ts';
import { installed } from './install.ts';

const wanted = process.argv.slice(2);
const cases = readCases().filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const folder = mkdtempSync(join(tmpdir(), 'cloacina-npm-'));
after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

const unavailable = new Map<string, string>();
if (cases.some(({ needs }) => needs === 'postgres') && process.env['DATABASE_URL'] === undefined) {
  const server = await startedServer();
  if (typeof server === 'string') unavailable.set('postgres', server);
  else {
    process.env['DATABASE_URL'] = server.url;
    after(() => server.remove());
  }
}
if (process.env['REDIS_URL'] === undefined) unavailable.set('redis', 'REDIS_URL names no Redis');

describe('packages.md: packages of npm run in a package as they run without one', { concurrency: 2 }, () => {
  for (const one of cases) {
    test(one.name, { timeout: 300_000 }, async (t) => {
      const missing = one.needs === null ? undefined : unavailable.get(one.needs);
      if (missing !== undefined) return t.skip(missing);
      const dir = join(folder, one.name);
      mkdirSync(dir);
      await checkCase(one, await installed(toolchain(process.execPath), one.deps), dir);
    });
  }
});
