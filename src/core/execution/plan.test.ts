import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { sampleTask, sampleWorkflow } from '../../testing/sample-package.ts';
import type { TaskStatus } from './states.ts';
import { compileGraph } from '../definition/graph.ts';
import type { Graph } from '../definition/graph.ts';
import { endingOf, freshProgress, restoreProgress, taskEnded } from './plan.ts';
import type { Progress } from './plan.ts';
import type { NeedSpec, WorkflowSpec } from '../definition/spec.ts';

/** `b: 'a ?c'` reads: b needs a plainly and c settled. */
function graphOf(tasks: Readonly<Record<string, string>>, output: WorkflowSpec['output'] = null): Graph {
  const specs = Object.entries(tasks).map(([name, text]) => {
    const needs = text.split(' ').filter((need) => need !== '');
    const entries = needs.map((need): [string, NeedSpec] =>
      need.startsWith('?')
        ? [need.slice(1), { task: need.slice(1), settled: true }]
        : [need, { task: need, settled: false }],
    );
    return { ...sampleTask(name), needs: Object.fromEntries(entries) };
  });
  return compileGraph({ ...sampleWorkflow('w'), tasks: specs, output });
}

class Walk {
  readonly graph: Graph;
  readonly progress: Progress;
  constructor(graph: Graph) {
    this.graph = graph;
    this.progress = freshProgress(graph);
  }
  end(name: string, status: TaskStatus): { ready: string[]; skipped: string[] } {
    const { ready, skipped } = taskEnded(this.graph, this.progress, this.graph.indexOf.get(name)!, status);
    return {
      ready: ready.map((task) => this.graph.names[task]!),
      skipped: skipped.map(({ task, skip }) => `${this.graph.names[task]!}: ${skip.reason} by ${skip.cause}`),
    };
  }
  ending(cancelled = false): ReturnType<typeof endingOf> {
    return endingOf(this.graph, this.progress, cancelled);
  }
}

describe('engine.md, what a graph means', () => {
  it('a task is ready when the last of its needs has ended, once', () => {
    const walk = new Walk(graphOf({ a: '', b: 'a', c: 'a', d: 'b c' }));
    assert.deepEqual(walk.graph.first, [0]);
    assert.deepEqual(walk.end('a', 'completed').ready, ['b', 'c']);
    assert.deepEqual(walk.end('c', 'completed').ready, []);
    assert.deepEqual(walk.end('b', 'completed').ready, ['d']);
    assert.deepEqual(walk.end('d', 'completed'), { ready: [], skipped: [] });
    assert.deepEqual(walk.ending(), { status: 'completed' });
  });

  for (const [status, reason] of [
    ['failed', 'need_failed'],
    ['skipped', 'need_skipped'],
    ['cancelled', 'need_cancelled'],
  ] as const) {
    it(`a plain need that ended ${status} skips the task with ${reason} and the task that caused it`, () => {
      const walk = new Walk(graphOf({ a: '', b: 'a', c: 'b' }));
      assert.deepEqual(walk.end('a', status).skipped, [`b: ${reason} by a`, 'c: need_skipped by b']);
    });
  }

  it('a task is skipped at once when one plain need failed, though others have not ended', () => {
    const walk = new Walk(graphOf({ a: '', b: '', c: 'a b' }));
    assert.deepEqual(walk.end('a', 'failed').skipped, ['c: need_failed by a']);
    assert.deepEqual(walk.end('b', 'completed'), { ready: [], skipped: [] });
    assert.equal(walk.progress.open, 0);
  });

  it('a settled need is met by any end', () => {
    for (const status of ['completed', 'failed', 'skipped', 'cancelled'] as const) {
      const walk = new Walk(graphOf({ a: '', b: '?a' }));
      assert.deepEqual(walk.end('a', status), { ready: ['b'], skipped: [] });
    }
  });

  it('a settled need waits for a task that is skipped because of another', () => {
    const walk = new Walk(graphOf({ a: '', b: 'a', c: '?b' }));
    assert.deepEqual(walk.end('a', 'failed'), { ready: ['c'], skipped: ['b: need_failed by a'] });
  });

  it('a need taken both plainly and settled skips', () => {
    const graph = compileGraph({
      ...sampleWorkflow('w'),
      output: null,
      tasks: [
        sampleTask('a'),
        { ...sampleTask('b'), needs: { x: { task: 'a', settled: true }, y: { task: 'a', settled: false } } },
      ],
    });
    const walk = new Walk(graph);
    assert.deepEqual(walk.end('a', 'failed').skipped, ['b: need_failed by a']);
  });

  it('an execution fails with the first unhandled failure', () => {
    const walk = new Walk(graphOf({ a: '', b: '', c: '?a' }));
    walk.end('a', 'failed');
    walk.end('b', 'failed');
    walk.end('c', 'completed');
    assert.deepEqual(walk.ending(), { status: 'failed', task: 1, because: 'task_failed' });
  });

  it('a failure is handled only by a task that completed', () => {
    const walk = new Walk(graphOf({ a: '', c: '?a' }));
    walk.end('a', 'failed');
    walk.end('c', 'skipped');
    assert.deepEqual(walk.ending(), { status: 'failed', task: 0, because: 'task_failed' });
  });

  it('a plain output that failed fails the execution, handled or not', () => {
    const walk = new Walk(graphOf({ a: '', c: '?a' }, { task: 'a', settled: false }));
    walk.end('a', 'failed');
    walk.end('c', 'completed');
    assert.deepEqual(walk.ending(), { status: 'failed', task: 0, because: 'task_failed' });
  });

  it('a plain output that was skipped fails the execution with output_skipped', () => {
    const walk = new Walk(graphOf({ a: '', b: 'a', c: '?a' }, { task: 'b', settled: false }));
    walk.end('a', 'skipped');
    walk.end('c', 'completed');
    assert.deepEqual(walk.ending(), { status: 'failed', task: 1, because: 'output_skipped' });
  });

  it('returns(settled(task)) allows for a failure and for a skip', () => {
    for (const status of ['failed', 'skipped'] as const) {
      const walk = new Walk(graphOf({ a: '' }, { task: 'a', settled: true }));
      walk.end('a', status);
      assert.deepEqual(walk.ending(), { status: 'completed' });
    }
  });

  it('a cancelled execution is cancelled whatever its tasks say', () => {
    const walk = new Walk(graphOf({ a: '' }));
    walk.end('a', 'failed');
    assert.deepEqual(walk.ending(true), { status: 'cancelled' });
  });
});

