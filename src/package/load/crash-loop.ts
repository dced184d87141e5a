import type { IsolateExit } from '../isolate/isolate.ts';

/**
 * This number of different executions, each ending an isolate of the package within the time below, is a crash loop.
 */
const crashLimit = 3;
const windowMs = 5 * 60_000;

/** Exit reasons that the code is to blame for; `abandoned` ends a process for its task alone. */
const crashReasons: ReadonlySet<IsolateExit['reason']> = new Set([
  'exited',
  'out_of_memory',
  'stalled',
  'broke_protocol',
]);

/**
 * Counts the crashes of one version. One poisonous input ends only its own execution, however often, and counts once.
 */
export class CrashLoop {
  readonly #lastAt = new Map<string, number>();

  /**
   * Records an exit at a time (epoch ms). An exit with several executions in the process is attributed to none of them:
   * each runs again alone. Returns true once three different ones crashed within five minutes.
   */
  exited(exit: IsolateExit, at: number): boolean {
    const [execution, ...others] = new Set(exit.calls.map((call) => call.executionId));
    if (execution === undefined || others.length > 0 || !crashReasons.has(exit.reason)) return false;
    this.#lastAt.set(execution, at);
    for (const [id, last] of this.#lastAt) if (at - last > windowMs) this.#lastAt.delete(id);
    return this.#lastAt.size >= crashLimit;
  }
}
