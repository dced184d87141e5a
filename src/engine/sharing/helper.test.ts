import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import type { Duration } from '../../core/duration.ts';
import { NonRetryableError } from '../../core/error.ts';
import { settled, unchecked, workflow } from '../../core/definition/workflow.ts';
import { run } from '../../store/script.ts';
import type { ManualClock } from '../../testing/clock.ts';
import { declareDead, openRig } from '../../testing/engine-rig.ts';
import { offersIn, openRunners, takes } from '../../testing/helping-rig.ts';

/** Records when and why its signal fires, and then ends. */
function untilAborted(signal: AbortSignal, told: (code: unknown) => void): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => {
      told(Reflect.get(signal.reason as object, 'message'));
      reject(new Error('aborted'));
    });
  });
}

describe('durability.md, Helpers: a wide execution shares its tasks', () => {
  it('items beyond the slots of the owner run on other runners, each once, and come back in order', async (t) => {
    const ran = new Map<number, string[]>();
    const wide = (who: string, clock: ManualClock): AnyWorkflow[] => {
      const w = workflow('wide', { input: unchecked<{ times: number }>() });
      const items = w.map('items', { over: () => Array.from({ length: 60 }, (_, i) => i) }, async ({ item, input }) => {
        ran.set(item, [...(ran.get(item) ?? []), who]);
        await takes(clock, 100);
        return item * input.times;
      });
      return [w.returns(items)];
    };
    const { clock, rigs, store } = await openRunners(t, wide, {
      owner: { concurrency: 4 },
      one: { concurrency: 4 },
      two: { concurrency: 4 },
    });
    const handle = await rigs[0]!.client.start('wide', { times: 2 });
    await clock.advance(5000);
    const outcome = await handle.outcome();
    assert.ok(outcome.status === 'completed');
    assert.deepEqual(
      outcome.output,
      Array.from({ length: 60 }, (_, i) => i * 2),
    );
    assert.equal(ran.size, 60);
    assert.ok([...ran.values()].every((who) => who.length === 1));
    const shares = Map.groupBy([...ran.values()].flat(), (who) => who);
    for (const who of ['owner', 'one', 'two']) assert.ok((shares.get(who)?.length ?? 0) >= 10, `${who} took part`);
    assert.deepEqual(await offersIn(store), []);
    const events = await rigs[0]!.client.executions.events(handle.id);
    assert.deepEqual(
      events.map(({ seq }) => seq),
      events.map((_, i) => i + 1),
    );
    const helpers = events.flatMap(({ type, data }) =>
      type === 'task.started' ? [(data as { helper?: string } | null)?.helper] : [],
    );
    assert.ok(helpers.includes(rigs[1]!.engine.id), 'task.started names the helper');
  });

  it('a map keeps to its concurrency with helpers included, and single tasks that fan out are shared too', async (t) => {
    let running = 0;
    let most = 0;
    const who = new Set<string>();
    const build = (name: string, clock: ManualClock): AnyWorkflow[] => {
      const work = async (): Promise<void> => {
        who.add(name);
        most = Math.max(most, ++running);
        await takes(clock, 100);
        running--;
      };
      const w = workflow('narrow');
      w.map('items', { over: () => Array.from({ length: 20 }, (_, i) => i), concurrency: 3 }, work);
      const fan = workflow('fan');
      for (let i = 0; i < 9; i++) fan.task(`task-${i}`, work);
      return [w, fan];
    };
    const { clock, rigs } = await openRunners(t, build, { owner: { concurrency: 2 }, helper: { concurrency: 8 } });
    const narrow = await rigs[0]!.client.start('narrow');
    await clock.advance(3000);
    assert.equal((await narrow.outcome()).status, 'completed');
    assert.equal(most, 3);
    who.clear();
    const fan = await rigs[0]!.client.start('fan');
    await clock.advance(400);
    assert.equal((await fan.outcome()).status, 'completed');
    assert.deepEqual(who, new Set(['owner', 'helper']));
  });

  it('a runner alone, and a runner whose tasks end at once, offer nothing', async (t) => {
    const build = (): AnyWorkflow[] => {
      const w = workflow('w');
      w.map('items', { over: () => Array.from({ length: 50 }, (_, i) => i) }, ({ item }) => item);
      return [w];
    };
    const { clock, rigs } = await openRunners(t, build, { owner: { concurrency: 2 }, other: { concurrency: 2 } });
    const batches: unknown[] = [];
    const { store } = rigs[0]!;
    const commit = store.commit.bind(store);
    store.commit = (batch) => {
      batches.push(...batch.transitions.flatMap(({ effects }) => effects?.offers ?? []));
      return commit(batch);
    };
    const handle = await rigs[0]!.client.start('w');
    await clock.advance(1000);
    assert.equal((await handle.outcome()).status, 'completed');
    assert.deepEqual(batches, []);
  });

  it('a helper calls the function with the input, needs, item and key that the owner would pass', async (t) => {
    const seen: Record<string, unknown>[] = [];
    const build = (): AnyWorkflow[] => {
      const w = workflow('w', { input: unchecked<{ n: number }>() });
      const a = w.task('a', () => ({ from: 'a' }));
      const b = w.task('b', { retry: { attempts: 1 } }, () => {
        throw new NonRetryableError('never');
      });
      w.task('alone', { queue: 'gpu', needs: { a, why: settled(b) } }, ({ input, needs, idempotencyKey, attempt }) => {
        seen.push({ input, needs: { ...needs }, idempotencyKey, attempt });
        return 1;
      });
      w.map('each', { queue: 'gpu', needs: { a }, over: () => ['x'] }, ({ item, index, needs, idempotencyKey }) => {
        seen.push({ item, index, needs: { ...needs }, idempotencyKey });
        return 1;
      });
      return [w];
    };
    const { clock, rigs } = await openRunners(t, build, { owner: {}, gpu: { queues: ['gpu'] } });
    const { id } = await rigs[0]!.client.start('w', { n: 5 });
    await clock.advance(1000);
    const find = (field: string): Record<string, unknown> => seen.find((one) => Object.hasOwn(one, field))!;
    const [task, item] = [find('input'), find('item')];
    const { why, ...needs } = task['needs'] as { why: { status: string; error: { message: string } } };
    assert.deepEqual(
      [task['input'], needs, task['idempotencyKey'], task['attempt']],
      [{ n: 5 }, { a: { from: 'a' } }, `${id}/alone`, 1],
    );
    assert.deepEqual([why.status, why.error.message], ['failed', 'never']);
    assert.deepEqual(item, { item: 'x', index: 0, needs: { a: { from: 'a' } }, idempotencyKey: `${id}/each/0` });
  });

  it('steps and logs of a helper are kept, and a retry by another runner finds them', async (t) => {
    const steps: string[] = [];
    const build = (who: string): AnyWorkflow[] => {
      const w = workflow('w');
      w.task('own', () => 1);
      const a = w.task('a', { queue: 'gpu', retry: { attempts: 3, delay: '1s' } }, async ({ step, log, attempt }) => {
        log.info(`attempt ${attempt} on ${who}`);
        const first = await step('first', () => {
          steps.push(who);
          return who;
        });
        if (attempt < 3) throw new Error('again');
        return first;
      });
      return [w.returns(a)];
    };
    const { clock, rigs } = await openRunners(t, build, {
      owner: {},
      one: { queues: ['gpu'] },
      two: { queues: ['gpu'] },
    });
    const handle = await rigs[0]!.client.start('w');
    await clock.advance(300);
    const first = steps[0]!;
    // the runner of the first attempt runs no other attempt
    await rigs[first === 'one' ? 1 : 2]!.close();
    await clock.advance(60_000);
    const ends = new Set(['task.retrying', 'task.completed']);
    const helped = rigs[0]!.events.filter(({ type, task }) => task === 'a' && ends.has(type));
    assert.equal(helped.length, 3, 'the first runner owned it');
    const outcome = await handle.outcome();
    assert.ok(outcome.status === 'completed');
    assert.deepEqual([outcome.output, steps], [first, [first]]);
    const other = first === 'one' ? 'two' : 'one';
    const lines = (await rigs[0]!.client.executions.logs(handle.id)).map(({ message }) => message);
    assert.deepEqual(lines, [`attempt 1 on ${first}`, `attempt 2 on ${other}`, `attempt 3 on ${other}`]);
  });

  it('a task that ends with a transaction stays with its owner once a helper has tried one', async (t) => {
    const began: string[] = [];
    const build = (who: string, clock: ManualClock): AnyWorkflow[] => {
      const w = workflow('w');
      const rows = w.map('rows', { over: () => [0, 1, 2, 3, 4, 5] }, async ({ item, transaction }) => {
        began.push(who);
        await takes(clock, 200);
        return transaction(() => item * 2);
      });
      return [w.returns(rows)];
    };
    const { clock, rigs } = await openRunners(t, build, { owner: { concurrency: 1 }, helper: { concurrency: 2 } });
    const handle = await rigs[0]!.client.start('w');
    await clock.advance(5000);
    const outcome = await handle.outcome();
    assert.ok(outcome.status === 'completed');
    assert.deepEqual(outcome.output, [0, 2, 4, 6, 8, 10]);
    assert.equal(began.filter((who) => who === 'owner').length, 6);
    assert.ok(began.length > 6, 'some were tried at the helper');
    const types = (await rigs[0]!.client.executions.events(handle.id)).map(({ type }) => type);
    assert.ok(!types.includes('task.retrying'), 'and that is not charged');
  });
});

