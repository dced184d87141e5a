import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../core/definition/workflow.ts';
import { RefusedDataError } from '../store/transition.ts';
import type { Batch, CommitResult } from '../store/transition.ts';
import { BusyError } from '../store/store.ts';
import { ManualClock } from '../testing/clock.ts';
import { openRig, release, openOneStore } from '../testing/engine-rig.ts';
import type { Cleanup, Rig, RigOptions } from '../testing/engine-rig.ts';

interface Scene extends Rig<ManualClock> {
  /** The batches sent to the database, in order. */
  readonly batches: readonly Batch[];
  /** The behaviour of commits from now on. */
  readonly now: (how: 'write' | 'hold' | ((batch: Batch) => Error)) => void;
}

/** An engine whose commits are intercepted. */
async function open(t: Cleanup, options: RigOptions<ManualClock>): Promise<Scene> {
  const clock = options.clock ?? new ManualClock();
  const store = await openOneStore(clock);
  release(t, () => store.close());
  const batches: Batch[] = [];
  let how: 'write' | 'hold' | ((batch: Batch) => Error) = 'write';
  let held: (() => void)[] = [];
  const commit = async (batch: Batch): Promise<CommitResult> => {
    if (how === 'hold') await new Promise<void>((resolve) => held.push(resolve));
    batches.push(batch);
    if (typeof how === 'function') throw how(batch);
    return store.commit(batch);
  };
  const rig = await openRig(t, { ...options, clock, store: { ...store, commit, shared: true } });
  const now = (next: typeof how): void => {
    how = next;
    const waiting = held;
    held = [];
    for (const go of waiting) go();
  };
  release(t, () => now('write'));
  return { ...rig, batches, now };
}

const away = (): Error => new Error('the database is away');

const pair = (ran: string[]) => {
  const w = workflow('pair');
  const a = w.task('a', () => ran.push('a'));
  const b = w.task('b', { needs: { a } }, () => ran.push('b'));
  return w.returns(b);
};

describe('durability.md, the journal: group commit', () => {
  it('a commit gathers the transitions that arrived during the previous one', async (t) => {
    const w = pair([]);
    const { client, batches } = await open(t, { workflows: [w] });
    await Promise.all(Array.from({ length: 500 }, () => client.execute(w)));
    const written = batches.reduce((sum, { transitions }) => sum + transitions.length, 0);
    assert.ok(written >= 1500);
    assert.ok(batches.length <= 50, `${batches.length} commits for ${written} transitions`);
  });

  it('a task that starts and ends within one commit costs one row and one event', async (t) => {
    const w = pair([]);
    const { client, batches } = await open(t, { workflows: [w] });
    const { executionId } = await client.execute(w);
    const rows = batches.flatMap(({ transitions }) => transitions.flatMap(({ tasks }) => tasks));
    assert.deepEqual(
      rows.map(({ task, status }) => [task, status]),
      [
        ['a', 'completed'],
        ['b', 'completed'],
      ],
    );
    const events = await client.executions.events(executionId);
    assert.deepEqual(
      events.map(({ type }) => type),
      ['execution.created', 'task.completed', 'task.completed', 'execution.completed'],
    );
    assert.equal((events[1]!.data as { startedAt: string }).startedAt, new Date(events[1]!.at).toISOString());
  });

  it('a batch is bounded: many large outputs at once are several commits', async (t) => {
    const w = workflow('w');
    w.task('a', () => 'x'.repeat(1_000_000));
    const { client, batches } = await open(t, { workflows: [w] });
    await Promise.all(Array.from({ length: 30 }, () => client.execute(w)));
    const sizes = batches.map(({ transitions }) =>
      transitions.reduce((sum, { tasks }) => sum + tasks.reduce((all, task) => all + (task.output?.length ?? 0), 0), 0),
    );
    assert.ok(Math.max(...sizes) <= 10_000_000, String(Math.max(...sizes)));
  });
});

