import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../core/definition/workflow.ts';
import { OutcomeUnknownError } from '../store/transition.ts';
import type { Batch } from '../store/transition.ts';
import type { LeaseKept, Renew, Store } from '../store/store.ts';
import { ManualClock } from '../testing/clock.ts';
import { declareDead, openClient, openRig, openStores } from '../testing/engine-rig.ts';

const one = () => {
  const w = workflow('one');
  return w.returns(w.task('a', () => 1));
};

describe('durability.md, The fence: a runner that is declared dead', () => {
  it('a runner that is declared dead during an outage begins tasks again under its new id', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const commit: Store['commit'] = async (batch) => {
      if (away) throw new Error('the database is away');
      return mine!.commit(batch);
    };
    const w = one();
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, commit }, clock });
    away = true;
    const start = rig.client.start(w);
    await clock.advance(1000);
    await declareDead(other!, rig.engine.id);
    away = false;
    await clock.advance(10_000);
    assert.equal((await other!.execution((await start).id))!.status, 'completed');
  });

  it('an attempt whose start was not durable yet returns its slot', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    const once = workflow('once');
    once.task('a', { retry: { attempts: 1 } }, () => 1);
    const w = one();
    let hold = false;
    let go: () => void = () => undefined;
    const commit: Store['commit'] = async (batch) => {
      const starts = batch.transitions.some(({ tasks }) => tasks.some(({ status }) => status === 'running'));
      if (hold && starts) await new Promise<void>((resolve) => (go = resolve));
      return mine!.commit(batch);
    };
    const rig = await openRig(t, { workflows: [once, w], store: { ...mine!, commit }, clock, concurrency: 1 });
    hold = true;
    await rig.client.start(once);
    await clock.settle();
    await declareDead(other!, rig.engine.id);
    hold = false;
    go();
    await clock.advance(12_000);
    const { id } = await rig.client.start(w);
    await clock.advance(1000);
    assert.equal((await other!.execution(id))!.status, 'completed');
  });

  it('a renewal in flight for the dead id does not end the new one', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let hold = true;
    let go: () => void = () => undefined;
    const renew: Store['renew'] = async (renewal) => {
      if (hold) await new Promise<void>((resolve) => (go = resolve));
      hold = false;
      return mine!.renew(renewal);
    };
    const w = workflow('long');
    const done = w.returns(w.task('a', () => new Promise<number>((resolve) => clock.timer(20_000, () => resolve(1)))));
    const rig = await openRig(t, { workflows: [done, one()], store: { ...mine!, renew }, clock });
    await clock.advance(5100); // the renewal is in flight
    await declareDead(other!, rig.engine.id);
    await rig.client.start('one'); // it learns of its death and registers anew
    const handle = await rig.client.start(done);
    await clock.advance(100);
    const anew = rig.engine.id;
    go();
    await clock.advance(25_000);
    assert.equal(rig.engine.id, anew);
    const record = await other!.execution(handle.id);
    assert.deepEqual([record!.status, record!.epoch], ['completed', 1]);
  });

  it('a start during registration waits for the new row: it is created once, and the runner registers once', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    const registered: string[] = [];
    let hold = false;
    let go: () => void = () => undefined;
    const registerRunner: Store['registerRunner'] = async (runner) => {
      registered.push(runner.id);
      if (hold) await new Promise<void>((resolve) => (go = resolve));
      return mine!.registerRunner(runner);
    };
    // for each kept lease: the reported time since which a commit waits
    const told: (number | null)[][] = [];
    const keepLease: NonNullable<Store['keepLease']> = () => {
      const waits: (number | null)[] = [];
      told.push(waits);
      return {
        runs: () => undefined,
        waitsSince: (at) => void waits.push(at),
        attempt: () => () => undefined,
        close: async () => {},
      };
    };
    const w = one();
    const store = { ...mine!, registerRunner, keepLease };
    const rig = await openRig(t, { workflows: [w], store, clock, keepsFromThread: true });
    await declareDead(other!, rig.engine.id);
    hold = true;
    const first = rig.client.start(w); // it learns of its death
    await clock.settle();
    const second = rig.client.start(w);
    await clock.advance(100);
    go();
    await clock.advance(1000);
    for (const { id } of [await first, await second]) assert.equal((await other!.execution(id))!.status, 'completed');
    assert.deepEqual(registered.slice(1), [rig.engine.id]);
    assert.equal((await rig.client.executions.list()).items.length, 2);
    assert.deepEqual(
      rig.logged.map(({ message }) => message).filter((message) => /dead|refuses|away/.test(message)),
      ['this runner was declared dead; it registers again, and its executions are taken over'],
    );
    assert.deepEqual([told.length, typeof told[1]![0], told[1]!.at(-1)], [2, 'number', null]);
  });

  it('a start that waits for a registration is answered in the end even if registering fails', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const registerRunner: Store['registerRunner'] = async (runner) => {
      if (away) throw new Error('the database is away');
      return mine!.registerRunner(runner);
    };
    const w = one();
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, registerRunner }, clock });
    await declareDead(other!, rig.engine.id);
    away = true;
    const sent = assert.rejects(rig.client.start(w), { code: 'OUTCOME_UNKNOWN' });
    await clock.settle();
    const later = assert.rejects(rig.client.start(w), { code: 'STORE_UNAVAILABLE' });
    await clock.advance(12_000);
    await Promise.all([sent, later]);
    away = false;
    await clock.advance(10_000);
    const { id } = await rig.client.start(w);
    await clock.advance(1000);
    assert.equal((await other!.execution(id))!.status, 'completed');
    assert.equal((await rig.client.executions.list()).items.length, 1);
  });

  it('a runner that registered anew continues if its first sweep fails', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let fails = false;
    const releaseOrphans: Store['releaseOrphans'] = async () => {
      if (fails) {
        fails = false;
        throw new Error('the database is away');
      }
      return mine!.releaseOrphans();
    };
    const w = one();
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, releaseOrphans }, clock });
    await declareDead(other!, rig.engine.id);
    fails = true;
    const start = rig.client.start(w);
    await clock.advance(11_000);
    assert.equal((await other!.execution((await start).id))!.status, 'completed');
  });
});

