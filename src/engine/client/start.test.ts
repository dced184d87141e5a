import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openClient, openRig, openStores } from '../../testing/engine-rig.ts';

function simple(name = 'simple') {
  const w = workflow(name, { input: z.object({ n: z.number().default(1) }) });
  const a = w.task('a', ({ input }) => input.n);
  return w.returns(a);
}

describe('engine.md, Input: parsing by the schema', () => {
  it('an input is parsed once by the schema: defaults are filled, transforms applied, and the result is stored', async (t) => {
    const w = workflow('w', {
      input: z.object({ n: z.number().default(3), text: z.string().transform((text) => text.toUpperCase()) }),
    });
    const a = w.task('a', ({ input }) => input);
    const done = w.returns(a);
    const { client } = await openRig(t, { workflows: [done] });
    const { output, executionId } = await client.execute(done, { text: 'abc' });
    assert.deepEqual(output, { n: 3, text: 'ABC' });
    assert.deepEqual((await client.executions.get(executionId)).input, { n: 3, text: 'ABC' });
  });

  it('an invalid input is INPUT_INVALID with paths, and leaves no row', async (t) => {
    const done = simple();
    const { client } = await openRig(t, { workflows: [done] });
    await assert.rejects(client.start(done, { n: 'x' as unknown as number }), {
      code: 'INPUT_INVALID',
      workflow: 'simple',
    });
    await assert.rejects(client.start('simple', { n: 'x' }), (error) => {
      assert.equal((error as { issues: { path: string }[] }).issues[0]!.path, 'n');
      return true;
    });
    assert.deepEqual((await client.executions.list()).items, []);
  });

  it('an absent input is {}', async (t) => {
    const done = simple();
    const { client } = await openRig(t, { workflows: [done] });
    const { executionId, output } = await client.execute('simple');
    assert.equal(output, 1);
    assert.deepEqual((await client.executions.get(executionId)).input, { n: 1 });
  });

  it('a null input is null, and only an absent one is {}', async (t) => {
    const w = workflow('any');
    const done = w.returns(w.task('a', ({ input }) => [input]));
    const { client } = await openRig(t, { workflows: [done] });
    const { output, executionId } = await client.execute(done, null);
    assert.deepEqual([output, (await client.executions.get(executionId)).input], [[null], null]);
    await assert.rejects(client.start(simple(), null as never), { code: 'INPUT_INVALID' });
  });

  it('an input that no code of this process can parse is checked by JSON Schema, and parsed before the first task', async (t) => {
    const w = workflow('w', { input: z.object({ n: z.number().refine((n) => n !== 13, 'unlucky') }) });
    const a = w.task('a', ({ input }) => input.n);
    const done = w.returns(a);
    const inside = await openRig(t, { workflows: [done] });
    const client = openClient(t, inside.store, inside.clock);
    await assert.rejects(client.start('w', { n: 'x' }), { code: 'INPUT_INVALID' });
    const { id } = await client.start('w', { n: 13 });
    inside.engine.notify();
    const ended = await inside.client.handle(id).outcome();
    assert.ok(ended.status === 'failed');
    assert.equal(ended.error?.code, 'INPUT_INVALID');
    assert.match(ended.error.message, /input\.n.*unlucky/);
    assert.ok(!(await client.executions.events(id)).some(({ type }) => type === 'task.started'));
  });

  it('an input that is parsed late is stored as parsed, with defaults filled in', async (t) => {
    const done = simple();
    const { store, clock, engine, client } = await openRig(t, { workflows: [done] });
    const { id } = await openClient(t, store, clock).start('simple', {});
    engine.notify();
    await clock.settle();
    const { input, output, status } = await client.executions.get(id);
    assert.deepEqual([input, output, status], [{ n: 1 }, 1, 'completed']);
  });
});