describe('durability.md, The barrier: effects of a transition wait for its commit', () => {
  it('start() resolves, and the first attempt begins, after the execution is durable', async (t) => {
    const ran: string[] = [];
    const w = pair(ran);
    const { client, clock, now } = await open(t, { workflows: [w] });
    now('hold');
    let started = false;
    const start = client.start(w).then((handle) => {
      started = true;
      return handle;
    });
    await clock.settle();
    assert.deepEqual([started, ran], [false, []]);
    now('write');
    assert.equal((await (await start).result()).output, 2);
  });

  it('a dependent task starts after its need is durable, and result() resolves after the end is durable', async (t) => {
    const ran: string[] = [];
    const w = pair(ran);
    const { client, clock, now, store } = await open(t, { workflows: [w] });
    const handle = await client.start(w);
    let ended = false;
    const result = handle.result().then(() => (ended = true));
    now('hold');
    await clock.settle();
    assert.deepEqual(ran, ['a']);
    assert.deepEqual(await store.tasks(handle.id), []);
    now('write');
    now('hold');
    await clock.settle();
    assert.deepEqual([ran, ended], [['a', 'b'], false]);
    now('write');
    await result;
  });

  it('ctx.step resolves after its result is durable', async (t) => {
    const w = workflow('w');
    const seen: string[] = [];
    let go: () => void = () => undefined;
    w.task('a', async ({ step }) => {
      await new Promise<void>((resolve) => (go = resolve));
      await step('s', () => seen.push('run'));
      seen.push('resolved');
      return 1;
    });
    const { client, clock, now, store } = await open(t, { workflows: [w] });
    const handle = await client.start(w);
    await clock.settle();
    now('hold');
    go();
    await clock.settle();
    assert.deepEqual(seen, ['run']);
    now('write');
    await handle.result();
    assert.deepEqual(seen, ['run', 'resolved']);
    assert.equal(await store.step(handle.id, 'a', -1, 's'), '1');
  });

  it('a retry is set after the failure is durable', async (t) => {
    const w = workflow('w');
    const ran: number[] = [];
    w.task('a', { retry: { attempts: 2, delay: '1s', jitter: 0 } }, ({ attempt }) => {
      ran.push(attempt);
      if (attempt === 1) throw new Error('no');
      return 1;
    });
    const { client, clock, now } = await open(t, { workflows: [w] });
    const handle = await client.start(w);
    now('hold');
    await clock.advance(5000);
    assert.deepEqual(ran, [1]);
    now('write');
    await clock.advance(1000);
    assert.equal((await handle.outcome()).status, 'completed');
  });
});

describe('durability.md, The journal: an outage acknowledges nothing and loses nothing', () => {
  it('the journal retries the same batch; running attempts continue, none begins, and work resumes on its own', async (t) => {
    const w = workflow('w');
    const ran: string[] = [];
    let go: () => void = () => undefined;
    const a = w.task('a', () => new Promise<number>((resolve) => (go = () => resolve(1))));
    w.task('b', { needs: { a } }, () => ran.push('b'));
    const other = pair(ran);
    const { client, clock, now, batches, logged, store } = await open(t, { workflows: [w, other] });
    const handle = await client.start(w);
    await clock.settle();
    now(away);
    go();
    // work submitted meanwhile does not begin either
    await store.createExecutions([]);
    await clock.advance(9000);
    assert.deepEqual(ran, []);
    assert.equal((await client.executions.get(handle.id)).tasks[0]!.status, 'running');
    const repeated = batches.filter(({ transitions }) =>
      transitions.some(({ tasks }) => tasks[0]?.status === 'completed'),
    );
    assert.ok(repeated.length >= 8 && repeated.length < 40, `${repeated.length} attempts in 9 s`);
    for (const batch of repeated) assert.deepEqual(batch, repeated[0]);
    now('write');
    await clock.advance(1500);
    assert.equal((await handle.outcome()).status, 'completed');
    assert.deepEqual(ran, ['b']);
    const warned = logged.filter(({ level }) => level === 'warn').map(({ message }) => message);
    assert.equal(warned.filter((message) => message.includes('is unavailable')).length, 1, 'it is said once');
    assert.equal(warned.filter((message) => message === 'the database is available again').length, 1);
  });

  for (const [what, error] of [
    ['fails', away],
    ['is locked by another process', () => new BusyError('locked')],
  ] as const) {
    it(`a start on a database that ${what} fails after 10 s with STORE_UNAVAILABLE, and nothing exists`, async (t) => {
      const ran: string[] = [];
      const w = pair(ran);
      const { client, clock, now, engine } = await open(t, { workflows: [w], maxExecutions: 2 });
      now(error);
      const errors: { readonly at: number; readonly error: unknown }[] = [];
      const failed = (thrown: unknown): void => void errors.push({ at: clock.monotonic(), error: thrown });
      const begin = clock.monotonic();
      // the first is in flight when the outage is detected, the others come later
      const starts = [client.start(w).catch(failed)];
      await clock.advance(2000);
      starts.push(client.start(w).catch(failed), client.start(w, {}, { startAt: '1h' }).catch(failed));
      await clock.advance(7500);
      assert.equal(errors.length, 0);
      await clock.advance(1500);
      assert.equal(errors.length, 1);
      await clock.advance(2500);
      await Promise.all(starts);
      assert.equal(errors.length, 3);
      for (const { error: thrown } of errors) assert.equal(Reflect.get(thrown as object, 'code'), 'STORE_UNAVAILABLE');
      assert.ok(errors[0]!.at - begin <= 11_000);
      now('write');
      await clock.advance(5000);
      assert.deepEqual([ran, (await client.executions.list()).items, engine.size], [[], [], 0]);
      assert.equal((await client.execute(w)).output, 2);
    });
  }

  it('a start succeeds if the database is back within 10 s', async (t) => {
    const w = pair([]);
    const { client, clock, now } = await open(t, { workflows: [w] });
    now(away);
    const start = client.start(w);
    await clock.advance(8000);
    now('write');
    await clock.advance(1000);
    assert.equal((await (await start).result()).output, 2);
  });

  it('while the oldest commit is older than the lease, the lease is not renewed', async (t) => {
    const w = pair([]);
    const { client, clock, now, store, engine } = await open(t, { workflows: [w], leaseMs: 15_000 });
    const leaseUntil = async (): Promise<number> =>
      (await store.runners()).find(({ id }) => id === engine.id)!.leaseUntil;
    now(away);
    const start = client.start(w);
    start.catch(() => undefined);
    // transitions to write exist for this whole time
    const keep = workflow('keep');
    keep.task('a', () => 1);
    for (let i = 0; i < 4; i++) {
      client.start(keep).catch(() => undefined);
      await clock.advance(8000);
    }
    const before = await leaseUntil();
    client.start(keep).catch(() => undefined);
    await clock.advance(9000);
    assert.equal(await leaseUntil(), before);
    now('write');
    await clock.advance(12_000);
    assert.ok((await leaseUntil()) > before);
  });
});

