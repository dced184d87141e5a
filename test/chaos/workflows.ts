import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { unchecked, workflow } from '../../src/index.ts';
import type { AnyWorkflow } from '../../src/index.ts';

/** Records the runs of a task, independently of the engine. */
export interface Diary {
  begin(run: string, execution: string, task: string): Promise<void>;
  end(run: string): Promise<void>;
}

export const limit = 2;
export const slots = 6;
export const width = 20;

// every cut comes from outside, and none of them is to use up the attempts
const retry = { attempts: 1000, delay: '100ms', maxDelay: '500ms' } as const;

/** The workflows of the chaos test. The output of each task names its run, so an overwritten result is visible. */
export function chaosWorkflows(diary: Diary): readonly AnyWorkflow[] {
  const run = async (execution: string, task: string, ms: number): Promise<string> => {
    const name = randomUUID();
    await diary.begin(name, execution, task);
    await setTimeout(ms * Math.random());
    await diary.end(name);
    return name;
  };

  const c = workflow('chain');
  const first = c.task('first', { retry }, ({ executionId }) => run(executionId, 'first', 10));
  const left = c.task('left', { needs: { first }, retry }, async ({ executionId, needs }) => [
    needs.first,
    await run(executionId, 'left', 30),
  ]);
  const right = c.task('right', { needs: { first }, retry }, async ({ executionId, needs }) => [
    needs.first,
    await run(executionId, 'right', 30),
  ]);
  const join = c.task('join', { needs: { left, right }, retry }, ({ needs }) => [needs.left, needs.right]);
  const chain = c.returns(join);

  const l = workflow('limited', { concurrency: { limit } });
  const limited = l.returns(l.task('only', { retry }, ({ executionId }) => run(executionId, 'only', 60)));

  const s = workflow('signalled');
  const go = s.wait('go', { signal: 'go', schema: unchecked<number>() });
  const signalled = s.returns(s.task('after', { needs: { go }, retry }, ({ needs }) => needs.go));

  const o = workflow('once');
  const once = o.returns(o.task('only', { retry: { attempts: 1 } }, ({ executionId }) => run(executionId, 'only', 30)));

  const p = workflow('parent');
  const kid = p.child('kid', chain, { input: () => ({}) });
  const parent = p.returns(p.task('after', { needs: { kid }, retry }, ({ needs }) => needs.kid));

  // wider than the slots of a runner, so others help
  const i = workflow('wide');
  const over = (): readonly number[] => Array.from({ length: width }, (_, n) => n);
  const items = i.map('items', { over, retry }, ({ executionId }) => run(executionId, 'items', 60));
  const wide = i.returns(items);

  return [chain, limited, signalled, once, parent, wide];
}
