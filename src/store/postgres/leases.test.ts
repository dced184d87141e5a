import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Client } from 'pg';
import { systemClock } from '../../engine/clock.ts';
import { Membership } from '../../engine/liveness/membership.ts';
import { keepingLogger, release } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { isHeldUp, postgresPlace } from '../../testing/postgres-place.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { sampleExecution, sampleRunner, sampleTransition } from '../../testing/samples.ts';
import { FencedError } from '../transition.ts';
import type { Store } from '../store.ts';

const lease = { runner: 'r1', leaseMs: 60_000, buildIds: [] };

async function leaseUntil(store: Store): Promise<number> {
  return (await store.runners()).find(({ id }) => id === 'r1')!.leaseUntil;
}

/** Overlapping transactions of r1 that hold its fence without a gap; returns their number when the test ends them. */
async function withoutAGap(t: Cleanup, of: Client, url: string): Promise<() => Promise<number>> {
  const { rows } = await of.query<{ path: string }>(`select current_setting('search_path') as path`);
  const options = `-c search_path=${rows[0]!.path}`;
  const holders = [1, 2, 3].map(() => new Client({ connectionString: url, options }));
  for (const holder of holders) {
    await holder.connect();
    release(t, () => holder.end());
  }
  const hold = (at: number): Promise<unknown> =>
    holders[at % 3]!.query(`begin; select 1 from runners where id = 'r1' and dead = 0 for share`);
  await hold(0);
  await hold(1);
  const end = new AbortController();
  const holding = (async (): Promise<number> => {
    for (let at = 2; ; at++) {
      await hold(at);
      await holders[(at - 2) % 3]!.query('commit');
      if (end.signal.aborted) return at;
      await setImmediate();
    }
  })();
  return async () => {
    end.abort();
    const count = await holding;
    for (const holder of holders) await holder.query('rollback');
    return count;
  };
}