describe('durability.md, A commit that cannot succeed is not repeated: the execution fails', () => {
  it('a refused commit after reading the inbox can be retried, and the execution ends', async (t) => {
    const w = workflow('w');
    const go: (() => void)[] = [];
    w.task('a', async () => {
      await new Promise<void>((resolve) => go.push(resolve));
      return 1;
    });
    const { client, clock, now } = await open(t, { workflows: [w] });
    const handle = await client.start(w);
    await clock.settle();
    // the very commit that acknowledges the message is refused, once
    now((batch) => {
      now('write');
      return new RefusedDataError(batch.transitions[0]!.id, new Error('too large'));
    });
    await client.pause(handle.id);
    for (const resolve of go.splice(0)) resolve();
    await clock.advance(1000);
    assert.equal((await client.executions.get(handle.id)).error?.code, 'STORE_REFUSED');
    await client.retry(handle.id);
    await clock.settle();
    for (const resolve of go.splice(0)) resolve();
    await clock.advance(1000);
    assert.equal((await client.executions.get(handle.id)).status, 'completed');
  });

  it('refused data fails only its own execution', async (t) => {
    const w = workflow('w');
    let go: (() => void)[] = [];
    const a = w.task('a', async ({ step }) => {
      await new Promise<void>((resolve) => go.push(resolve));
      return step('s', () => 1);
    });
    const done = w.returns(a);
    const { client, clock, store } = await open(t, { workflows: [done] });
    const handles = await Promise.all(Array.from({ length: 5 }, () => client.start(done)));
    await clock.settle();
    const bad = handles[2]!.id;
    // a conflicting row: no repetition of the commit can succeed
    await store.write(function* () {
      yield {
        text: `insert into steps (execution_id, task, item, name, output) values ($1, 'a', -1, 's', '0')`,
        params: [bad],
      };
    });
    for (const resolve of go) resolve();
    go = [];
    await clock.advance(1000);
    const outcomes = await Promise.all(handles.map((handle) => handle.outcome()));
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['completed', 'completed', 'failed', 'completed', 'completed'],
    );
    const failed = outcomes[2]!;
    assert.ok(failed.status === 'failed');
    assert.equal(failed.error?.code, 'STORE_REFUSED');
    assert.match(failed.error.message, /unique/i);
    const seqs = (await client.executions.events(bad)).map(({ seq }) => seq);
    assert.deepEqual(
      seqs,
      seqs.map((_, i) => i + 1),
    );
  });

  it('an execution whose every commit is refused is given up and not retried for ever', async (t) => {
    const w = workflow('w');
    let go: () => void = () => undefined;
    w.task('a', () => new Promise<number>((resolve) => (go = () => resolve(1))));
    const { client, clock, now, batches, engine, logged } = await open(t, { workflows: [w] });
    const handle = await client.start(w);
    await clock.settle();
    now(() => new RefusedDataError(handle.id, new Error('never')));
    const before = batches.length;
    go();
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(batches.length - before < 10, `${batches.length - before} commits`);
    assert.equal(engine.size, 0);
    assert.ok(logged.some(({ level }) => level === 'error'));
  });

  it('a refused start rejects and does not exist', async (t) => {
    const w = pair([]);
    const { client, clock, now, engine } = await open(t, { workflows: [w] });
    now(({ transitions }) => new RefusedDataError(transitions[0]!.id, new Error('never')));
    await assert.rejects(client.start(w), { code: 'STORE_REFUSED', message: /never/ });
    await assert.rejects(client.start(w, {}, { startAt: '1h' }), { code: 'STORE_REFUSED', message: /never/ });
    now('write');
    await clock.advance(1000);
    assert.deepEqual([engine.size, (await client.executions.list()).items], [0, []]);
  });
});
