/**
 * A runner in a separate process that executes commands of the bench and answers: `node bench/runner-process.ts URL`.
 */
import { Runner, workflow } from '../src/index.ts';
import { rate, systemMs } from './measure.ts';
import type { Rate } from './measure.ts';
import { shapes } from './scenarios.ts';

export type Asked =
  | { readonly what: 'rate'; readonly total: number; readonly atOnce: number }
  | { readonly what: 'cpu' }
  | { readonly what: 'close' };

export type Answer =
  | { readonly what: 'ready' }
  | { readonly what: 'rate'; readonly rate: Rate }
  /** Ms of CPU that the process has used so far. */
  | { readonly what: 'cpu'; readonly ms: number }
  /** A task has begun, in `systemMs`. */
  | { readonly what: 'began'; readonly at: number };

const { pipeline } = shapes();
const woken = workflow('woken');
woken.task('only', () => tell({ what: 'began', at: systemMs() }));
const gate = workflow('gate');
const go = gate.wait('go', { signal: 'go' });
gate.task('after', { needs: { go } }, () => tell({ what: 'began', at: systemMs() }));

const [, , url = ''] = process.argv;
const runner = await Runner.open(url, { workflows: [pipeline, woken, gate] });
process.on('message', (asked: Asked) => void answer(asked));
tell({ what: 'ready' });

async function answer(asked: Asked): Promise<void> {
  if (asked.what === 'rate')
    tell({ what: 'rate', rate: await rate(asked.total, asked.atOnce, () => runner.execute(pipeline)) });
  else if (asked.what === 'cpu') {
    const { user, system } = process.cpuUsage();
    tell({ what: 'cpu', ms: (user + system) / 1000 });
  } else {
    await runner.close();
    process.exit(0);
  }
}

function tell(message: Answer): void {
  process.send?.(message);
}
