import type { AnyWorkflow, Ctx } from '../../src/core/definition/definition.ts';
import { NonRetryableError } from '../../src/core/error.ts';
import { settled, unchecked, workflow } from '../../src/core/definition/workflow.ts';
import type { Clock } from '../../src/engine/clock.ts';
import type { Ledger } from './ledger.ts';
import type { Random } from './random.ts';

interface Given {
  readonly n: number;
}

type Work = Pick<Ctx<unknown>, 'executionId' | 'task' | 'attempt' | 'signal' | 'step'>;

/** A mix of every kind of task, with functions that record their runs in the ledger. */
export function workload(ledger: Ledger, random: Random, clock: Clock, runner: () => string): readonly AnyWorkflow[] {
  /** A function that takes time, fails now and then, and sometimes ignores its signal. */
  const work = async (ctx: Work, needs: readonly string[], item: number | null = null): Promise<number> => {
    const { executionId: id, task, attempt } = ctx;
    ledger.began({ runner: runner(), id, task, item, attempt }, needs);
    const kept = await ctx.step('kept', () => random.below(1_000_000));
    ledger.step(id, task, item, kept);
    const takes = random.pick([0, 0, 1, 20, 300, 4000]);
    if (takes > 0) await new Promise<void>((resolve) => clock.timer(takes, resolve));
    if (ctx.signal.aborted) throw new Error('aborted');
    if (random.chance(0.1)) throw new Error('now and then');
    if (random.chance(0.01)) throw new NonRetryableError('never');
    return random.below(1_000_000);
  };
  /** The same for tasks with one attempt. */
  const once = async (ctx: Work, item: number | null = null): Promise<number> => {
    ledger.beganOnce(ctx.executionId, ctx.task, item);
    return work(ctx, [], item);
  };
  const retry = { attempts: 5, delay: '100ms' };

  const chain = workflow('chain', { input: unchecked<Given>() });
  const a = chain.task('a', { retry }, (ctx) => work(ctx, []));
  const b = chain.task('b', { needs: { a }, retry }, (ctx) => work(ctx, ['a']));
  const c = chain.task('c', { needs: { b, a: settled(a) }, retry: { attempts: 1 } }, (ctx) => work(ctx, ['a', 'b']));
  const chainDone = chain.returns(settled(c));

  const fan = workflow('fan', { input: unchecked<Given>(), failFast: true });
  const list = fan.task('list', { retry }, async (ctx) => {
    await work(ctx, []);
    return Array.from({ length: ctx.input.n % 7 }, (_, i) => i);
  });
  const each = fan.map('each', { needs: { list }, over: ({ needs }) => needs.list, concurrency: 3, retry }, (ctx) =>
    work(ctx, ['list'], ctx.item),
  );
  const side = fan.task('side', { retry, when: ({ input }) => input.n % 3 !== 0 }, (ctx) => work(ctx, []));
  const sum = fan.task('sum', { needs: { each, side: settled(side) }, retry }, (ctx) => work(ctx, ['each']));
  const fanDone = fan.returns(settled(sum));

  const patient = workflow('patient', { input: unchecked<Given>() });
  const nap = patient.sleep('nap', { until: () => clock.now() + 20_000 + random.below(30_000) });
  const go = patient.wait('go', { signal: 'go', timeout: '10m' });
  const after = patient.task('after', { needs: { nap, go: settled(go) }, retry }, (ctx) => work(ctx, ['nap', 'go']));
  const patientDone = patient.returns(after);

  const parent = workflow('parent', { input: unchecked<Given>() });
  const kid = parent.child('kid', chainDone, { input: ({ input }) => ({ n: input.n }) });
  const fanKid = parent.child('fan-kid', 'fan', { input: ({ input }) => ({ n: input.n }) });
  const both = parent.task('both', { needs: { kid: settled(kid), fan: settled(fanKid) }, retry }, (ctx) =>
    work(ctx, ['kid', 'fan-kid']),
  );
  const parentDone = parent.returns(both);

  const narrow = workflow('narrow', { input: unchecked<Given>(), concurrency: { limit: 2 } });
  const only = narrow.task('only', { retry }, (ctx) => work(ctx, []));
  const narrowDone = narrow.returns(settled(only));

  const wide = workflow('wide', { input: unchecked<Given>() });
  const many = wide.map(
    'many',
    { over: ({ input }) => Array.from({ length: input.n * 2 }, (_, i) => i), retry },
    (ctx) => work(ctx, [], ctx.item),
  );
  const special = wide.task('special', { queue: 'gpu', retry }, (ctx) => work(ctx, []));
  const single = wide.task('single', { queue: 'gpu', retry: { attempts: 1 } }, (ctx) => once(ctx));
  const odd = wide.map(
    'odd',
    { needs: { many: settled(many) }, over: () => [0, 1, 2, 3], settled: true, retry: { attempts: 1 } },
    (ctx) => once(ctx, ctx.item),
  );
  const last = wide.task('last', { needs: { many, special, single: settled(single), odd }, retry }, (ctx) =>
    work(ctx, ['many', 'special', 'single', 'odd']),
  );
  const wideDone = wide.returns(settled(last));

  return [chainDone, fanDone, patientDone, parentDone, narrowDone, wideDone];
}

export const names: readonly string[] = ['chain', 'fan', 'patient', 'parent', 'narrow', 'wide', 'wide'];
