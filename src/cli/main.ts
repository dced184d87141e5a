import { report } from './failure.ts';
import { makeProgram } from './program.ts';

/**
 * Runs the command of `argv` (without Node and script) and sets the exit code of the process: 0, or the `exit` of the
 * error's row in the table of codes. The process is not ended explicitly: pending output is flushed first.
 */
export async function main(argv: readonly string[]): Promise<void> {
  // as in the library, an empty variable counts as unset
  for (const name of ['CLOACINA_DATABASE', 'CLOACINA_REGISTRY', 'CLOACINA_QUEUES']) {
    if (process.env[name] === '') delete process.env[name];
  }
  const json = beforeTerminator(argv).includes('--json');
  const program = makeProgram({ quiet: json });
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
