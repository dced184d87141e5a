import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import type { Task } from '../../core/definition/definition.ts';
import { settled, workflow } from '../../core/definition/workflow.ts';
import { openRig } from '../../testing/engine-rig.ts';
import type { ManualClock } from '../../testing/clock.ts';
import type { ExecutionEvent } from '../client/execution-queries.ts';
import { loadEmbedded } from '../client/start.ts';

interface Behaviour {
  /** Its needs: positions of earlier tasks. */
  readonly needs: readonly { readonly task: number; readonly settled: boolean }[];
  readonly does: 'complete' | 'fail' | 'skip' | 'retry' | 'wait' | 'sleep';
}

const behaviours = fc.integer({ min: 1, max: 9 }).chain((size) =>
  fc.tuple(
    ...Array.from({ length: size }, (_, i) =>
      fc.record({
        needs: fc.array(fc.record({ task: fc.nat({ max: Math.max(0, i - 1) }), settled: fc.boolean() }), {
          maxLength: i === 0 ? 0 : 3,
        }),
        does: fc.constantFrom<Behaviour['does']>('complete', 'fail', 'skip', 'retry', 'wait', 'sleep'),
      }),
    ),
  ),
);

let built = 0;

function build(tasks: readonly Behaviour[], clock: ManualClock, ran: string[]) {
  const title: string = `random${built++}`;
  const w = workflow(title);
  const made: Task<string, null>[] = [];
  const add = (name: string, { needs, does }: Behaviour): Task<string, null> => {
    const entries = needs.map(({ task, settled: any }, alias) => [
      `n${alias}`,
      any ? settled(made[task]!) : made[task]!,
    ]);
    const options = { needs: Object.fromEntries(entries) as Record<string, Task<string, null>> };
    if (does === 'sleep') return w.sleep(name, { ...options, for: '3s' });
    const retry = { attempts: does === 'fail' ? 1 : 2, delay: 100, jitter: 0 };
    return w.task(name, { ...options, retry, when: () => does !== 'skip' }, async ({ attempt }) => {
      ran.push(name);
      if (does === 'fail' || (does === 'retry' && attempt === 1)) throw new Error(does);
      if (does === 'wait') await new Promise<void>((resolve) => clock.timer(200, resolve));
      return null;
    });
  };
  for (const [i, behaviour] of tasks.entries()) made.push(add(`t${i}`, behaviour));
  return w;
}

/** The expected end of each task, computed in a slow and simple way. */
function expected(tasks: readonly Behaviour[]): {
  readonly how: Readonly<Record<string, string>>;
  readonly status: string;
} {
  const ends: string[] = [];
  for (const { needs, does } of tasks) {
    const blocked = needs.some(({ task, settled: any }) => !any && ends[task] !== 'completed');
    ends.push(blocked || does === 'skip' ? 'skipped' : does === 'fail' ? 'failed' : 'completed');
  }
  const handled = (failed: number): boolean =>
    tasks.some(({ needs }, i) => ends[i] === 'completed' && needs.some((need) => need.task === failed && need.settled));
  const fails = ends.some((end, i) => end === 'failed' && !handled(i));
  return { how: Object.fromEntries(ends.map((end, i) => [`t${i}`, end])), status: fails ? 'failed' : 'completed' };
}

function checkEvents(events: readonly ExecutionEvent[], tasks: readonly Behaviour[]): void {
  assert.deepEqual(
    events.map(({ seq }) => seq),
    events.map((_, i) => i + 1),
    'numbers are gapless',
  );
  assert.ok(
    events.every(({ at }, i) => i === 0 || at >= events[i - 1]!.at),
    'times do not go back',
  );
  assert.equal(events[0]!.type, 'execution.created');
  assert.match(events.at(-1)!.type, /^execution\.(completed|failed)$/);
  const endOf = (task: string): number =>
    events.findIndex((event) => event.task === task && /^task\.(completed|failed|skipped)$/.test(event.type));
  for (const [i, { needs }] of tasks.entries()) {
    const own = events.filter(({ task }) => task === `t${i}`).map(({ type }) => type);
    assert.ok(
      /^(task\.skipped|task\.waiting,task\.completed|(task\.started,)?(task\.retrying,)?(task\.started,)?task\.(completed|failed))$/.test(
        own.join(),
      ),
      own.join(),
    );
    const first = events.findIndex(({ task }) => task === `t${i}`);
    if (own[0] === 'task.skipped') continue;
    for (const need of needs)
      assert.ok(endOf(`t${need.task}`) < first, 'nothing of a task comes before the ends of its needs');
  }
}

