import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { indented } from '../core/plain.ts';
import { defaultDatabase, defaultRegistry } from '../core/default-places.ts';
import { addCompletionsCommand } from './commands/completions.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addExecutionCommands } from './commands/execution.ts';
import { addPackageCommands } from './commands/package.ts';
import { addRunnerCommand } from './commands/runner.ts';
import { addScheduleCommands } from './commands/schedule.ts';
import { addWorkflowCommands } from './commands/workflow.ts';
import { withoutValue } from './failure.ts';
import { stdout } from './stdout.ts';

/**
 * Builds all commands of the CLI. With `quiet` commander prints no errors, since they are printed as JSON. Nothing here
 * loads the engine: each command loads the modules it needs when it runs.
 */
export function makeProgram({ quiet = false }: { readonly quiet?: boolean } = {}): Command {
  const program = new Command('cloacina')
    .description('Durable workflows: package them, register them, run them, schedule them.')
    .version(ownVersion(), '-V, --version')
    .addOption(
      new Option(
        '--database <url>',
        'database; put a URL with a password into the environment, since every user of the machine can read a command line',
      )
        .env('CLOACINA_DATABASE')
        .default(defaultDatabase),
    )
    .addOption(
      new Option('--registry <url>', 'where the bytes of packages lie')
        .env('CLOACINA_REGISTRY')
        .default(defaultRegistry),
    )
    .option('--tenant <name>', 'tenant to speak for', 'default')
    .option('--json', 'print JSON documents on stdout, and nothing else there')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(--help shows how it is used)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      outputError: (text, write) => write(`${indented(withoutValue(text.trimEnd()))}\n`),
      ...(quiet ? { writeErr: () => undefined } : {}),
    });
  addPackageCommands(program);
  addWorkflowCommands(program);
  addExecutionCommands(program);
  addScheduleCommands(program);
  addRunnerCommand(program);
  addDemoCommand(program);
  addCompletionsCommand(program);
  return program;
}

/** `package.json` is two folders above both `src/cli` and `dist/cli`. */
function ownVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