describe('durability.md, death and adoption', () => {
  const elsewhere = (id: string, now: number, leaseMs: number) => ({
    id,
    name: 'far',
    host: 'another-host',
    pid: 1,
    pidStarted: '1',
    leaseUntil: now + leaseMs,
    dead: false,
    queues: ['default'],
    slots: 0,
    buildIds: [],
  });

  it('an outage kills no runner: earlier observations of a lease do not count', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const runners: Store['runners'] = async () => {
      if (away) throw new Error('the database is away');
      return mine!.runners();
    };
    const renew: Store['renew'] = async (renewal) => {
      if (away) throw new Error('the database is away');
      return mine!.renew(renewal);
    };
    await openRig(t, { store: { ...mine!, runners, renew }, clock });
    await other!.registerRunner(elsewhere('far', clock.now(), 15_000));
    await clock.advance(6000);
    away = true;
    await clock.advance(30_000);
    away = false;
    await clock.advance(6000);
    // it renews as soon as it can
    assert.ok((await other!.renew({ runner: 'far', leaseMs: 15_000, buildIds: [] })).alive);
    await clock.advance(10_000);
    assert.ok((await other!.renew({ runner: 'far', leaseMs: 15_000, buildIds: [] })).alive);
    await clock.advance(30_000);
    assert.equal((await other!.renew({ runner: 'far', leaseMs: 15_000, buildIds: [] })).alive, false);
  });

  it("a lease longer than the observer's own is respected", async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    await openRig(t, { store: mine!, clock });
    await other!.registerRunner(elsewhere('far', clock.now(), 120_000));
    await clock.advance('100s');
    assert.ok((await other!.renew({ runner: 'far', leaseMs: 120_000, buildIds: [] })).alive);
    await clock.advance('200s');
    assert.equal((await other!.renew({ runner: 'far', leaseMs: 120_000, buildIds: [] })).alive, false);
  });

  it('a runner that closed during an outage leaves no execution without a later owner', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const guard =
      <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
      async (...args: A): Promise<R> => {
        if (away) throw new Error('the database is away');
        return call(...args);
      };
    const store = {
      ...mine!,
      commit: guard((batch: Batch) => mine!.commit(batch)),
      removeRunner: guard((runner: string) => mine!.removeRunner(runner)),
      renew: guard((renewal: Renew) => mine!.renew(renewal)),
    };
    const w = workflow('w');
    w.sleep('nap', { for: '10s' });
    const rig = await openRig(t, { workflows: [w], store, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    away = true;
    await rig.close();
    away = false;
    await openRig(t, { workflows: [w], store: other!, clock });
    await clock.advance('60s');
    assert.equal((await other!.execution(id))!.status, 'completed');
  });

  it('a process with a blocked event loop keeps its executions for `stall`, and no longer', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let still = false;
    const renew: Store['renew'] = (renewal) => (still ? Promise.reject(new Error('not now')) : mine!.renew(renewal));
    const w = workflow('w');
    w.task('a', () => new Promise<number>(() => undefined));
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, renew }, clock, graceMs: 0 });
    const { id } = await rig.client.start(w);
    await clock.settle();
    const owner = (await other!.execution(id))!.owner;
    still = true;
    await openRig(t, { store: other!, clock });
    await clock.advance('110s');
    assert.equal((await other!.execution(id))!.owner, owner);
    await clock.advance('30s');
    assert.notEqual((await other!.execution(id))!.owner, owner);
  });

  it('queued attempts of a runner that learns that it is dead do not begin', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const commit: Store['commit'] = async (batch) => {
      if (away) throw new Error('the database is away');
      return mine!.commit(batch);
    };
    const began: string[] = [];
    const w = workflow('w');
    w.task('a', () => new Promise<number>((resolve) => clock.timer(500, () => resolve(1))));
    w.task('b', ({ executionId, attempt }) => void began.push(`${executionId} ${attempt}`));
    const rig = await openRig(t, {
      workflows: [w, one()],
      store: { ...mine!, commit },
      clock,
      concurrency: 1,
      graceMs: 0,
    });
    const { id } = await rig.client.start(w);
    await clock.advance(100);
    away = true;
    // a commit fails, so no attempt begins; then the slot becomes free
    const noticed = rig.client.start('one');
    await clock.advance(1000);
    assert.deepEqual(began, []);
    await declareDead(other!, rig.engine.id);
    away = false;
    // the same process takes it again under its new id: once, and not under the dead one
    await clock.advance(6000);
    await noticed;
    assert.deepEqual(began.length, 1);
    assert.equal((await other!.execution(id))!.epoch, 2);
  });
});