describe('durability.md, Helpers: results that the database refuses', () => {
  /** Two tasks run on a helper at once; only the data of `refused` is refused, when it stores a step, a log line or its end. */
  async function open(t: TestContext, refused: 'step' | 'log' | 'end') {
    const build = (_: string, clock: ManualClock): AnyWorkflow[] => {
      const w = workflow('w');
      w.task('bad', { queue: 'gpu', retry: { attempts: 3, delay: '1s', jitter: 0 } }, async ({ step, log }) => {
        if (refused === 'step') await step('poison', () => 1);
        if (refused === 'log') log.info('poison');
        await takes(clock, 100);
        return refused === 'end' ? 'poison' : null;
      });
      const fine = w.task('fine', { queue: 'gpu' }, async ({ step }) => step('good', () => 'good'));
      w.task('near', () => takes(clock, 1000));
      return [w.returns(fine)];
    };
    const opened = await openRunners(t, build, { owner: {}, helper: { queues: ['gpu'], concurrency: 4 } });
    const { store } = opened;
    for (const [table, column] of [
      ['steps', 'name'],
      ['logs', 'message'],
      ['inbox_messages', 'payload'],
    ])
      await store.write(({ dialect }) =>
        run(
          dialect.lockNames === null
            ? `create trigger refuse_${table} before insert on ${table} when new.${column} like '%poison%'
               begin select raise(abort, 'no poison'); end`
            : `alter table ${table} add constraint no_poison check (${column} not like '%poison%')`,
        ),
      );
    return opened;
  }

  for (const refused of ['step', 'log', 'end'] as const) {
    it(`an attempt whose ${refused} is refused fails, once; the others at that helper go on`, async (t) => {
      const { clock, rigs, store } = await open(t, refused);
      const handle = await rigs[0]!.client.start('w');
      await clock.advance(60_000);
      const execution = await rigs[0]!.client.executions.get(handle.id);
      assert.deepEqual([execution.status, execution.error?.code], ['failed', 'STORE_REFUSED']);
      const tasks = await store.tasks(handle.id);
      assert.deepEqual(
        tasks.map(({ task, status, attempt }) => [task, status, attempt]),
        [
          ['bad', 'failed', 1],
          ['fine', 'completed', 1],
          ['near', 'completed', 1],
        ],
      );
    });
  }
});

