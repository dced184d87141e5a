import { reasonBelow } from '../core/task-error.ts';
import type { TaskError } from '../core/task-error.ts';
import { ownFolder } from '../own-files.ts';

/** An error on one line: its message, and the reason below it. */
export function errorSummary(error: TaskError): string {
  const reason = reasonBelow(error);
  return reason === null ? error.message : `${error.message}: ${reason}`;
}

/** Maximum number of frames of one error that are shown. */
const shownFrames = 5;

/**
 * An error, its causes and its parts, each on one line. `frames`: with the frames of the user's own sources below each.
 */
export function errorLines(error: TaskError, frames: boolean): readonly string[] {
  return [headOf(error), ...(frames ? framesOf(error) : []), ...linesBelow(error, frames)];
}

/** The lines of `errorLines` without those of the error itself. */
export function linesBelow(error: TaskError, frames: boolean): readonly string[] {
  const { cause, omittedCauses = 0, errors = [], omittedErrors = 0 } = error;
  const lines = errors.flatMap((part) => indent(errorLines(part, frames), 'with '));
  if (omittedErrors > 0) lines.push(`  and ${counted(omittedErrors, 'more error')}`);
  if (omittedCauses > 0)
    lines.push(`  caused by ${counted(omittedCauses, 'error')} that ${omittedCauses === 1 ? 'is' : 'are'} not kept`);
  if (cause === undefined) return lines;
  // a cause is no deeper than its error: chains are long
  const [head = '', ...rest] = errorLines(cause, frames);
  return [...lines, `  caused by ${head}`, ...rest];
}

function headOf({ name, code, message }: TaskError): string {
  return `${name}: ${message}${code === 'TASK_FAILED' ? '' : ` (${code})`}`;
}

function indent([head = '', ...rest]: readonly string[], mark: string): readonly string[] {
  return [`  ${mark}${head}`, ...rest.map((line) => `  ${line}`)];
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

/** Frames of Node itself and of this library, which an author cannot change. */
const foreignFrame = /\bnode:|[\\/]node_modules[\\/]cloacina[\\/]/;
/** The folder of an unpacked package, before the path in its sources. */
const packageFolder = /(?:file:\/\/)?[^\s(]*[\\/]sha256-[0-9a-f]{64}[\\/](?:source[\\/])?/;

function framesOf({ stack = '' }: TaskError): readonly string[] {
  const own = (stack.match(/^ +at .+$/gm) ?? []).filter((frame) => {
    return !foreignFrame.test(frame) && !frame.includes(ownFolder());
  });
  return own.slice(0, shownFrames).map((frame) => {
    const shown = frame
      .trim()
      .replace(packageFolder, '')
      .replace(/(?<=[\s(])file:\/\//, '');
    return `    ${shown}`;
  });
}
