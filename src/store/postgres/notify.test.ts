import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Client, Pool } from 'pg';
import { workflow } from '../../core/definition/workflow.ts';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openRig, release } from '../../testing/engine-rig.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { TcpProxy } from '../../testing/tcp-proxy.ts';
import { openStore } from '../open.ts';
import { Notices, noticeChannel } from './notify.ts';

const server = await testPostgres();
if (typeof server === 'string') {
  describe('notices on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.stop());
  const { url } = server;

  describe('durability.md, Wake-ups: polling is only the safety net', () => {
    it('a listening connection that no longer carries anything is replaced', { timeout: 30_000 }, async (t) => {
      const schema = `silent_${process.pid}`;
      const port = Number(new URL(url).port);
      const proxy = await TcpProxy.open(() => port);
      release(t, () => proxy.close());
      const pool = new Pool({ connectionString: url });
      release(t, () => pool.end());
      let connections = 0;
      const notices = new Notices({
        schema,
        checkMs: 50,
        answerMs: 200,
        // a router forgets the first connection, and carries every later one
        connect: async () => {
          const place = new URL(url);
          if (connections++ === 0) place.port = String(proxy.port);
          const client = new Client({ connectionString: place.href });
          await client.connect();
          return client;
        },
        query: async (text, values) => {
          await pool.query(text, [...values]);
        },
      });
      release(t, () => notices.close());
      const heard: string[] = [];
      let wake: () => void = () => undefined;
      const next = async (): Promise<string> => {
        while (heard.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        return heard.shift()!;
      };
      notices.subscribe((notice) => {
        heard.push(notice);
        wake();
      });
      const say = (): Promise<unknown> => pool.query('select pg_notify($1, $2)', [noticeChannel(schema), 'other work']);
      assert.equal(await next(), 'all', 'it listens');
      await say();
      assert.equal(await next(), 'work');
      proxy.swallow();
      await say();
      assert.equal(await next(), 'all', 'a notice may have been lost');
      assert.equal(await next(), 'all', 'it listens again');
      await say();
      assert.deepEqual([await next(), connections], ['work', 2]);
    });

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
