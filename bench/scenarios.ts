import { workflow } from '../src/index.ts';
import type { AnyWorkflow } from '../src/index.ts';

/** Workflows without work of their own, so only the engine is measured. */
export function shapes(): {
  readonly simple: AnyWorkflow;
  readonly pipeline: AnyWorkflow;
  readonly parallel: AnyWorkflow;
} {
  const simple = workflow('simple');
  const only = simple.task('only', () => 1);

  const pipeline = workflow('pipeline');
  const extract = pipeline.task('extract', () => ({ rows: 3 }));
  const transform = pipeline.task('transform', { needs: { extract } }, async ({ needs }) => needs.extract.rows * 2);
  const load = pipeline.task('load', { needs: { transform } }, ({ needs }) => ({ loaded: needs.transform }));

  const parallel = workflow('parallel');
  const split = parallel.task('split', () => 1);
  const left = parallel.task('left', { needs: { split } }, ({ needs }) => needs.split + 1);
  const middle = parallel.task('middle', { needs: { split } }, ({ needs }) => needs.split + 2);
  const right = parallel.task('right', { needs: { split } }, ({ needs }) => needs.split + 3);
  const join = parallel.task(
    'join',
    { needs: { left, middle, right } },
    ({ needs }) => needs.left + needs.middle + needs.right,
  );

  return { simple: simple.returns(only), pipeline: pipeline.returns(load), parallel: parallel.returns(join) };
}

/** A chain of tasks, each of which needs the previous one. */
export function chain(length: number): AnyWorkflow {
  const made = workflow(`chain_${length}`);
  let last = made.task('t0', () => 0);
  for (let i = 1; i < length; i++) last = made.task(`t${i}`, { needs: { last } }, ({ needs }) => needs.last + 1);
  return made.returns(last);
}