describe('plan, by properties', () => {
  const arbitraryGraph = fc.integer({ min: 1, max: 12 }).chain((size) =>
    fc.tuple(
      ...Array.from({ length: size }, (_, i) =>
        fc.array(fc.record({ need: fc.nat({ max: Math.max(0, i - 1) }), settled: fc.boolean() }), {
          maxLength: i === 0 ? 0 : 3,
        }),
      ),
    ),
  );

  const build = (needs: readonly (readonly { need: number; settled: boolean }[])[]): Graph =>
    graphOf(
      Object.fromEntries(
        needs.map((list, i) => [`t${i}`, list.map((n) => `${n.settled ? '?' : ''}t${n.need}`).join(' ')]),
      ),
    );

  it('every task is ready once or skipped once, never both, and nothing stays open', () => {
    fc.assert(
      fc.property(
        arbitraryGraph,
        fc.infiniteStream(fc.constantFrom<TaskStatus>('completed', 'failed', 'skipped', 'cancelled')),
        (needs, ends) => {
          const graph = build(needs);
          const progress = freshProgress(graph);
          const seen = new Set<number>();
          const queue = [...graph.first];
          const see = (task: number): void => {
            assert.ok(!seen.has(task), `task ${task} was returned twice`);
            seen.add(task);
          };
          queue.forEach(see);
          for (const task of queue) {
            const { ready, skipped } = taskEnded(graph, progress, task, ends.next().value as TaskStatus);
            for (const skip of skipped) see(skip.task);
            ready.forEach(see);
            queue.push(...ready);
          }
          assert.equal(seen.size, graph.names.length);
          assert.equal(progress.open, 0);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('restoring from stored states continues as if there had been no interruption', () => {
    fc.assert(
      fc.property(
        arbitraryGraph,
        fc.nat({ max: 12 }),
        fc.infiniteStream(fc.constantFrom<TaskStatus>('completed', 'failed')),
        (needs, cut, ends) => {
          const graph = build(needs);
          const progress = freshProgress(graph);
          const queue = [...graph.first];
          let steps = 0;
          for (const task of queue) {
            if (steps++ === cut) break;
            queue.push(...taskEnded(graph, progress, task, ends.next().value as TaskStatus).ready);
          }
          const stored = new Map(progress.status.entries().filter(([, status]) => status !== 'pending'));
          const restored = restoreProgress(graph, stored, progress.failed);
          assert.deepEqual(restored, progress);
        },
      ),
      { numRuns: 300 },
    );
  });
});
