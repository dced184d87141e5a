import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';

const script = fileURLToPath(new URL('processes/killers.ts', import.meta.url));
/** Two deaths that are not charged, and five that are charged to the execution. */
const mostRunners = 7;

describe('durability.md, Poison suspects: code that ends its process outside of a task is charged to its execution', () => {
  for (const kind of ['when', 'over', 'until', 'childInput', 'schema', 'childSchema']) {
    it(`${kind}: the execution is held as CRASH_LOOP after at most ${mostRunners} runners, and its neighbours complete`, async (t) => {
      const database = `sqlite:${join(tempFolder(t), 'killers.db')}`;
      const run = (): number | null => spawnSync(process.execPath, [script, database], { stdio: 'inherit' }).status;
      assert.equal(run(), 0);
      const client = await Client.open(database);
      release(t, () => client.close());
      const killer = await client.start(kind);
      const neighbours = await Promise.all([client.start('quick'), client.start('quick')]);
      const ends: (number | null)[] = [];
      do ends.push(run());
      while (ends.at(-1) === 7 && ends.length <= mostRunners);
      assert.equal(ends.at(-1), 0, `a runner lives on: ${ends.join(', ')}`);
      const { status, reason } = await client.executions.get(killer.id);
      assert.deepEqual([status, reason], ['paused', 'CRASH_LOOP']);
      for (const { id } of neighbours) assert.equal((await client.executions.get(id)).status, 'completed');
    });
  }
});