describe('durability.md, wake-ups', () => {
  it('a failed poll is repeated', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let fails = 1;
    const claim: Store['claim'] = async (options) => {
      if (fails-- > 0) throw new Error('the database is away');
      return mine!.claim(options);
    };
    const w = one();
    await openRig(t, { workflows: [w], store: { ...mine!, claim }, clock });
    const { id } = await openClient(t, other!, clock).start(w);
    await clock.advance(2000);
    assert.equal((await other!.execution(id))!.status, 'completed');
  });

  it('an execution submitted while commits failed runs once they succeed', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const commit: Store['commit'] = async (batch) => {
      if (away) throw new Error('the database is away');
      return mine!.commit(batch);
    };
    const w = one();
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, commit }, clock });
    away = true;
    const start = rig.client.start(w);
    await clock.advance(100);
    const { id } = await openClient(t, other!, clock).start(w);
    await clock.advance(100);
    away = false;
    await clock.advance(1000);
    await start;
    assert.equal((await other!.execution(id))!.status, 'completed');
  });

  it('a start long after the database went away fails after 10 s', async (t) => {
    const clock = new ManualClock();
    const [mine] = await openStores(t, 1, clock);
    let away = false;
    const commit: Store['commit'] = async (batch) => {
      if (away) throw new Error('the database is away');
      return mine!.commit(batch);
    };
    const w = workflow('long');
    w.task('a', () => new Promise<number>((resolve) => clock.timer(100, () => resolve(1))));
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, commit }, clock });
    await rig.client.start(w);
    await clock.settle();
    away = true;
    await clock.advance(5000);
    let error: unknown;
    rig.client.start(w).catch((thrown: unknown) => (error = thrown));
    await clock.advance(11_000);
    assert.equal(Reflect.get(error ?? {}, 'code'), 'STORE_UNAVAILABLE');
    away = false;
    await clock.advance(2000);
  });
});

describe('durability.md, Inbox', () => {
  it('a message that the last owner did not read is read before any task begins', async (t) => {
    const clock = new ManualClock();
    const [first, second] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const build = (who: string) => {
      const w = workflow('w');
      w.task('a', () => {
        ran.push(who);
        return new Promise<number>(() => undefined);
      });
      return w;
    };
    const frozen = new ManualClock();
    const dead = await openRig(t, { workflows: [build('dead')], store: first!, clock: frozen, graceMs: 0 });
    const { id } = await dead.client.start(build('dead'));
    await frozen.settle();
    assert.equal((await openClient(t, second!, clock).cancel(id)).status, 'cancelling');
    await declareDead(second!, dead.engine.id);
    await openRig(t, { workflows: [build('next')], store: second!, clock, graceMs: 0 });
    await clock.advance(100);
    assert.equal((await second!.execution(id))!.status, 'cancelled');
    assert.deepEqual(ran, ['dead']);
  });
});