const server = await testPostgres();
if (typeof server === 'string') {
  describe('leases on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  const { url } = server;
  after(() => server.stop());
  const place = (t: Cleanup): ReturnType<typeof postgresPlace> => postgresPlace(t, url, ['r1', 'r2']);

  describe('durability.md, Ownership: a lease is renewed whatever number of transactions hold the fence of its runner', () => {
    it('the event loop renews it', async (t) => {
      const { store, client } = await place(t);
      const end = await withoutAGap(t, client, url);
      for (let before = await leaseUntil(store), n = 0; n < 3; n++) {
        const renewed = store.renew(lease);
        assert.equal(await isHeldUp(renewed), false);
        assert.equal((await renewed).alive, true);
        const now = await leaseUntil(store);
        assert.notEqual(now, before);
        before = now;
      }
      assert.ok((await end()) > 3);
    });

    it('the thread renews it', async (t) => {
      const { store, client } = await place(t);
      const three = Promise.withResolvers<void>();
      const failures: string[] = [];
      const end = await withoutAGap(t, client, url);
      let renewals = 0;
      const keeper = store.keepLease!({
        ...lease,
        leaseMs: 3000,
        stallMs: 60_000,
        onRenewal: ({ alive }) => {
          if (alive && ++renewals === 3) three.resolve();
        },
        onFailure: ({ message }) => {
          failures.push(message);
          three.resolve();
        },
        onStall: () => undefined,
        onGone: ({ message }) => failures.push(message),
      });
      await three.promise;
      await end();
      await keeper.close();
      assert.deepEqual(failures, []);
    });
  });

  describe('durability.md, The journal: while the oldest commit is older than the lease', () => {
    it('the thread does not renew the lease, though its row is free; once the commit is answered, it does', async (t) => {
      const { store } = await place(t);
      let renewed = Promise.withResolvers<void>();
      const next = async (): Promise<void> => {
        renewed = Promise.withResolvers();
        await renewed.promise;
      };
      const leaseMs = 600;
      const keeper = store.keepLease!({
        ...lease,
        leaseMs,
        stallMs: 60_000,
        onRenewal: () => renewed.resolve(),
        onFailure: () => undefined,
        onStall: () => undefined,
        onGone: () => undefined,
      });
      await next();
      keeper.waitsSince(systemClock.monotonic() - leaseMs - 1);
      await isHeldUp(next()); // one may be in flight
      assert.ok(await isHeldUp(next()));
      keeper.waitsSince(null);
      await next();
      await keeper.close();
    });
  });

  describe('durability.md, The journal: a system clock that is set', () => {
    it('the wait of a commit is measured by the monotonic clock: a runner that cannot write keeps no lease', async (t) => {
      const { store } = await place(t);
      const leaseMs = 600;
      let renewed = Promise.withResolvers<void>();
      const membership = new Membership({
        store,
        clock: systemClock,
        logger: keepingLogger([]),
        name: 'test',
        leaseMs,
        stallMs: 60_000,
        keepsFromThread: true,
        queues: ['default'],
        slots: 1,
        onMet: () => undefined,
        identity: undefined,
        ownOnly: false,
        announced: [],
        embedded: () => [],
        buildIds: () => [],
        waitsSince: () => undefined,
        onDead: () => undefined,
        onRenewed: () => renewed.resolve(),
        onReleased: () => undefined,
      });
      await membership.join();
      release(t, () => membership.leave());
      await renewed.promise;
      const wall = Date.now.bind(Date);
      t.mock.method(Date, 'now', () => wall() + 3_600_000);
      membership.commitWaits(systemClock.monotonic() - leaseMs - 1);
      renewed = Promise.withResolvers();
      await isHeldUp(renewed.promise); // one may be in flight
      renewed = Promise.withResolvers();
      assert.ok(await isHeldUp(renewed.promise));
      membership.commitWaits(undefined);
      await renewed.promise;
    });
  });

  describe('durability.md, Death and adoption: the mark and the lease', () => {
    it('a marked runner has no lease: it renews, writes and takes nothing, and gets no new lease', async (t) => {
      const { store } = await place(t);
      const create = sampleExecution({ owned: true });
      await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(create.id, { create })] });
      await store.createExecutions([sampleExecution()]);
      await store.renew(lease);
      assert.equal(await store.markDead('r1', await leaseUntil(store)), true);
      assert.equal((await store.renew(lease)).alive, false);
      await store.registerRunner(sampleRunner('r1')); // a first try whose answer was lost
      assert.equal((await store.renew(lease)).alive, false);
      const late = { runner: 'r1', lane: 0, n: 2, transitions: [sampleTransition(create.id)] };
      await assert.rejects(store.commit(late), FencedError);
      const claim = { now: 1_000_010, limit: 10, buildIds: ['embedded/w/1'], roots: null, limits: new Map() };
      assert.deepEqual(await store.claim({ ...claim, runner: 'r1' }), []);
      assert.equal(await store.releaseOrphans(), 1);
      assert.deepEqual(
        (await store.runners()).map(({ id }) => id),
        ['r2'],
      );
    });

    it('a runner whose renewal is in flight is not marked, and delays nothing', async (t) => {
      const { store, client } = await place(t);
      const watched = await leaseUntil(store);
      await client.query(`begin; update runner_leases set lease_until = lease_until + 1 where runner = 'r1'`);
      const marked = store.markDead('r1', watched);
      assert.equal(await isHeldUp(marked), false);
      assert.equal(await marked, false);
      await client.query('commit');
      assert.equal(await store.markDead('r1', watched), false, 'it has another lease by now');
      assert.equal((await store.renew(lease)).alive, true);
    });

    it('a renewal that waits for the mark reports that its runner is dead', async (t) => {
      const { store, client } = await place(t);
      await client.query(`begin; select 1 from runner_leases where runner = 'r1' for update;
        update runners set dead = 1 where id = 'r1'; delete from runner_leases where runner = 'r1'`);
      const renewed = store.renew(lease);
      assert.ok(await isHeldUp(renewed));
      await client.query('commit');
      assert.equal((await renewed).alive, false);
    });

    it('a runner whose row transactions hold without a gap is not marked, and delays nothing', async (t) => {
      const { store, client } = await place(t);
      const end = await withoutAGap(t, client, url);
      const marked = store.markDead('r1', await leaseUntil(store));
      assert.equal(await isHeldUp(marked), false);
      assert.equal(await marked, false);
      await end();
      assert.equal(await store.markDead('r1', await leaseUntil(store)), true);
    });
  });
}
