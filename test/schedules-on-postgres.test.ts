/** Suites of schedules once more on PostgreSQL: each test with its own schema. */
import { describe, it } from 'node:test';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { rigsOnPostgres } from '../src/testing/rig-store.ts';

const server = await testPostgres();
if (typeof server === 'string') {
  describe('the suites of schedules on PostgreSQL', () => {
    it('they have a server', (t) => t.skip(server));
  });
} else {
  rigsOnPostgres(server.url);
  for (const suite of ['clock-ahead', 'declared', 'schedules']) await import(`../src/schedule/${suite}.test.ts`);
}
