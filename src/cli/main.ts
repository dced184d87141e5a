import { report } from './failure.ts';
import { makeProgram } from './program.ts';

/**
 * Runs the command in `argv` (without Node and script) and sets the exit code of the process: 0, or the `exit`
 * of the error in the error table. It does not end the process, so that all output is flushed.
 */
export async function main(argv: readonly string[]): Promise<void> {
  // an empty variable counts as unset, as in the library
  for (const name of ['CLOACINA_DATABASE', 'CLOACINA_REGISTRY', 'CLOACINA_QUEUES', 'CLOACINA_PACKAGE_MEMORY']) {
    if (process.env[name] === '') delete process.env[name];
  }
  const json = beforeTerminator(argv).includes('--json');
  const program = makeProgram({ quiet: json, words: argv });
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    report(error, json);
  }
}

function beforeTerminator(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return end === -1 ? argv : argv.slice(0, end);
}
