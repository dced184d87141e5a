import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { indented } from '../core/plain.ts';
import { ownManifest } from '../own-files.ts';
import { defaultDatabase, defaultRegistry } from '../core/process/default-places.ts';
import { addCompletionsCommand } from './commands/completions.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addExecutionCommands } from './commands/execution.ts';
import { addPackageCommands } from './commands/package.ts';
import { addRunnerCommand } from './commands/runner.ts';
import { addScheduleCommands } from './commands/schedule.ts';
import { addWorkflowCommands } from './commands/workflow.ts';
import { withoutValue } from './failure.ts';
import { stdout } from './stdout.ts';

interface ProgramOptions {
  /** Commander prints no errors, because the error is printed as a document. */
  readonly quiet?: boolean;
  /** The command line to parse. */
  readonly words?: readonly string[];
}

/**
 * All commands of the CLI. This file does not load the engine: each command loads it when it runs.
 */
export function makeProgram({ quiet = false, words = [] }: ProgramOptions = {}): Command {
  const program = new Command('cloacina').description('Package, register, run and schedule durable workflows.');
  if (!hasVersionOption(words)) program.version(ownVersion(), '-V, --version');
  program
    .addOption(
      new Option(
        '--database <url>',
        'database URL; set a URL with a password in the environment, because every user of the machine can read command lines',
      )
        .env('CLOACINA_DATABASE')
        .default(defaultDatabase),
    )
    .addOption(
      new Option('--registry <url>', 'storage URL of package files').env('CLOACINA_REGISTRY').default(defaultRegistry),
    )
    .option('--tenant <name>', 'tenant to act as', 'default')
    .option('--json', 'print only JSON documents on stdout')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(see --help)')
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

/** Commander reads an option of the program behind a command too, and `--version` of these commands is their own. */
function hasVersionOption(words: readonly string[]): boolean {
  return words.includes('execution') && (words.includes('retry') || words.includes('fork'));
}

function ownVersion(): string {
  const text = readFileSync(ownManifest(), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
