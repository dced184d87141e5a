import { join } from 'node:path';
import { describe, it } from 'node:test';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { killAndCheck } from './crash/kill-and-check.ts';

const lanes = 2;
const kills = 200;
const killsOnPostgres = 20;

describe('durability.md: a runner killed with SIGKILL at random moments under load', { concurrency: lanes }, () => {
  for (let lane = 0; lane < lanes; lane++) {
    it(`every acknowledged execution ends once and no durable task repeats (${kills / lanes} kills, lane ${lane + 1})`, async (t) => {
      const folder = tempFolder(t);
      await killAndCheck(`sqlite:${join(folder, 'crash.db')}`, folder, kills / lanes);
    });
  }

  it(`the same is true on PostgreSQL (${killsOnPostgres} kills)`, async (t) => {
    const server = await testPostgres();
    if (typeof server === 'string') return t.skip(server);
    release(t, () => server.stop());
    await killAndCheck(`${server.url}?schema=crash_${process.pid}`, tempFolder(t), killsOnPostgres);
  });
});
