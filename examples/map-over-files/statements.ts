import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NonRetryableError, unchecked, workflow } from 'cloacina';

const readText = (path: string, signal: AbortSignal): Promise<string> => readFile(path, { encoding: 'utf8', signal });

/** `read` is given so that a test can look over its shoulder. */
export function bankStatements(read: typeof readText = readText) {
  const flow = workflow('bank-statements', {
    input: unchecked<{ folder: string }>(),
    description: 'Adds up the bank statements of a folder.',
  });

  const files = flow.task('list files', async ({ input }) => {
    const names = await readdir(input.folder);
    return names.filter((name) => name.endsWith('.csv')).toSorted();
  });

  const sums = flow.map(
    'add up',
    {
      needs: { files },
      over: ({ needs }) => needs.files,
      concurrency: 2, // files at once
      settled: true, // a file that cannot be read does not fail the others
      retry: { attempts: 3, delay: '1s' },
    },
    async ({ input, item, signal }) => {
      const text = await read(join(input.folder, item), signal);
      const [, ...lines] = text.trim().split(/\r?\n/);
      return { lines: lines.length, cents: lines.reduce((sum, line) => sum + centsOf(line), 0) };
    },
  );

  const total = flow.task('total', { needs: { files, sums } }, ({ needs }) => {
    const refused: { file: string; why: string }[] = [];
    let [lines, cents] = [0, 0];
    // outcomes come in the order of the items
    for (const [index, outcome] of needs.sums.entries()) {
      const file = needs.files[index]!;
      if (outcome.status === 'completed') {
        lines += outcome.output.lines;
        cents += outcome.output.cents;
      } else {
        refused.push({ file, why: outcome.status === 'failed' ? outcome.error.message : outcome.status });
      }
    }
    return { files: needs.files.length, lines, cents, refused };
  });

  return flow.returns(total);
}

function centsOf(line: string): number {
  const amount = line.slice(line.lastIndexOf(',') + 1);
  // it will not be a number the next time either
  if (!/^-?\d+\.\d\d$/.test(amount)) throw new NonRetryableError(`'${amount}' is no amount`);
  return Number(amount.replace('.', ''));
}