describe('a start of a workflow by name', () => {
  it('an unknown name is WORKFLOW_NOT_FOUND with near names', async (t) => {
    const { client } = await openRig(t, { workflows: [simple('billing')] });
    await assert.rejects(client.start('biling'), { code: 'WORKFLOW_NOT_FOUND', near: ['billing'] });
  });

  it('a name can be written as embedded/name', async (t) => {
    const { client } = await openRig(t, { workflows: [simple('billing')] });
    assert.equal((await client.execute('embedded/billing')).output, 1);
  });
});

describe('engine.md, Control: idempotencyKey', () => {
  it('the same key with the same input returns the same execution, for every caller, also after it has ended', async (t) => {
    const done = simple();
    const { client, store, clock } = await openRig(t, { workflows: [done] });
    const options = { idempotencyKey: 'k' };
    const all = await Promise.all([client.start(done, { n: 1 }, options), client.start(done, { n: 1 }, options)]);
    const other = await openClient(t, store, clock).start('simple', { n: 1 }, options);
    await clock.advance(100);
    const late = await client.start(done, { n: 1 }, options);
    assert.equal(new Set([...all, other, late].map(({ id }) => id)).size, 1);
    assert.equal((await late.result()).output, 1);
  });

  it('defaults of a schema and the order of keys do not make an input different', async (t) => {
    let n = 0;
    const w = workflow('filled', {
      input: z.object({ a: z.number(), b: z.number(), at: z.number().default(() => ++n) }),
    });
    const done = w.returns(w.task('a', ({ input }) => input.at));
    const { client, store, clock } = await openRig(t, { workflows: [done] });
    const options = { idempotencyKey: 'k' };
    const one = await client.start(done, { a: 1, b: 2 }, options);
    const two = await client.start(done, { b: 2, a: 1 }, options);
    const three = await openClient(t, store, clock).start('filled', { a: 1, b: 2 }, options);
    assert.deepEqual([two.id, three.id], [one.id, one.id]);
  });

  it('the same key with another input is IDEMPOTENCY_CONFLICT, naming the execution', async (t) => {
    const done = simple();
    const { client } = await openRig(t, { workflows: [done] });
    const { id } = await client.start(done, { n: 1 }, { idempotencyKey: 'k' });
    await assert.rejects(client.start(done, { n: 2 }, { idempotencyKey: 'k' }), {
      code: 'IDEMPOTENCY_CONFLICT',
      executionId: id,
    });
  });

  it('a key is unique per tenant and per workflow', async (t) => {
    const [one, two] = [simple('one'), simple('two')];
    const { client, store, clock } = await openRig(t, { workflows: [one, two] });
    const options = { idempotencyKey: 'k' };
    const ids = [
      await client.start(one, {}, options),
      await client.start(two, {}, options),
      await openClient(t, store, clock, 'other').start(one, {}, options),
    ].map(({ id }) => id);
    assert.equal(new Set(ids).size, 3);
  });
});