describe('engine.md, Control: close', () => {
  it('a second close waits for the first', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task(
      'a',
      ({ signal }) =>
        new Promise<number>((resolve) => signal.addEventListener('abort', () => clock.timer(100, () => resolve(1)))),
    );
    const rig = await openRig(t, { workflows: [w], store: mine!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    const firstClose = rig.engine.close(0);
    let second = false;
    const secondClose = rig.engine.close(0).then(() => (second = true));
    await clock.settle();
    assert.ok(!second);
    await clock.advance(200);
    await Promise.all([firstClose, secondClose]);
    assert.notEqual((await other!.execution(id))!.owner, rig.engine.id);
  });

  it('an inbox message during the close is read: none is left behind, and a cancel cancels', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    const w = workflow('w');
    const reasons: unknown[] = [];
    w.task(
      'a',
      ({ signal }) =>
        new Promise<number>((resolve) =>
          signal.addEventListener('abort', () => {
            reasons.push((signal.reason as { code: string }).code);
            resolve(1);
          }),
        ),
    );
    const rig = await openRig(t, { workflows: [w], store: mine!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    const closing = rig.engine.close(30_000);
    await clock.advance(100);
    await openClient(t, other!, clock).cancel(id);
    await clock.advance(200);
    await closing;
    assert.equal((await other!.execution(id))!.status, 'cancelled');
    assert.deepEqual(reasons, ['TASK_CANCELLED']);
    assert.ok(rig.logged.every(({ level }) => level !== 'error'));
  });

  for (const verbs of [['pause'], ['pause', 'resume'], ['pause', 'resume', 'pause']] as const) {
    it(`${verbs.join(', ')} while its runner closes: the execution is ${verbs.length === 2 ? 'pending' : 'paused'}`, async (t) => {
      const clock = new ManualClock();
      const [mine, other] = await openStores(t, 2, clock);
      const w = workflow('w');
      w.task(
        'a',
        ({ signal }) =>
          new Promise<number>((resolve) => {
            signal.addEventListener('abort', () => clock.timer(2000, () => resolve(1)));
          }),
      );
      w.task('b', () => new Promise<number>((resolve) => clock.timer(60_000, () => resolve(2))));
      const rig = await openRig(t, { workflows: [w], store: mine!, clock });
      const { id } = await rig.client.start(w);
      await clock.settle();
      let closed = false;
      const closing = rig.engine.close(0).then(() => (closed = true));
      await clock.advance(100);
      const client = openClient(t, other!, clock);
      for (const verb of verbs) {
        await client[verb](id);
        await clock.advance(300);
      }
      await clock.advance(6000);
      assert.ok(closed, 'it has closed');
      await closing;
      const { status, owner, reason } = (await other!.execution(id))!;
      const paused = ['paused', null, 'operator'];
      assert.deepEqual(
        verbs.length === 2 ? [status, owner] : [status, owner, reason],
        verbs.length === 2 ? ['pending', null] : paused,
      );
      assert.ok(rig.logged.every(({ level }) => level !== 'error'));
    });
  }

  it('a close ends though a start for any runner has had no answer from a database that stays away', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let how: 'written' | 'away' | 'answer lost' = 'written';
    const commit: Store['commit'] = async (batch) => {
      if (how === 'away') throw new Error('the database is away');
      const result = await mine!.commit(batch);
      if (how === 'written') return result;
      how = 'away';
      throw new OutcomeUnknownError('the answer is lost');
    };
    const w = one();
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, commit }, clock });
    const codes: unknown[] = [];
    const start = (): void => {
      rig.client
        .start(w, undefined, { startAt: '1h' })
        .catch((error: unknown) => codes.push(Reflect.get(error as object, 'code')));
    };
    how = 'answer lost';
    start();
    await clock.advance(10);
    start();
    await clock.advance(10);
    let closed = false;
    const closing = rig.engine.close(0).then(() => (closed = true));
    await clock.advance(20_000);
    assert.ok(closed, 'it has closed');
    await closing;
    assert.deepEqual(new Set(codes), new Set(['OUTCOME_UNKNOWN', 'STORE_UNAVAILABLE']));
    assert.equal((await openClient(t, other!, clock).executions.list()).items.length, 1);
  });

  it('a start that failed in an outage during the close does not exist', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const commit: Store['commit'] = async (batch) => {
      if (away) throw new Error('the database is away');
      return mine!.commit(batch);
    };
    const w = one();
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, commit }, clock });
    away = true;
    let error: unknown;
    rig.client.start(w).catch((thrown: unknown) => (error = thrown));
    await clock.advance(9000);
    const closing = rig.engine.close(0);
    await clock.advance(2000);
    assert.equal(Reflect.get(error ?? {}, 'code'), 'STORE_UNAVAILABLE');
    away = false;
    await clock.advance(3000);
    await closing;
    const { items } = await openClient(t, other!, clock).executions.list();
    assert.deepEqual(items, []);
  });

  it('a poll that fails after a renewal by the thread is a warning and does not end the process', async (t) => {
    const clock = new ManualClock();
    const [mine] = await openStores(t, 1, clock);
    let kept: LeaseKept | undefined;
    const keepLease: NonNullable<Store['keepLease']> = (lease) => {
      kept = lease;
      return {
        runs: () => undefined,
        waitsSince: () => undefined,
        attempt: () => () => undefined,
        close: async () => {},
      };
    };
    let away = false;
    const hasMessages: Store['hasMessages'] = (runner) =>
      away ? Promise.reject(new Error('the database is away')) : mine!.hasMessages(runner);
    const w = workflow('w');
    w.task('a', () => new Promise<number>(() => undefined));
    const store = { ...mine!, keepLease, hasMessages };
    const rig = await openRig(t, { workflows: [w], store, clock, keepsFromThread: true, graceMs: 0 });
    await rig.client.start(w);
    await clock.settle();
    away = true;
    kept!.onRenewal({
      ...(await mine!.renew({ runner: rig.engine.id, leaseMs: 15_000, buildIds: [] })),
      hasMessages: true,
    });
    await clock.settle();
    assert.ok(rig.logged.some(({ message }) => /polling for work failed/.test(message)));
    away = false;
  });

  it('a renewal in flight at the end is the last', async (t) => {
    const clock = new ManualClock();
    const [mine] = await openStores(t, 1, clock);
    let hold = true;
    let go: () => void = () => undefined;
    const renew: Store['renew'] = async (renewal) => {
      if (hold) await new Promise<void>((resolve) => (go = resolve));
      return mine!.renew(renewal);
    };
    const rig = await openRig(t, { store: { ...mine!, renew }, clock });
    await clock.advance(5100);
    await rig.engine.close(0);
    hold = false;
    go();
    await clock.settle();
    assert.equal(clock.timers, 0);
  });

  it('a result that a task returns within its grace period counts', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task(
      'a',
      { retry: { attempts: 1 } },
      () => new Promise<number>((resolve) => clock.timer(2000, () => resolve(1))),
    );
    const rig = await openRig(t, { workflows: [w], store: mine!, clock });
    const { id } = await rig.client.start(w);
    await clock.advance(100);
    const closing = rig.engine.close(0);
    await clock.advance(5000);
    await closing;
    assert.equal((await other!.execution(id))!.status, 'completed');
  });
});

