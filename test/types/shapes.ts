// Shapes of values that tasks may and may not return: every `@ts-expect-error` must stay an error. Checked by tsc,
// never run.
import { settled, workflow } from '../../src/index.ts';
import type { Task } from '../../src/index.ts';

const w = workflow('w');
const f = w.task('f', () => (Math.random() > 1 ? Promise.resolve({ a: 1 }) : { a: 2 }));
const g: Task<'w', { a: number }> = f;
const h = w.task('h', () => {});
const i: Task<'w', void> = h;
const k = w.task('k', async ({ step }) => {
  const v = await step('s', () => ({ q: 1 }));
  const u = await step('t', async () => [1, 2]);
  return { v: v.q, u: u.length };
});
const l: Task<'w', { v: number; u: number }> = k;
const m = w.map('m', { needs: { k }, over: ({ needs }) => [needs.k.v, 3] }, async ({ item, index }) => ({
  d: item * index,
}));
const n = w.task(
  'n',
  { needs: { m, k: settled(k) } },
  ({ needs }) => needs.m[0]!.d + (needs.k.status === 'completed' ? needs.k.output.u : 0),
);
const o: Task<'w', number> = n;
// @ts-expect-error map
w.map('m2', { over: () => [1] }, async () => new Map());
class Acts {
  go(): number {
    return 1;
  }
}
// @ts-expect-error class with methods
w.task('p', () => new Acts());
// @ts-expect-error undefined in arrays survives? a symbol does not
w.task('q', () => Symbol('x'));
// @ts-expect-error nested date
w.task('r', async () => ({ a: { b: [new Date()] } }));
w.task('s', async () => ({ a: undefined as string | undefined, b: null }));
void [g, i, l, o];
const each = w.map('each', { needs: { k }, over: ({ needs }) => [needs.k.v], settled: true }, ({ item }) => item + 1);
w.task(
  'good',
  { needs: { each } },
  ({ needs }) => needs.each.filter((e) => e.status === 'completed').map((e) => e.output).length,
);
// @ts-expect-error an outcome, not a number
w.task('bad', { needs: { each } }, ({ needs }) => needs.each[0]! + 1);
