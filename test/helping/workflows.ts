/** Wide workflows for several processes: the output of each attempt names its process. */
import { setTimeout } from 'node:timers/promises';
import { unchecked, workflow } from '../../src/index.ts';

interface Given {
  readonly items: number;
  /** The duration of each item. */
  readonly ms: number;
}

const m = workflow('wide', { input: unchecked<Given>() });
export const wide = m.returns(
  m.map(
    'items',
    { over: ({ input }) => Array.from({ length: input.items }, (_, i) => i), retry: { attempts: 3, delay: '50ms' } },
    async ({ item, index, input, step, attempt }) => {
      const first = await step('first', () => process.pid);
      await setTimeout(input.ms);
      return { item, index, pid: process.pid, first, attempt };
    },
  ),
);

/**
 * One task with one attempt and one with retries, for the queue `gpu`; each runs for as long as its first process
 * lives.
 */
const q = workflow('queued', { input: unchecked<{ readonly owner: number }>() });
const often = q.task('often', { queue: 'gpu' }, async ({ attempt, signal }) => {
  if (attempt === 1) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  signal.throwIfAborted();
  return { pid: process.pid, attempt };
});
q.task('once', { queue: 'gpu', retry: { attempts: 1 } }, async ({ signal }) => {
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
  signal.throwIfAborted();
});
export const queued = q.returns(often);