describe('durability.md, Helpers: ends of an attempt at a helper', () => {
  const build =
    (told: (what: string) => void, retry: { attempts: number } = { attempts: 3 }, timeout: Duration = '1h') =>
    (who: string): AnyWorkflow[] => {
      const w = workflow('w', { failFast: true });
      w.task(
        'far',
        { queue: 'gpu', retry: { ...retry, delay: '1s', jitter: 0 }, timeout },
        async ({ signal, attempt }) => {
          told(`${attempt} began on ${who}`);
          await untilAborted(signal, (why) => told(`${attempt} ended on ${who}: ${String(why)}`));
        },
      );
      w.task('near', ({ signal }) => untilAborted(signal, () => undefined));
      w.wait('fail', { signal: 'fail', timeout: '1h' });
      return [w];
    };
  const gpu = { queues: ['gpu'] };

  it('a cancel reaches the helper at once, and its answer does not count', async (t) => {
    const told: string[] = [];
    const { clock, rigs, store } = await openRunners(
      t,
      build((what) => told.push(what)),
      { owner: {}, helper: gpu },
    );
    const { id } = await rigs[0]!.client.start('w');
    await clock.advance(1000);
    await rigs[0]!.client.cancel(id);
    await clock.advance(100);
    assert.equal((await rigs[0]!.client.executions.get(id)).status, 'cancelled');
    assert.deepEqual(told, ['1 began on helper', '1 ended on helper: the execution was cancelled']);
    assert.deepEqual(await offersIn(store), []);
  });

  it('a timeout at the helper counts, and the next attempt is offered again', async (t) => {
    const told: string[] = [];
    const { clock, rigs } = await openRunners(
      t,
      build((what) => told.push(what), { attempts: 2 }, '10s'),
      { owner: {}, helper: gpu },
    );
    const { id } = await rigs[0]!.client.start('w');
    await clock.advance(30_000);
    const late = 'the attempt took longer than its timeout';
    assert.deepEqual(told, [
      '1 began on helper',
      `1 ended on helper: ${late}`,
      '2 began on helper',
      `2 ended on helper: ${late}`,
    ]);
    const { status, error } = await rigs[0]!.client.executions.get(id);
    assert.deepEqual([status, error?.code], ['failed', 'TASK_TIMED_OUT']);
  });

  it('a close of the helper cuts the attempt after the drain, uncharged', async (t) => {
    const told: string[] = [];
    const { clock, rigs } = await openRunners(
      t,
      build((what) => told.push(what)),
      { owner: {}, one: gpu, two: gpu },
    );
    const { id } = await rigs[0]!.client.start('w');
    await clock.advance(1000);
    const first = told[0]!.endsWith('one') ? 1 : 2;
    await rigs[first]!.close();
    await clock.advance(1000);
    const [one, two] = first === 1 ? ['one', 'two'] : ['two', 'one'];
    assert.deepEqual(told, [`1 began on ${one}`, `1 ended on ${one}: the runner is closing`, `2 began on ${two}`]);
    const events = await rigs[0]!.client.executions.events(id);
    assert.ok(!events.some(({ type }) => type === 'task.retrying'));
  });

  it('an attempt of a helper that is declared dead runs again, uncharged, and becomes a poison suspect after the second time', async (t) => {
    const told: string[] = [];
    const runners = { owner: {}, one: gpu, two: gpu, three: gpu };
    const { clock, rigs, store } = await openRunners(
      t,
      build((what) => told.push(what)),
      runners,
    );
    const { id } = await rigs[0]!.client.start('w');
    const helper = async (): Promise<string> => (await offersIn(store))[0]!.helper!;
    for (let loss = 1; loss <= 2; loss++) {
      await clock.advance(500);
      await declareDead(store, await helper());
      await clock.advance(6000);
    }
    const began = told.filter((what) => what.includes('began')).map((what) => what.split(' ')[0]);
    assert.deepEqual(began, ['1', '2', '3']);
    assert.ok(
      told.some((what) => what.includes('the runner lost its lease')),
      told.join(),
    );
    const far = (await store.tasks(id)).find(({ task }) => task === 'far');
    assert.deepEqual([far!.attempt, far!.chargedAttempts], [3, 1], 'the third attempt is charged by its start');
  });

  it('engine.md, Attempts: a task with one attempt does not run again after its helper died', async (t) => {
    const told: string[] = [];
    const { clock, rigs, store } = await openRunners(
      t,
      build((what) => told.push(what), { attempts: 1 }),
      {
        owner: {},
        one: gpu,
        two: gpu,
      },
    );
    const handle = await rigs[0]!.client.start('w');
    await clock.advance(500);
    await declareDead(store, (await offersIn(store))[0]!.helper!);
    await clock.advance(20_000);
    const outcome = await handle.outcome();
    assert.ok(outcome.status === 'failed');
    assert.deepEqual([outcome.task, outcome.error?.code], ['far', 'TASK_INTERRUPTED']);
    assert.equal(told.filter((what) => what.includes('began')).length, 1);
  });

  it('an attempt of an owner that is declared dead is aborted by its helper and begins again under the next owner', async (t) => {
    for (const attempts of [3, 1]) {
      const told: string[] = [];
      const { clock, rigs, store } = await openRunners(
        t,
        build((what) => told.push(what), { attempts }),
        {
          owner: {},
          other: {},
          helper: gpu,
        },
      );
      const { id } = await rigs[0]!.client.start('w');
      await clock.advance(500);
      await declareDead(store, rigs[0]!.engine.id);
      await clock.advance(8000);
      const lost = ['1 began on helper', '1 ended on helper: the runner lost its lease'];
      assert.deepEqual(told, attempts === 1 ? lost : [...lost, '2 began on helper']);
      const far = (await store.tasks(id)).find(({ task }) => task === 'far');
      const error = far!.error === null ? null : (JSON.parse(far!.error) as { code: string }).code;
      assert.deepEqual(
        [far!.status, error, far!.chargedAttempts],
        attempts === 1 ? ['failed', 'TASK_INTERRUPTED', 1] : ['running', null, 0],
      );
    }
  });

  it('an attempt whose offer became void while its helper read the data for it does not begin', async (t) => {
    const told: string[] = [];
    const workflows = build((what) => told.push(what));
    const { clock, rigs, store, spare } = await openRunners(t, workflows, { owner: {}, other: {} });
    const helpFor = spare.helpFor.bind(spare);
    let reads = 0;
    spare.helpFor = async (id, ...args) => {
      if (reads++ === 0) {
        await declareDead(store, rigs[0]!.engine.id);
        await store.releaseOrphans();
        await rigs[1]!.client.cancel(id);
      }
      return helpFor(id, ...args);
    };
    const { id } = await rigs[0]!.client.start('w');
    await clock.advance(500);
    const helper = await openRig(t, { workflows: workflows('helper'), store: spare, clock, graceMs: 100, ...gpu });
    await clock.advance(8000);
    assert.deepEqual([reads, told], [1, []]);
    assert.equal((await rigs[1]!.client.executions.get(id)).status, 'cancelled');
    await helper.close();
  });

  it('an attempt that a helper began counts as begun even if its owner never learned of it', async (t) => {
    for (const [attempts, cancels] of [
      [3, false],
      [1, false],
      [3, true],
    ] as const) {
      const told: string[] = [];
      const workflows = build((what) => told.push(what), { attempts });
      const { clock, rigs, store, spare } = await openRunners(t, workflows, { owner: {}, other: {} });
      const { id } = await rigs[0]!.client.start('w');
      await clock.advance(500);
      // the owner no longer reads its inbox
      const { store: deaf } = rigs[0]!;
      const hasMessages = deaf.hasMessages.bind(deaf);
      deaf.hasMessages = () => Promise.resolve(false);
      if (cancels) await rigs[1]!.client.cancel(id);
      const helper = await openRig(t, {
        workflows: workflows('helper'),
        store: spare,
        clock,
        graceMs: 100,
        ...gpu,
      });
      await clock.advance(1000);
      assert.deepEqual(told, ['1 began on helper']);
      await declareDead(store, rigs[0]!.engine.id);
      deaf.hasMessages = hasMessages;
      await clock.advance(8000);
      if (cancels) {
        await rigs[1]!.client.retry(id);
        await clock.advance(2000);
      }
      const began = told.filter((what) => what.includes('began'));
      assert.deepEqual(began, attempts === 1 ? ['1 began on helper'] : ['1 began on helper', '2 began on helper']);
      const far = (await store.tasks(id)).find(({ task }) => task === 'far');
      assert.deepEqual([far!.status, far!.attempt], attempts === 1 ? ['failed', 1] : ['running', 2]);
      await helper.close();
    }
  });

  it('a pause lets the attempt end before the execution is paused, and withdraws offers that were not taken', async (t) => {
    const ran: string[] = [];
    const halves = (who: string, clock: ManualClock): AnyWorkflow[] => {
      const w = workflow('w');
      w.map('items', { queue: 'gpu', over: () => [0, 1, 2, 3] }, async ({ item }) => {
        ran.push(`${item} on ${who}`);
        await takes(clock, 2000);
      });
      w.task('own', () => 1);
      return [w];
    };
    const { clock, rigs, store } = await openRunners(t, halves, { owner: {}, helper: { ...gpu, concurrency: 2 } });
    const { client } = rigs[0]!;
    const { id } = await client.start('w');
    await clock.advance(500);
    await client.pause(id);
    await clock.advance(500);
    assert.equal((await client.executions.get(id)).status, 'running');
    assert.equal((await offersIn(store)).length, 2, 'those that the helper has');
    await clock.advance(2000);
    assert.deepEqual([(await client.executions.get(id)).status, ran.length], ['paused', 2]);
    await client.resume(id);
    await clock.advance(5000);
    assert.deepEqual([(await client.executions.get(id)).status, ran.length], ['completed', 4]);
  });
});
