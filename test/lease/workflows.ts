import { appendFileSync } from 'node:fs';
import { workflow } from '../../src/index.ts';

interface Spin {
  readonly ms: number;
  /** A file that gets a line for each attempt that begins. */
  readonly file: string;
}

/** Blocks the event loop of its runner. */
export const spinning = workflow('spinning');
const spin = spinning.task('spin', { retry: { attempts: 5, delay: 10 } }, ({ input }) => {
  const { ms, file } = input as unknown as Spin;
  appendFileSync(file, `${process.pid}\n`);
  // the second run does not block
  const end = Date.now() + (process.env['SPINS'] === undefined ? 0 : ms);
  while (Date.now() < end);
  return process.pid;
});
spinning.returns(spin);
