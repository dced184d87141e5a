import type { AnyWorkflow, Task } from '../../src/core/definition/definition.ts';
import { NonRetryableError } from '../../src/core/error.ts';
import { settled, workflow } from '../../src/core/definition/workflow.ts';
import type { Clock } from '../../src/engine/clock.ts';
import type { ModelGraph, ModelTask } from './graphs.ts';
import { hash, tryOf } from './interpreter.ts';

type AnyTask = Task<'model', unknown>;
type Values = Readonly<Record<string, unknown>>;

const retry = (attempts: number) => ({ attempts, delay: 100, maxDelay: 400, jitter: 0 });

/** A random graph as a workflow, and the children that it starts. */
export function build(graph: ModelGraph, clock: () => Clock): readonly AnyWorkflow[] {
  const w = workflow('model');
  const children: AnyWorkflow[] = [];
  const nodes: AnyTask[] = [];
  for (const [index, task] of graph.tasks.entries()) {
    const needs = Object.fromEntries(
      task.needs.map(({ task: need, settled: isSettled }, at) => [
        `n${at}`,
        isSettled ? settled(nodes[need]!) : nodes[need]!,
      ]),
    );
    const options = { needs, ...whenOf(task) };
    const work = { ...options, retry: retry(task.attempts), timeout: 50 + task.takesMs };
    const name = `t${index}`;
    const valueOf = (values: Values): unknown => value(task, index, values);
    switch (task.kind) {
      case 'task':
        nodes.push(
          w.task(
            name,
            work,
            async ({ needs: given, attempt, signal }) => run(task, clock(), attempt, signal, valueOf(given)) as never,
          ),
        );
        break;
      case 'map': {
        const over = (): number[] => Array.from({ length: task.items }, (_, item) => item);
        const body = async (ctx: {
          needs: Values;
          item: number;
          attempt: number;
          signal: AbortSignal;
        }): Promise<never> => {
          const item = [valueOf(ctx.needs), ctx.item];
          return (ctx.item === 0 ? item : await run(task, clock(), ctx.attempt, ctx.signal, item)) as never;
        };
        if (task.settledItems) {
          const map = w.map(name, { ...work, over, settled: true, concurrency: 2 }, body as never);
          nodes.push(map);
        } else {
          nodes.push(w.map(name, { ...work, over, concurrency: 2 }, body as never) as AnyTask);
        }
        break;
      }
      case 'sleep':
        nodes.push(w.sleep(name, { ...options, for: index % 2 === 0 ? '2s' : '45s' }));
        break;
      case 'wait':
        nodes.push(w.wait(name, { ...options, signal: `s${index}` }));
        break;
      case 'child': {
        const child = workflow<string>(`child${index}`);
        const only = child.task(
          'only',
          { retry: retry(task.attempts), timeout: 50 + task.takesMs },
          async ({ input, attempt, signal }) => run(task, clock(), attempt, signal, input) as never,
        );
        const done = child.returns(only);
        children.push(done);
        nodes.push(
          w.child(name, done, { ...options, input: ({ needs: given }) => valueOf(given as Values) }) as AnyTask,
        );
        break;
      }
    }
  }
  if (graph.returns !== null) {
    const { task, settled: isSettled } = graph.returns;
    if (isSettled) w.returns(settled(nodes[task]!));
    else w.returns(nodes[task]!);
  }
  return [w, ...children];
}

function whenOf({ when }: ModelTask): { when?: () => boolean } {
  if (when === null) return {};
  return {
    when: () => {
      if (when === 'throws') throw Object.assign(new Error('when'), { code: 'WHEN' });
      return when;
    },
  };
}

/** The output of a task, as the interpreter computes it. */
function value(task: ModelTask, index: number, values: Values): unknown {
  const needs = task.needs.map(({ settled: isSettled }, at) => {
    const given = values[`n${at}`];
    return isSettled ? (given as { status: string }).status : normal(given);
  });
  return [index, hash(JSON.stringify(needs))];
}

/** Outcomes of items as the interpreter writes them. */
export function normal(output: unknown): unknown {
  if (!Array.isArray(output)) return output ?? null;
  return output.map((item: unknown) => {
    if (typeof item !== 'object' || item === null || !('status' in item)) return item;
    const outcome = item as { status: string; output?: unknown; error?: { code: string } };
    return outcome.status === 'completed' ? outcome.output : `failed ${outcome.error?.code ?? ''}`;
  });
}

async function run(
  task: ModelTask,
  clock: Clock,
  attempt: number,
  signal: AbortSignal,
  output: unknown,
): Promise<unknown> {
  if (task.takesMs > 0) await new Promise<void>((resolve) => clock.timer(task.takesMs, resolve));
  switch (tryOf(task.tries, attempt)) {
    case 'ok':
      return output;
    case 'value':
      return undefined;
    case 'fail':
      throw Object.assign(new Error('fail'), { code: 'FAIL' });
    case 'fatal':
      throw Object.assign(new NonRetryableError('fatal'), { code: 'FATAL' });
    default:
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      throw new Error('aborted');
  }
}
