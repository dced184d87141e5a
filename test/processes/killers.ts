/** Workflows that end the process of their runner outside of any task's function, and a runner for them. */
import { Runner, workflow } from '../../src/index.ts';
import { quick, silent } from './workflows.ts';

const exit = (): never => process.exit(7);
const deadly = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: exit,
    types: undefined as { input: unknown; output: unknown } | undefined,
  },
} as const;

const w = workflow('when');
w.task('a', { when: exit }, () => 1);

const o = workflow('over');
o.map('a', { over: exit }, () => 1);

const u = workflow('until');
u.sleep('a', { until: exit });

const c = workflow('childInput');
c.child('a', quick, { input: exit });

const s = workflow('schema', { input: deadly });
s.task('a', () => 1);

const p = workflow('childSchema');
p.child('a', s, { input: () => 1 });

export const killers = [w, o, u, c, s, p] as const;

if (process.argv[1] === import.meta.filename) {
  const runner = await Runner.open(process.argv[2], { workflows: [...killers, quick], logger: silent });
  const open = async (): Promise<number> => {
    const pages = await Promise.all(
      (['pending', 'running', 'waiting'] as const).map((status) => runner.executions.list({ status, limit: 1 })),
    );
    return pages.reduce((sum, { items }) => sum + items.length, 0);
  };
  while ((await open()) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await runner.close();
}
