// Accepted and refused uses of the definition API: every `@ts-expect-error` must stay an error. Checked by tsc, never
// run.
import { z } from 'zod';
import { settled, unchecked, workflow } from '../../src/index.ts';
import type { Runner, Task } from '../../src/index.ts';

const etl = workflow('etl', { input: z.object({ url: z.string() }) });
const extract = etl.task('extract', async ({ input }) => ({ rows: [1, 2, 3], from: input.url }));
const scale = etl.map(
  'scale',
  { needs: { extract }, over: ({ needs }) => needs.extract.rows, concurrency: 2 },
  ({ item }) => item * 2,
);
const load = etl.task(
  'load',
  { needs: { scaled: scale, raw: extract }, retry: { attempts: 5 } },
  async ({ needs, input }) => ({
    total: needs.scaled.reduce((a, b) => a + b, 0),
    from: needs.raw.from,
    url: input.url,
  }),
);
const approval = etl.wait('approval', { needs: { load }, signal: 'approved', schema: z.object({ by: z.string() }) });
const notify = etl.task(
  'notify',
  { needs: { r: settled(load), approval }, when: ({ needs }) => needs.approval.by !== '' },
  ({ needs }) => (needs.r.status === 'completed' ? needs.r.output.total : -1),
);
const t: Task<'etl', number> = notify;
export const done = etl.returns(load);
const parent = workflow('parent');
const kid = parent.child('kid', done, { input: () => ({ url: 'x' }) });
const after = parent.task('after', { needs: { kid } }, ({ needs }) => needs.kid.total + 1);
declare const runner: Runner;
const n: number = (await runner.execute(done, { url: 'u' })).output.total;
// @ts-expect-error undeclared need
etl.task('b1', { needs: { extract } }, ({ needs }) => needs.load);
// @ts-expect-error wrong field
etl.task('b2', { needs: { load } }, ({ needs }) => needs.load.nope);
// @ts-expect-error cycle
const a = etl.task('a', { needs: { b } }, () => 1);
// @ts-expect-error cycle
const b = etl.task('b', { needs: { a } }, () => 1);
// @ts-expect-error alien
etl.task('b3', { needs: { after } }, () => 1);
// @ts-expect-error function output
etl.task('b4', async () => ({ f: () => 1 }));
// @ts-expect-error date output
etl.task('b5', { needs: { load } }, async () => ({ at: new Date() }));
// @ts-expect-error child input
parent.child('k2', done, { input: () => ({ url: 3 }) });
// @ts-expect-error bad input
void runner.execute(done, { uri: 'u' });
// start() takes the schema's input, in which a default may be left out; the task sees it filled in
const page = workflow('page', { input: z.object({ url: z.string(), depth: z.number().default(3) }) });
const deep = page.task('deep', ({ input }) => input.depth + 1);
const crawl = page.returns(deep);
void runner.execute(crawl, { url: 'u' });
parent.child('k3', crawl, { input: () => ({ url: 'u' }), timeout: '2h' });
parent.child('k4', 'crawl', { input: () => ({}), timeout: 60_000 });
// @ts-expect-error a child has no retry
parent.child('k5', crawl, { input: () => ({ url: 'u' }), retry: { attempts: 2 } });
// @ts-expect-error depth is a number
void runner.execute(crawl, { url: 'u', depth: 'deep' });
// without a schema the input may be left out, and a value of an interface type passes
interface Order {
  id: string;
  total: number;
}
declare const order: Order;
const free = workflow('free');
const seen = free.task('seen', ({ input, log }) => {
  log.info('seen');
  return input;
});
const freeDone = free.returns(seen);
void runner.execute(freeDone);
void runner.execute(freeDone, order);
void runner.execute('free', order);
// a type without a check
const typed = workflow('typed', { input: unchecked<Order>() });
const sum = typed.task(
  'sum',
  { retry: { attempts: 2, maxDelay: '1m', jitter: 0.1 }, queue: 'big' },
  ({ input, executionId }) => ({ id: executionId, total: input.total + 1 }),
);
typed.schedule('nightly', { cron: '0 2 * * *', timezone: 'Europe/Berlin', input: order, overlap: 'skip' });
const typedDone = typed.returns(sum);
void runner.execute(typedDone, order);
// an interface as an output
const echo = typed.task('echo', ({ input }): Order => input);
const twice = typed.task('twice', { needs: { echo } }, ({ needs }) => needs.echo.total * 2);
void twice;
// a conditional output
const maybe = typed.returns(settled(sum));
const m = (await runner.execute(maybe, order)).output;
if (m.status === 'completed') {
  const x: number = m.output.total;
  void x;
}
// @ts-expect-error the input is needed
void runner.execute(typedDone);
// @ts-expect-error no such policy
typed.schedule('bad', { cron: '* * * * *', input: order, overlap: 'sometimes' });
// @ts-expect-error the schedule's input is checked
typed.schedule('bad2', { cron: '* * * * *', input: { id: 3 } });
// @ts-expect-error a settled output has no total before its status is known
void (await runner.execute(maybe, order)).output.total;
// @ts-expect-error a sleep has no retry
typed.sleep('z', { for: '1d', retry: { attempts: 2 } });
void [t, n];
