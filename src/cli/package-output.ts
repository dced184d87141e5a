import { indented } from '../core/plain.ts';
import type { Logger } from '../engine/logger.ts';

/** A line that a package wrote on stdout or stderr, and the attempt that wrote it. */
export interface PackageOutput {
  /** `daily-load v1.0.0` */
  readonly package: string;
  readonly stream: 'stdout' | 'stderr';
  readonly line: string;
  /** Null for code that was loading, or that a task left running. */
  readonly attempt: {
    readonly executionId: string;
    readonly task: string;
    readonly item: number | null;
    readonly attempt: number;
  } | null;
}

/** A logger that hands the output of packages to `show`, and everything else to another logger. */
export function outputLogger(show: (output: PackageOutput) => void, other: Logger): Logger {
  const at =
    (level: 'info' | 'warn') =>
    (data: object, message: string): void => {
      const output = outputOf(data, message);
      if (output === null) other[level](data, message);
      else show(output);
    };
  return { ...other, info: at('info'), warn: at('warn') };
}

function outputOf(data: object, line: string): PackageOutput | null {
  const { package: name, stream, execution, task, item, attempt } = data as { readonly [field: string]: unknown };
  if (typeof name !== 'string' || (stream !== 'stdout' && stream !== 'stderr')) return null;
  const isKnown = typeof execution === 'string' && typeof task === 'string' && typeof attempt === 'number';
  const which = isKnown
    ? { executionId: execution, task, item: typeof item === 'number' ? item : null, attempt }
    : null;
  return { package: name, stream, line, attempt: which };
}

/** `load[3] | the line`, or with the package where no task is known. */
export function outputText({ package: name, line, attempt }: PackageOutput): string {
  const item = attempt === null || attempt.item === null ? '' : `[${attempt.item}]`;
  return indented(`${attempt === null ? name : `${attempt.task}${item}`} | ${line}`);
}