describe('interfaces.md, TypeScript: run: options of start', () => {
  it('options that no database can store are refused', async (t) => {
    const done = simple();
    const { client } = await openRig(t, { workflows: [done] });
    for (const options of [
      { idempotencyKey: '' },
      { idempotencyKey: 'a\0b' },
      { idempotencyKey: '\uD800' },
      { idempotencyKey: 'x'.repeat(1001) },
      { priority: 1.5 },
      { priority: Number.NaN },
      { startAt: new Date(Number.NaN) },
      { startAt: 'tomorrow' },
      { tags: { a: 1 as unknown as string } },
      { tags: { 'a\0': 'b' } },
      { tags: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`t${i}`, 'v'])) },
      { tags: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`t${i}`, 'v'.repeat(900)])) },
    ]) {
      await assert.rejects(client.start(done, {}, options), { code: 'OPTION_INVALID' }, JSON.stringify(options));
    }
    assert.deepEqual((await client.executions.list()).items, []);
  });

  it('tags are kept', async (t) => {
    const done = simple();
    const { client } = await openRig(t, { workflows: [done] });
    const { id } = await client.start(done, {}, { tags: { team: 'ops', why: 'test' } });
    assert.deepEqual((await client.executions.get(id)).tags, { team: 'ops', why: 'test' });
  });

  it('an execution with startAt in the future waits until then and not longer; its first claim is execution.started', async (t) => {
    const done = simple();
    const { client, clock } = await openRig(t, { workflows: [done] });
    const inTwoDays = await client.start(done, {}, { startAt: '2d' });
    const soon = await client.start(done, {}, { startAt: new Date(clock.now() + 60_000) });
    const past = await client.start(done, {}, { startAt: new Date(clock.now() - 60_000) });
    await clock.advance(1000);
    const statuses = async (): Promise<string[]> =>
      Promise.all([inTwoDays, soon, past].map(async ({ id }) => (await client.executions.get(id)).status));
    assert.deepEqual(await statuses(), ['waiting', 'waiting', 'completed']);
    await clock.leap(59_000);
    await clock.advance(100);
    assert.deepEqual(await statuses(), ['waiting', 'completed', 'completed']);
    const types = (await client.executions.events(soon.id)).map(({ type }) => type);
    assert.deepEqual(types.slice(0, 2), ['execution.created', 'execution.started']);
    await clock.leap('2d');
    await clock.advance(60_000);
    assert.deepEqual(await statuses(), ['completed', 'completed', 'completed']);
  });

  it('executions waiting for a slot run highest priority first, then oldest', async (t) => {
    const w = workflow('w', { input: z.object({ n: z.number() }) });
    const order: number[] = [];
    let go: () => void = () => undefined;
    w.task('a', async ({ input }) => {
      order.push(input.n);
      if (input.n === 0) await new Promise<void>((resolve) => (go = resolve));
      return 1;
    });
    const { client, clock } = await openRig(t, { workflows: [w], concurrency: 1 });
    await client.start(w, { n: 0 });
    await clock.settle();
    for (const [n, priority] of [
      [1, 0],
      [2, 5],
      [3, -1],
      [4, 5],
      [5, 0],
    ] as const) {
      await client.start(w, { n }, { priority });
    }
    await clock.settle();
    go();
    await clock.settle();
    assert.deepEqual(order, [0, 2, 4, 1, 5, 3]);
  });

  it('executions beyond maxExecutions stay pending and are claimed as room comes, highest priority first', async (t) => {
    const w = workflow('w', { input: z.object({ n: z.number() }) });
    const order: number[] = [];
    const waiting: (() => void)[] = [];
    w.task('a', async ({ input }) => {
      order.push(input.n);
      await new Promise<void>((resolve) => waiting.push(resolve));
      return 1;
    });
    const { client, clock, engine } = await openRig(t, { workflows: [w], maxExecutions: 2 });
    for (let n = 0; n < 6; n++) await client.start(w, { n }, { priority: n === 5 ? 1 : 0 });
    await clock.settle();
    assert.deepEqual([order, engine.size], [[0, 1], 2]);
    assert.equal((await client.executions.list({ status: 'pending' })).items.length, 4);
    for (let i = 0; i < 6; i++) {
      waiting.shift()!();
      await clock.settle();
      assert.ok(engine.size <= 2);
    }
    assert.deepEqual(order, [0, 1, 5, 2, 3, 4]);
    assert.equal((await client.executions.list({ status: 'completed' })).items.length, 6);
  });
});

describe('interfaces.md: startMany', () => {
  it('startMany starts one execution for each input, and all of them run', async (t) => {
    const done = simple();
    const { client, clock } = await openRig(t, { workflows: [done] });
    const handles = await client.startMany(
      done,
      Array.from({ length: 250 }, (_, n) => ({ n })),
    );
    await clock.settle();
    const outputs = await Promise.all(handles.map(async (handle) => (await handle.result()).output));
    assert.deepEqual(
      outputs,
      Array.from({ length: 250 }, (_, n) => n),
    );
    assert.deepEqual(await client.startMany(done, []), []);
  });

  it('startMany starts all or none: one bad input starts nothing', async (t) => {
    const done = simple();
    const { client } = await openRig(t, { workflows: [done] });
    await assert.rejects(client.startMany('simple', [{ n: 1 }, { n: 'x' }, { n: 3 }]), { code: 'INPUT_INVALID' });
    assert.deepEqual((await client.executions.list()).items, []);
  });
});

