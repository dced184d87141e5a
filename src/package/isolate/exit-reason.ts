import { CloacinaError } from '../../core/error.ts';
import { toTaskError } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { TaskCall } from '../../engine/workflow-code.ts';

/**
 * Why the process of an isolate ended. By itself: `exited`, `out_of_memory`. Ended by the host for what it did:
 * `stalled` (it did not answer), `too_slow` (it had not loaded), `abandoned` (a task ignored its signal), `broke_protocol`. For no fault of its own:
 * `closed` (with its isolate), `unused` (idle, or its one call is over), `not_started`.
 */
export type EndReason =
  | 'exited'
  | 'out_of_memory'
  | 'stalled'
  | 'too_slow'
  | 'abandoned'
  | 'broke_protocol'
  | 'closed'
  | 'unused'
  | 'not_started';

/** How an isolate's process ended that was not asked to. */
export interface IsolateDeath {
  readonly reason: EndReason;
  readonly code: number | null;
  readonly signal: string | null;
  /** The calls of tasks that were in it. */
  readonly calls: readonly TaskCall[];
  readonly error: TaskError;
}

export interface DeathFacts {
  readonly label: string;
  readonly reason: EndReason;
  readonly code: number | null;
  readonly signal: string | null;
  /** What adds to the reason: how long it was silent, what it sent. */
  readonly detail: string;
  /** What it printed last on stderr. */
  readonly tail: string;
  readonly calls: number;
}

/** V8 says this on stderr before it aborts; a buffer that cannot be had is an error of the code, not of the process. */
const memoryWords = /heap out of memory|FATAL ERROR: .*(allocation failed|out of memory)/i;

export function isOutOfMemory(tail: string): boolean {
  return memoryWords.test(tail);
}

export function deathError(facts: DeathFacts): TaskError {
  const { label, calls, tail } = facts;
  const among = calls > 1 ? ` with ${calls} calls in it` : '';
  const shown = tail === '' || !saysMore(facts.reason) ? '' : `\n${tail}`;
  const message = `the process of ${label} ended${among}: ${causeOf(facts)}${shown}`;
  return toTaskError(withoutStack(new CloacinaError('ISOLATE_EXITED', message)));
}

/** An error that stands for another process says nothing by a stack of this one. */
function withoutStack(error: CloacinaError): CloacinaError {
  Reflect.deleteProperty(error, 'stack');
  return error;
}

function saysMore(reason: EndReason): boolean {
  return reason === 'exited' || reason === 'out_of_memory' || reason === 'broke_protocol';
}

function causeOf({ reason, code, signal, detail }: DeathFacts): string {
  if (reason !== 'exited') return causes[reason](detail);
  if (signal === 'SIGKILL')
    return 'it was killed (SIGKILL) from outside, perhaps because the machine ran out of memory';
  return signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`;
}

/** What may keep a package from loading while its process answers. */
export const slowHint = 'a top-level await that never settles, or much work at its start';

const causes: Readonly<Record<Exclude<EndReason, 'exited'>, (detail: string) => string>> = {
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
