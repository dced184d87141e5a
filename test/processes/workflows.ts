import { workflow } from '../../src/index.ts';
import type { Logger } from '../../src/index.ts';

const nothing = (): void => undefined;
export const silent: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

const q = workflow('quick');
export const quick = q.returns(q.task('a', () => 1));

const forever = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

const w = workflow('waiting');
export const waiting = w.returns(
  w.task('a', async ({ signal }) => {
    await forever(signal);
    return 1;
  }),
);

/** One task with one attempt, and one that remembers a step; both are running when their process is killed. */
const c = workflow('crashing');
c.task('once', { retry: { attempts: 1 } }, async ({ signal }) => {
  await forever(signal);
  return 1;
});
const often = c.task('often', async ({ step, attempt, signal, idempotencyKey }) => {
  const first = await step('pid', () => process.pid);
  if (attempt === 1) await forever(signal);
  return { first, pid: process.pid, attempt, idempotencyKey };
});
export const crashing = c.returns(often);
