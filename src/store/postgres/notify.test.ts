import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { workflow } from '../../core/definition/workflow.ts';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openRig, release } from '../../testing/engine-rig.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { openStore } from '../open.ts';

const server = await testPostgres();
if (typeof server === 'string') {
  describe('notices on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.stop());
  const { url } = server;

  describe('durability.md, Wake-ups: polling is only the safety net', () => {
    it(
      'the end of an execution under a limit wakes other runners for what waits for that limit',
      { timeout: 30_000 },
      async (t) => {
        const clock = new ManualClock(); // it stands still, so nothing polls
        const place = `${url}?schema=notify_${process.pid}`;
        const open = async (): ReturnType<typeof openStore> => {
          const store = await openStore(place, { now: () => clock.now() });
          release(t, () => store.close());
          return store;
        };
        const finish = Promise.withResolvers<void>();
        const begun = Promise.withResolvers<void>();
        const build = (): AnyWorkflow => {
          const w = workflow('w', { concurrency: { limit: 1 } });
          w.task('a', async () => {
            begun.resolve();
            await finish.promise;
          });
          return w;
        };
        // it runs its own executions only, so it leaves the second one to the other runner
        const one = await openRig(t, { workflows: [build()], store: await open(), clock, ownOnly: true });
        const two = await openRig(t, { workflows: [build()], store: await open(), clock });
        const first = await one.client.start('w');
        await begun.promise;
        const second = await two.client.start('w');
        assert.equal((await two.client.executions.get(second.id)).status, 'pending');
        finish.resolve();
        await first.result();
        await second.result();
        assert.equal((await two.client.executions.get(second.id)).status, 'completed');
      },
    );
  });
}
