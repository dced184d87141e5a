import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Client, Runner, workflow } from '../src/index.ts';
import { tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';

const server = await testPostgres();

/** Notes the order in which promises resolve. */
function order(...promises: readonly Promise<unknown>[]): { readonly ended: readonly number[] } {
  const ended: number[] = [];
  promises.forEach((promise, at) => void promise.then(() => ended.push(at)));
  return { ended };
}

function closeTests(database: string, place: (t: Cleanup) => string): void {
  describe(`interfaces.md, One set of verbs: several closes on ${database}`, () => {
    it('two closes of a client at once both resolve, and so does a later one', async (t) => {
      const client = await Client.open(place(t));
      await Promise.all([client.close(), client.close(), client[Symbol.asyncDispose]()]);
      await client.close();
      await assert.rejects(client.start('w'), { code: 'RUNNER_CLOSED' });
    });

    it('a later close of a runner waits for the first, whose drain counts', async (t) => {
      const gate = Promise.withResolvers<number>();
      const begun = Promise.withResolvers<void>();
      const held = workflow('held');
      const task = held.task('a', () => {
        begun.resolve();
        return gate.promise;
      });
      const url = place(t);
      const runner = await Runner.open(url, { workflows: [held.returns(task)] });
      const { id } = await runner.start('held');
      await begun.promise;
      const first = runner.close({ drain: '1m' });
      const closes = [first, runner.close({ drain: 0 }), runner[Symbol.asyncDispose]()];
      const { ended } = order(...closes);
      for (let turn = 0; turn < 20; turn++) await setImmediate();
      assert.deepEqual(ended, []);
      gate.resolve(7);
      await Promise.all(closes);
      await runner.close();
      await using client = await Client.open(url);
      const { status } = await client.executions.get(id);
      assert.equal(status, 'completed', 'the task was given the time of the first close');
    });

    it('a close with an invalid drain closes nothing', async (t) => {
      const runner = await Runner.open(place(t));
      await assert.rejects(runner.close({ drain: 'soon' }), { code: 'OPTION_INVALID' });
      assert.deepEqual((await runner.executions.list()).items, []);
      await runner.close();
    });
  });
}

closeTests('SQLite', (t) => `sqlite:${join(tempFolder(t), 'closing.db')}`);

if (typeof server === 'string') {
  describe('interfaces.md, One set of verbs: several closes on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.stop());
  let schemas = 0;
  closeTests('PostgreSQL', () => `${server.url}?schema=closing_${process.pid}_${schemas++}`);
}
