import { describe, it } from 'node:test';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { killAndCheck } from './crash/kill-and-check.ts';

describe('durability.md: a runner killed with SIGKILL at random moments under load, on PostgreSQL', () => {
  it('every acknowledged execution ends once and no durable task repeats (300 kills)', async (t) => {
    const server = await testPostgres();
    if (typeof server === 'string') return t.skip(server);
    release(t, () => server.stop());
    await killAndCheck(`${server.url}?schema=crash_${process.pid}`, tempFolder(t), 300);
  });
});
