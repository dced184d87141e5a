import { CommanderError } from 'commander';
import { messageOf } from '../core/foreign/error-text.ts';
import { isError } from '../core/foreign/realms.ts';
import { toTaskError } from '../core/foreign/thrown.ts';
import type { TaskError } from '../core/task-error.ts';
import { CloacinaError, errorDocument } from '../core/error.ts';
import type { Problem } from '../core/error.ts';
import { errorTable } from '../core/error-table.ts';
import { indented, plainJson } from '../core/plain.ts';
import { paint } from './output.ts';
import { stdout } from './stdout.ts';

/** The command line is invalid; exit code 2. */
export class UsageError extends CloacinaError {
  constructor(message: string, cause?: unknown) {
    super('USAGE', message, cause === undefined ? undefined : { cause });
  }
}

/** Prints an error, as a document on stdout or as text on stderr, and sets the exit code of the process. */
export function report(thrown: unknown, json: boolean): void {
  if (thrown instanceof CommanderError && thrown.exitCode === 0) return; // --help and --version already printed their text
  const error = coded(thrown);
  process.exitCode = errorTable[error.code].exit;
  if (error.code === 'INTERNAL') process.stderr.write(`${indented(stackOf(error.cause))}\n`);
  if (json && told({ error: errorDocument(error) })) return;
  // commander has already printed its own errors with the usage of the command
  if (!json && thrown instanceof CommanderError) return;
  const { stderr } = process;
  process.stderr.write(`${paint('red', 'error', stderr)} ${error.code}: ${indented(error.message)}\n`);
  for (const line of details(error)) process.stderr.write(`  ${indented(line)}\n`);
  process.stderr.write(`${paint('dim', errorTable[error.code].remedy, stderr)}\n`);
}

/** Prints one line, because it may end a stream of documents. Returns false if stdout cannot be written. */
function told(document: object): boolean {
  try {
    stdout.write(`${plainJson(JSON.stringify(document))}\n`);
    return true;
  } catch {
    return false;
  }
}

/** Converts any thrown value to an error with a code. */
export function coded(thrown: unknown): CloacinaError {
  if (thrown instanceof CloacinaError) return thrown;
  if (thrown instanceof CommanderError) return new UsageError(usageMessage(thrown));
  return new CloacinaError('INTERNAL', `this is a bug in Cloacina: ${messageOf(thrown)}`, { cause: thrown });
}

function usageMessage(error: CommanderError): string {
  if (error.code === 'commander.help') return 'a command is missing; see --help';
  return withoutValue(error.message.replace(/^error: /, '').replaceAll('\n', ' '));
}

/** Removes the value from commander's message about an unknown option: it may be a misspelt `--database=URL` with a password. */
export function withoutValue(text: string): string {
  return text.replace(/(unknown option '--?[\w-]+)=[^]*?'(?=\s|$)/, "$1'");
}

/** The lines after the message: problems and causes. */
function details(error: CloacinaError): string[] {
  const lines: string[] = [];
  const { problems = [] } = error as { readonly problems?: readonly Problem[] };
  // the message already contains a single problem without a hint
  for (const { code, path, message, hint } of problems) {
    if (problems.length > 1 || hint !== undefined)
      lines.push(`${code} ${path}: ${message}${hint === undefined ? '' : `; ${hint}`}`);
  }
  if (isError(error.cause)) {
    for (const { name, message } of all(toTaskError(error.cause))) {
      if (!error.message.includes(message)) lines.push(`caused by ${name}: ${message}`);
    }
  }
  return lines.slice(0, maxLines);
}

const maxLines = 40;

/** An error, its parts and its causes. */
function all(error: TaskError): readonly TaskError[] {
  const { errors = [], cause } = error;
  return [error, ...errors.flatMap(all), ...(cause === undefined ? [] : all(cause))];
}

function stackOf(thrown: unknown): string {
  return isError(thrown) && thrown.stack !== undefined ? thrown.stack : messageOf(thrown);
}