describe('interfaces.md: executions', () => {
  it('a list is newest first, in pages, by workflow, status, time and tags', async (t) => {
    const [one, two] = [simple('one'), simple('two')];
    const { client, clock } = await openRig(t, { workflows: [one, two] });
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      ids.unshift((await client.start(i % 2 === 0 ? one : two, { n: i }, { tags: { i: String(i), all: 'x' } })).id);
      await clock.advance(1000);
    }
    const idsOf = async (options: Parameters<typeof client.executions.list>[0]): Promise<string[]> =>
      (await client.executions.list(options)).items.map(({ id }) => id);
    const first = await client.executions.list({ limit: 2 });
    assert.deepEqual(
      first.items.map(({ id }) => id),
      ids.slice(0, 2),
    );
    const second = await client.executions.list({ limit: 3, after: first.next! });
    assert.deepEqual([second.items.map(({ id }) => id), second.next], [ids.slice(2), null]);
    assert.deepEqual(await idsOf({ workflow: 'two' }), [ids[1], ids[3]]);
    assert.deepEqual(await idsOf({ status: 'completed' }), ids);
    assert.deepEqual(await idsOf({ status: 'failed' }), []);
    assert.deepEqual(await idsOf({ since: new Date(clock.now() - 2500) }), ids.slice(0, 2));
    assert.deepEqual(await idsOf({ tags: { i: '3' } }), [ids[1]]);
    assert.deepEqual(await idsOf({ tags: { i: '3', all: 'y' } }), []);
    assert.deepEqual(await idsOf({ tags: { all: 'x' }, workflow: 'two' }), [ids[1], ids[3]]);
    for (const limit of [0, 1001, 1.5]) {
      await assert.rejects(client.executions.list({ limit }), { code: 'OPTION_INVALID' });
    }
    await assert.rejects(client.executions.list({ status: 'done' as 'failed' }), { code: 'OPTION_INVALID' });
  });

  it("another tenant's executions are invisible and can be neither followed nor cancelled", async (t) => {
    const w = workflow('w');
    w.sleep('nap', { for: '1d' });
    const { client, store, clock } = await openRig(t, { workflows: [w] });
    const { id } = await client.start(w);
    const stranger = openClient(t, store, clock, 'other');
    assert.deepEqual((await stranger.executions.list()).items, []);
    for (const act of [
      () => stranger.executions.get(id),
      () => stranger.executions.events(id),
      () => stranger.cancel(id),
      () => stranger.handle(id).outcome(),
    ]) {
      await assert.rejects(act, { code: 'EXECUTION_NOT_FOUND', executionId: id });
    }
  });

  it('an unknown id is EXECUTION_NOT_FOUND, also for a waiting call', async (t) => {
    const { client } = await openRig(t);
    for (const act of [
      () => client.executions.get('nobody'),
      () => client.executions.events('nobody'),
      () => client.cancel('nobody'),
      () => client.handle('nobody').result(),
    ]) {
      await assert.rejects(act, { code: 'EXECUTION_NOT_FOUND' });
    }
  });
});

describe('durability.md, The barrier: an acknowledged start is durable', () => {
  it('start resolves after the execution is on disk and visible to another connection', async (t) => {
    const clock = new ManualClock();
    const [store, other] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task('a', () => new Promise<number>(() => undefined));
    const rig = await openRig(t, { workflows: [w], store: store!, clock, graceMs: 0 });
    const { id } = await rig.client.start(w);
    assert.equal((await other!.execution(id))?.status, 'running');
    await rig.close();
  });
});