describe('engine.md, Events and logs: random graphs keep their meaning', () => {
  it('every execution ends as its graph says; events are gapless and in order; no task exceeds its attempts', async (t) => {
    const { client, clock, engine } = await openRig(t);
    await fc.assert(
      fc.asyncProperty(behaviours, async (tasks) => {
        const ran: string[] = [];
        const w = build(tasks, clock, ran);
        const loaded = loadEmbedded(w);
        engine.catalog.add([loaded]);
        const handle = await client.start(w);
        await clock.advance(2000);
        for (let i = 0; i < 12 && engine.size > 0; i++) await clock.advance(3000);
        assert.equal(engine.size, 0);
        const { how, status } = expected(tasks);
        const detail = await client.executions.get(handle.id);
        assert.equal(detail.status, status);
        assert.deepEqual(Object.fromEntries(detail.tasks.map((task) => [task.name, task.status])), how);
        checkEvents(await client.executions.events(handle.id), tasks);
        for (const [i, { does }] of tasks.entries()) {
          const times = ran.filter((name) => name === `t${i}`).length;
          const once = does === 'sleep' || how[`t${i}`] === 'skipped' ? 0 : does === 'retry' ? 2 : 1;
          assert.equal(times, once);
        }
        engine.catalog.remove(loaded.buildId);
      }),
      { numRuns: 40 },
    );
  });

  it('onEvent is called for every event of an execution once, in order, after its commit', async (t) => {
    const w = workflow('w');
    const a = w.task('a', () => 1);
    w.task('b', { needs: { a } }, () => 2);
    const rig = await openRig(t, { workflows: [w] });
    const { executionId } = await rig.client.execute(w);
    const stored = await rig.client.executions.events(executionId);
    assert.deepEqual(
      rig.events.map(({ seq, type, task, workflow: name }) => [seq, type, task, name]),
      stored.map(({ seq, type, task }) => [seq, type, task, 'w']),
    );
  });
});

describe('engine.md, Events and logs: the event of a failure says the reason below its error', () => {
  it('retrying, failed and the end of the execution have code, message and the message of the root cause', async (t) => {
    const w = workflow('w');
    w.task('load', { retry: { attempts: 2, delay: 0 } }, () => {
      throw new Error('fetch failed', { cause: new Error('self-signed certificate') });
    });
    const rig = await openRig(t, { workflows: [w] });
    const { id } = await rig.client.start(w);
    await rig.clock.advance(0);
    const events = await rig.client.executions.events(id);
    for (const type of ['task.retrying', 'task.failed', 'execution.failed']) {
      const data = events.find((event) => event.type === type)?.data as Readonly<Record<string, unknown>>;
      const { code, message, rootCause } = data;
      assert.deepEqual([code, message, rootCause], ['TASK_FAILED', 'fetch failed', 'self-signed certificate'], type);
    }
  });

  it('an error that says everything itself has no other field', async (t) => {
    const w = workflow('w');
    w.task('load', { retry: { attempts: 1 } }, () => {
      throw new Error('alone');
    });
    const rig = await openRig(t, { workflows: [w] });
    const { executionId } = await (await rig.client.start(w)).outcome();
    const events = await rig.client.executions.events(executionId);
    assert.deepEqual(events.at(-1)?.data, { code: 'TASK_FAILED', message: 'alone' });
  });
});
