import type { Command } from 'commander';
import { durationMs } from '../../core/duration.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { Interruption } from '../interruption.ts';

/** The demo command: the life of a package, from its sources to its statistics. */
export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description(
      'build, register, run and schedule a package over real orders, then show its statistics; ' +
        'in ./.cloacina-demo unless --database and --registry name other places',
    )
    .option('--for <duration>', 'how long scheduled executions are shown', '2m')
    .option('--every <duration>', 'how often the schedule fires', '30s')
    .action(act(demo));
}

async function demo(cli: Cli, options: { readonly for: string; readonly every: string }): Promise<void> {
  const forMs = durationMs(options.for, 'for');
  const everyMs = durationMs(options.every, 'every');
  using interruption = new Interruption().also(cli.output.closed);
  const { runDemo } = await import('../demo/run-demo.ts');
  await runDemo({
    forMs,
    everyMs,
    ...cli.chosen,
    json: cli.output.json,
    out: (line) => cli.output.line(line),
    signal: interruption.signal,
  });
}
