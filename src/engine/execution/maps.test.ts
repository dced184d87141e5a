import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settled, unchecked, workflow } from '../../core/definition/workflow.ts';
import type { Json } from '../../core/json.ts';
import type { Store } from '../../store/store.ts';
import { ManualClock } from '../../testing/clock.ts';
import { declareDead, openRig, openStores } from '../../testing/engine-rig.ts';

type Draft = ReturnType<typeof draft>;
const draft = () => workflow('w');

describe('engine.md, Map: items run as tasks', () => {
  it('a map runs a function over the items and returns an array in item order', async (t) => {
    const w = workflow('w', { input: unchecked<{ n: number }>() });
    const numbers = w.task('numbers', ({ input }) => Array.from({ length: input.n }, (_, i) => i));
    const doubled = w.map('doubled', { needs: { numbers }, over: ({ needs }) => needs.numbers }, ({ item, index }) => [
      item * 2,
      index,
    ]);
    const done = w.returns(doubled);
    const rig = await openRig(t, { workflows: [done] });
    assert.deepEqual((await rig.client.execute(done, { n: 3 })).output, [
      [0, 0],
      [2, 1],
      [4, 2],
    ]);
    assert.deepEqual((await rig.client.execute(done, { n: 0 })).output, []);
  });

  it('10,000 items work, each with its own row and events', async (t) => {
    const w = workflow('w');
    const many = w.map('many', { over: () => Array.from({ length: 10_000 }, (_, i) => i) }, ({ item }) => item + 1);
    const sum = w.task('sum', { needs: { many } }, ({ needs }) => needs.many.reduce((a, b) => a + b, 0));
    const done = w.returns(sum);
    const rig = await openRig(t, { workflows: [done] });
    const { output, executionId } = await rig.client.execute(done);
    assert.equal(output, 50_005_000);
    const { tasks } = await rig.client.executions.get(executionId);
    assert.deepEqual(tasks.find(({ name }) => name === 'many')!.items, { total: 10_000, completed: 10_000 });
    const events = await rig.client.executions.events(executionId);
    assert.equal(events.filter(({ type, item }) => type === 'task.completed' && item !== null).length, 10_000);
    assert.deepEqual(
      events.map(({ seq }) => seq),
      events.map((_, i) => i + 1),
    );
  });

  it('more than 100,000 items, or more than 32 MiB of JSON in all, fail the map with a code; nothing is parsed or stored', async (t) => {
    const w = workflow('w', { input: unchecked<{ items: number; length: number }>() });
    const m = w.map(
      'm',
      { over: ({ input }) => Array.from({ length: input.items }, () => 'x'.repeat(input.length)) },
      () => 1,
    );
    const done = w.returns(m);
    const rig = await openRig(t, { workflows: [done] });
    for (const [input, message] of [
      [{ items: 100_001, length: 0 }, /the items of map 'm' are 100001, more than 100000/],
      [{ items: 40, length: 900_000 }, /36000121 bytes of JSON in total, more than 33554432/],
    ] as const) {
      const handle = await rig.client.start(done, input);
      const outcome = await handle.outcome();
      assert.ok(outcome.status === 'failed' && outcome.error !== null);
      assert.equal(outcome.error.code, 'MAP_TOO_LARGE');
      assert.match(outcome.error.message, message);
    }
  });

  it('items are stored as `over` returned them, whatever their texts contain', async (t) => {
    const values = ['a,b', '"[', ']"', '\\', { 'k,[': [',', { x: '}' }] }, [], {}, [[]], null, 1.5, true, ''];
    const w = workflow('w');
    const done = w.returns(w.map('m', { over: () => values }, ({ item }) => [item]));
    const rig = await openRig(t, { workflows: [done] });
    assert.deepEqual(
      (await rig.client.execute(done)).output,
      values.map((value) => [value]),
    );
  });

  it('an output, an item or an answer of 4,000 levels fails its task, and the error names the path', async (t) => {
    const deep = (): readonly Json[] => JSON.parse('['.repeat(4000) + ']'.repeat(4000)) as readonly Json[];
    const outcomes = [];
    for (const [name, add] of [
      ['output', (w: Draft) => w.task('t', () => deep())],
      ['over', (w: Draft) => w.map('t', { over: () => deep() }, () => 1)],
      ['step', (w: Draft) => w.task('t', { retry: { attempts: 1 } }, ({ step }) => step('s', () => deep()))],
      ['input', (w: Draft) => w.child('t', 'other', { input: () => deep() })],
    ] as const) {
      const w = draft();
      add(w);
      const rig = await openRig(t, { workflows: [w] });
      const outcome = await (await rig.client.start(w)).outcome();
      assert.ok(outcome.status === 'failed' && outcome.error !== null);
      const { code, message } = outcome.error;
      outcomes.push([name, code, /^.+ t\[0\]\[0\].+more than 200 levels/.test(message)]);
      await rig.close();
    }
    assert.deepEqual(
      outcomes,
      ['output', 'over', 'step', 'input'].map((name) => [name, 'NOT_SERIALIZABLE', true]),
    );
  });

  it('at most `concurrency` items run at once, and an item that waits for its retry frees its place', async (t) => {
    const clock = new ManualClock();
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const w = workflow('w');
    const retry = { attempts: 2, delay: '10s', jitter: 0 };
    w.map('m', { over: () => [0, 1, 2, 3, 4], concurrency: 2, retry }, async ({ item, attempt }) => {
      most = Math.max(most, ++running);
      order.push(item);
      await new Promise<void>((resolve) => clock.timer(100, resolve));
      running--;
      if (item === 0 && attempt === 1) throw new Error('again');
      return item;
    });
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    await clock.advance(5000);
    assert.deepEqual(order, [0, 1, 2, 3, 4]);
    await clock.advance(10_000);
    assert.deepEqual(order, [0, 1, 2, 3, 4, 0]);
    assert.equal(most, 2);
    assert.equal((await handle.outcome()).status, 'completed');
  });

  it('an item that failed for good fails the map after the running ones ended; the others never begin', async (t) => {
    const clock = new ManualClock();
    const ended: number[] = [];
    const w = workflow('w');
    const m = w.map('m', { over: () => [0, 1, 2, 3], concurrency: 2, retry: { attempts: 1 } }, async ({ item }) => {
      if (item === 0) throw Object.assign(new Error('no'), { code: 'NOPE' });
      await new Promise<void>((resolve) => clock.timer(100, resolve));
      ended.push(item);
      return item;
    });
    const rig = await openRig(t, { workflows: [w.returns(m)], clock });
    const handle = await rig.client.start(w);
    await clock.advance(1000);
    const outcome = await handle.outcome();
    assert.deepEqual(ended, [1]);
    assert.ok(outcome.status === 'failed');
    assert.deepEqual(
      [outcome.task, outcome.error!.code, outcome.error!.message],
      ['m', 'NOPE', "item 0 of map 'm' failed: no"],
    );
    const { tasks } = await rig.client.executions.get(handle.id);
    assert.deepEqual(tasks[0]!.items, { total: 4, completed: 1, failed: 1, cancelled: 2 });
  });

  it('settled: true returns an outcome for each item, and no item fails the map', async (t) => {
    const w = workflow('w');
    const retry = { attempts: 1 };
    const m = w.map('m', { over: () => [1, 2], settled: true, retry }, ({ item }) => {
      if (item === 1) throw Object.assign(new Error('no'), { code: 'NOPE' });
      return item;
    });
    const done = w.returns(m);
    const rig = await openRig(t, { workflows: [done] });
    const { output } = await rig.client.execute(done);
    assert.deepEqual(
      output.map((one) =>
        one.status === 'failed' ? one.error.code : one.status === 'completed' ? one.output : one.status,
      ),
      ['NOPE', 2],
    );
  });

  it('only unfinished items run again after a crash, with their steps and keys', async (t) => {
    const clock = new ManualClock();
    const [first, second] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const build = (who: string) => {
      const w = workflow('w');
      const m = w.map('m', { over: () => ['a', 'b', 'c'] }, async ({ item, step, idempotencyKey }) => {
        ran.push(`${who} ${item} ${idempotencyKey.split('/').slice(1).join('/')}`);
        const saved = await step('s', () => `${item} by ${who}`);
        if (item !== 'a' && who === 'one') await new Promise(() => undefined);
        return saved;
      });
      return w.returns(m);
    };
    const frozen = new ManualClock();
    const rig = await openRig(t, { workflows: [build('one')], store: first!, clock: frozen, graceMs: 0 });
    const { id } = await rig.client.start('w');
    await frozen.settle();
    await declareDead(second!, rig.engine.id);
    const next = await openRig(t, { workflows: [build('two')], store: second!, clock });
    await clock.advance(100);
    const outcome = await next.client.handle(id).outcome();
    assert.deepEqual(outcome.status === 'completed' && outcome.output, ['a by one', 'b by one', 'c by one']);
    assert.deepEqual(ran, ['one a m/0', 'one b m/1', 'one c m/2', 'two b m/1', 'two c m/2']);
  });

  it('durability.md, Wide maps: items count once the row of the map is durable; else `over` is called again', async (t) => {
    const clock = new ManualClock();
    const [first, second] = await openStores(t, 2, clock);
    let asked = 0;
    const build = () => {
      const w = workflow('w');
      const m = w.map(
        'm',
        {
          over: () => {
            asked++;
            return Array.from({ length: 2500 }, (_, i) => i);
          },
        },
        ({ item }) => item,
      );
      return w.returns(w.task('count', { needs: { m } }, ({ needs }) => needs.m.length));
    };
    let commits = 0;
    // the commit after the first chunk of items never returns
    const answer = Promise.withResolvers<never>();
    const commit: Store['commit'] = (batch) => {
      const items = batch.transitions.some(({ tasks }) => tasks.some(({ item }) => item >= 0));
      return items && ++commits === 2 ? answer.promise : first!.commit(batch);
    };
    const frozen = new ManualClock();
    const rig = await openRig(t, { workflows: [build()], store: { ...first!, commit }, clock: frozen, graceMs: 0 });
    const { id } = await rig.client.start('w');
    await frozen.settle();
    assert.equal((await second!.tasks(id)).filter(({ item }) => item >= 0).length, 1000);
    await declareDead(second!, rig.engine.id);
    const next = await openRig(t, { workflows: [build()], store: second!, clock });
    await clock.advance(100);
    const outcome = await next.client.handle(id).outcome();
    assert.equal(outcome.status === 'completed' && outcome.output, 2500);
    assert.equal(asked, 2);
    assert.equal((await second!.tasks(id)).filter(({ item }) => item >= 0).length, 2500);
    answer.reject(new Error('away'));
  });

  it('a cancel ends the items, and `over` that throws, returns no array or returns an item too large fails the map', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    w.map(
      'm',
      { over: () => [1, 2, 3], concurrency: 1 },
      ({ signal }) =>
        new Promise<number>((_, reject) => signal.addEventListener('abort', () => reject(new Error('stop')))),
    );
    const bad = (name: string, over: () => readonly unknown[]) => {
      const made = workflow(name);
      made.map('m', { over }, () => 1);
      return made;
    };
    const throws = bad('throws', () => {
      throw new Error('cannot');
    });
    const text = bad('text', () => 'abc' as unknown as string[]);
    const large = bad('large', () => ['x', 'y'.repeat(2000)]);
    const rig = await openRig(t, { workflows: [w, throws, text, large], clock, maxPayload: 1000 });
    const handle = await rig.client.start(w);
    await clock.settle();
    await rig.client.cancel(handle.id);
    await clock.advance(100);
    assert.equal((await handle.outcome()).status, 'cancelled');
    assert.deepEqual((await rig.client.executions.get(handle.id)).tasks[0]!.items, { total: 3, cancelled: 3 });
    for (const [name, code] of [
      ['throws', 'TASK_FAILED'],
      ['text', 'TASK_FAILED'],
      ['large', 'PAYLOAD_TOO_LARGE'],
    ] as const) {
      const outcome = await (await rig.client.start(name)).outcome();
      assert.equal(outcome.status === 'failed' && outcome.error!.code, code, name);
    }
  });

  for (const how of ['cancel', 'failFast'] as const) {
    it(`a map ended by ${how} while its items were being written leaves none behind, and a retry calls for all of them`, async (t) => {
      const clock = new ManualClock();
      let fails = how === 'failFast';
      const w = workflow('w', { failFast: how === 'failFast' });
      const m = w.map('m', { over: () => Array.from({ length: 3500 }, (_, i) => i) }, ({ item }) => item);
      w.task('other', { retry: { attempts: 1 } }, () => {
        if (fails) throw new Error('no');
      });
      const done = w.returns(w.task('count', { needs: { m } }, ({ needs }) => needs.m.length));
      const [mine] = await openStores(t, 1, clock);
      let chunks = 0;
      const commit: Store['commit'] = async (batch) => {
        const result = await mine!.commit(batch);
        const [first] = batch.transitions;
        if (how === 'cancel' && first!.tasks.some(({ item }) => item >= 0) && ++chunks === 2) {
          await mine!.cancel(first!.id, 'default');
          notify();
        }
        return result;
      };
      const rig = await openRig(t, { workflows: [done], store: { ...mine!, commit }, clock });
      const notify = (): void => rig.engine.notify();
      const handle = await rig.client.start(done);
      await clock.advance(500);
      assert.equal((await handle.outcome()).status, how === 'cancel' ? 'cancelled' : 'failed');
      fails = false;
      await rig.client.retry(handle.id);
      await clock.advance(500);
      assert.equal((await handle.result()).output, 3500);
    });
  }

  it('a retry that opens a need of a map again keeps its items, which go on after the need', async (t) => {
    let isOk = false;
    const began: string[] = [];
    const cut = (signal: AbortSignal): Promise<never> =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    const w = workflow('w');
    const first = w.task('first', { retry: { attempts: 1 } }, () => {
      began.push('first');
      if (!isOk) throw new Error('no');
    });
    const needs = { first: settled(first) };
    const over = (): readonly number[] => {
      began.push('over');
      return [0, 1, 2];
    };
    const m = w.map('m', { needs, over }, async ({ item, signal, step }) => {
      began.push(`item ${item}`);
      await step('s', () => item);
      return item === 0 || isOk ? item : cut(signal);
    });
    const rig = await openRig(t, { workflows: [w.returns(m)] });
    const handle = await rig.client.start('w');
    await rig.clock.advance(500);
    await rig.client.cancel(handle.id);
    await rig.clock.advance(500);
    assert.deepEqual(began.splice(0), ['first', 'over', 'item 0', 'item 1', 'item 2']);
    isOk = true;
    await rig.client.retry(handle.id);
    await rig.clock.advance(500);
    const outcome = await rig.client.executions.get(handle.id);
    assert.equal(outcome.status, 'completed', JSON.stringify(outcome.error));
    assert.deepEqual(began, ['first', 'item 1', 'item 2']);
    const tasks = await rig.store.tasks(handle.id);
    assert.deepEqual(
      tasks.filter(({ item }) => item >= 0).map(({ item, attempt }) => [item, attempt]),
      [
        [0, 1],
        [1, 2],
        [2, 2],
      ],
    );
  });
});
