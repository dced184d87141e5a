import { readFile } from 'node:fs/promises';
import { NonRetryableError, settled, unchecked, workflow } from 'cloacina';

interface Input {
  readonly numbers: readonly number[];
}

/** As a schema library brings it: its own check, and its JSON Schema. */
const input = {
  '~standard': {
    version: 1,
    vendor: 'tour',
    validate: (value: unknown) => {
      const numbers: unknown = Reflect.get(Object(value), 'numbers');
      if (!Array.isArray(numbers)) return { issues: [{ message: 'a list is needed', path: ['numbers'] }] };
      return { value: { numbers: numbers as readonly number[] } };
    },
    jsonSchema: {
      input: () => ({ type: 'object', properties: { numbers: { type: 'array' } }, required: ['numbers'] }),
    },
    types: undefined as unknown as { readonly input: Input; readonly output: Input },
  },
} as const;

const halving = workflow('halving', { input: unchecked<{ readonly n: number }>() });
export const half = halving.returns(halving.task('halve', (ctx) => ctx.input.n / 2));

const flow = workflow('tour', { input, description: 'One task of each kind.', retention: '7d', failFast: false });

const words = flow.task('words', { timeout: '1m' }, async ({ env, log, progress, signal, step }) => {
  const text = await readFile(new URL('./words.txt', import.meta.url), { encoding: 'utf8', signal });
  const lines = await step('split', () => text.trim().split('\n'));
  progress(1, 'split');
  log.info('split', { lines: lines.length, token: env['TOUR_TOKEN'] ?? null });
  return lines;
});

const again = flow.task(
  'again',
  { retry: { attempts: 3, delay: '1ms', jitter: 0, when: (error) => error instanceof RangeError } },
  ({ attempt }) => {
    if (attempt === 1) throw new RangeError('not yet');
    return attempt;
  },
);

const never = flow.task('never', { needs: { words }, when: ({ needs }) => needs.words.length > 99 }, () => 1);

const given = flow.task('given', () => {
  throw new NonRetryableError('given up');
});

const doubled = flow.map('doubled', { over: (ctx) => ctx.input.numbers, concurrency: 2 }, ({ item, index }) => {
  return item * 2 + index;
});

const child = flow.child('half', half, {
  needs: { doubled },
  input: ({ needs }) => ({ n: needs.doubled.reduce((sum, each) => sum + each, 0) }),
});

const pause = flow.sleep('pause', { needs: { child }, for: '10ms' });
const approval = flow.wait<{ readonly by: string }>('approval', {
  signal: 'approved',
  needs: { pause },
  timeout: '1d',
});

const report = flow.task(
  'report',
  { needs: { words, again, child, approval, never: settled(never), given: settled(given) } },
  ({ needs, workflow: name, task, idempotencyKey }) => ({
    words: needs.words,
    again: needs.again,
    half: needs.child,
    approved: needs.approval,
    never: needs.never.status,
    given: needs.given.status === 'failed' ? needs.given.error.message : needs.given.status,
    named: `${name}/${task}`,
    hasKey: idempotencyKey !== '',
  }),
);

flow.schedule('yearly', { cron: '0 0 1 1 *', timezone: 'Europe/Berlin', input: { numbers: [1] }, paused: true });

export default flow.returns(report);
