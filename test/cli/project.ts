import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const entry = `
import { NonRetryableError, workflow } from 'cloacina';

// what a schema library brings along: its own check, and its JSON Schema
const numbers = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      const list = value?.numbers;
      if (!Array.isArray(list)) return { issues: [{ message: 'a list of numbers is needed', path: ['numbers'] }] };
      const issues = list.flatMap((item, at) =>
        typeof item === 'number' ? [] : [{ message: 'a number is needed', path: ['numbers', at] }],
      );
      return issues.length > 0 ? { issues } : { value };
    },
    jsonSchema: {
      input: () => ({
        type: 'object',
        properties: { numbers: { type: 'array', items: { type: 'number' } } },
        required: ['numbers'],
      }),
    },
  },
};

const adding = workflow('adding', { input: numbers, description: 'Adds numbers.' });
const sum = adding.task('sum', ({ input }) => input.numbers.reduce((a, b) => a + b, 0));
const twice = adding.task('twice', { needs: { sum }, description: 'Doubles it.' }, ({ needs }) => needs.sum * 2);
export const flow = adding.returns(twice);

const failing = workflow('failing', {});
failing.task('give_up', () => {
  throw new NonRetryableError('the \\u001b[31mwell is dry');
});
failing.task('fine', () => 1);
export { failing };

const endless = workflow('endless', {});
endless.task('wait', { retry: { attempts: 2 } }, ({ signal }) => new Promise((resolve, reject) => {
  signal.addEventListener('abort', () => reject(signal.reason));
  setInterval(() => {}, 1000);
}));
export { endless };
`;

/** A project to pack, `cli_flows`: workflows that add, that fail, and that never end. */
export async function writeProject(dir: string, version: string, comment = ''): Promise<void> {
  await mkdir(join(dir, 'src'), { recursive: true });
  const about = { name: 'cli_flows', version, type: 'module', cloacina: { entry: 'src/index.ts' } };
  await writeFile(join(dir, 'package.json'), JSON.stringify(about));
  await writeFile(join(dir, 'src', 'index.ts'), `${entry}\nexport const comment = ${JSON.stringify(comment)};\n`);
}
