import { CloacinaError } from '../../core/error.ts';
import { toTaskError } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { TaskCall } from '../../engine/workflow-code.ts';

/**
 * The reason for the end of an isolate's process. By itself: `exited`, `out_of_memory`. Ended by the host for its
 * behaviour: `stalled` (it did not answer), `too_slow` (it did not finish loading), `abandoned` (a task ignored its
 * signal), `broke_protocol`. Without any fault: `closed` (with its isolate), `unused` (idle, or its only call is over),
 * `not_started`.
 */
export type ExitReason =
  | 'exited'
  | 'out_of_memory'
  | 'stalled'
  | 'too_slow'
  | 'abandoned'
  | 'broke_protocol'
  | 'closed'
  | 'unused'
  | 'not_started';

/** An unrequested end of an isolate's process. */
export interface ProcessExit {
  readonly reason: ExitReason;
  readonly code: number | null;
  readonly signal: string | null;
  /** The task calls that were running in it. */
  readonly calls: readonly TaskCall[];
  readonly error: TaskError;
}

/** The same, with the tenant whose process it was. */
export interface IsolateExit extends ProcessExit {
  readonly tenant: string;
}

export interface ExitFacts {
  readonly label: string;
  readonly reason: ExitReason;
  readonly code: number | null;
  readonly signal: string | null;
  /** Details of the reason, such as the time of silence or the invalid message. */
  readonly detail: string;
  /** Its last output on stderr. */
  readonly tail: string;
  readonly calls: number;
}

/**
 * V8 prints this on stderr before it aborts. A failed allocation of a buffer is an error of the code and does not end
 * the process.
 */
const outOfMemoryText = /heap out of memory|FATAL ERROR: .*(allocation failed|out of memory)/i;

export function isOutOfMemory(tail: string): boolean {
  return outOfMemoryText.test(tail);
}

export function exitError(facts: ExitFacts): TaskError {
  const { label, calls, tail } = facts;
  const among = calls > 1 ? ` with ${calls} calls in it` : '';
  const shown = tail === '' || !hasUsefulTail(facts.reason) ? '' : `\n${tail}`;
  const message = `the process of ${label} ended${among}: ${reasonText(facts)}${shown}`;
  return toTaskError(withoutStack(new CloacinaError('ISOLATE_EXITED', message)));
}

/** Removes the stack of an error about another process: a stack of this process tells nothing about it. */
function withoutStack(error: CloacinaError): CloacinaError {
  Reflect.deleteProperty(error, 'stack');
  return error;
}

function hasUsefulTail(reason: ExitReason): boolean {
  return reason === 'exited' || reason === 'out_of_memory' || reason === 'broke_protocol';
}

function reasonText({ reason, code, signal, detail }: ExitFacts): string {
  if (reason !== 'exited') return reasonTexts[reason](detail);
  if (signal === 'SIGKILL') {
    return 'it was killed (SIGKILL) from outside, perhaps because the machine ran out of memory';
  }
  return signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`;
}

/** Possible reasons why a package does not load while its process answers. */
export const slowHint = 'a top-level await that never settles, or much work at its start';

const reasonTexts: Readonly<Record<Exclude<ExitReason, 'exited'>, (detail: string) => string>> = {
  out_of_memory: (detail) => `it ran out of memory (${detail})`,
  stalled: (detail) =>
    `it did not answer for ${detail}, so it was killed; an endless loop, or work that blocks its event loop`,
  too_slow: (detail) => `it had not loaded after ${detail}, so it was killed; ${slowHint}`,
  abandoned: () => 'a task in it did not stop when its signal fired, so it was killed',
  broke_protocol: (detail) => `it sent an invalid message (${detail}), so it was killed`,
  closed: () => 'the package was unloaded',
  unused: () => 'it was no longer needed',
  not_started: (detail) => `it could not be started: ${detail}`,
};