describe('durability.md, Release', () => {
  it('nothing begins while the commit that releases an execution is in flight', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let away = false;
    const commit: Store['commit'] = async (batch) => {
      if (away && batch.transitions.some(({ release }) => release?.status === 'waiting')) throw new Error('away');
      return mine!.commit(batch);
    };
    const w = workflow('w');
    let running = 0;
    let most = 0;
    w.task('a', { retry: { attempts: 2, delay: '40s', jitter: 0 } }, async ({ attempt }) => {
      if (attempt === 1) throw new Error('again');
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => clock.timer(5000, resolve));
      running--;
      return 1;
    });
    const rig = await openRig(t, { workflows: [w], store: { ...mine!, commit }, clock });
    away = true;
    const { id } = await rig.client.start(w);
    await clock.advance(45_000);
    away = false;
    await clock.advance(20_000);
    assert.equal((await other!.execution(id))!.status, 'completed');
    assert.equal(most, 1);
  });

  it('ctx.step of an execution that is no longer owned here throws', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    let cleaned = false;
    const w = workflow('w');
    w.task('a', async ({ step, signal, attempt }) => {
      if (attempt > 1) return 1;
      try {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        await step('s', () => 1);
        return 1;
      } finally {
        cleaned = true;
      }
    });
    const rig = await openRig(t, { workflows: [w], store: mine!, clock });
    await rig.client.start(w);
    await clock.settle();
    await declareDead(other!, rig.engine.id);
    await clock.advance(5500);
    assert.ok(cleaned);
  });
});
