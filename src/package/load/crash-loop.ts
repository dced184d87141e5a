import type { IsolateDeath } from '../isolate/isolate.ts';

/** So many different executions, each ending an isolate of the package within so long, are no accident. */
const crashLimit = 3;
const windowMs = 5 * 60_000;

/** The ends of a process that its code is to blame for; one that ignored an abort was ended for its task alone. */
const blamed: ReadonlySet<IsolateDeath['reason']> = new Set(['exited', 'out_of_memory', 'stalled', 'broke_protocol']);

/** Counts the crashes of one version. One poisonous input takes down its own execution, however often: that is one. */
export class CrashLoop {
  readonly #lastAt = new Map<string, number>();

  /**
   * Takes in a death at a time (epoch ms). A process that died with several executions in it accuses none of them: each is run again alone.
   * True once three different ones crashed within five minutes.
   */
  died(death: IsolateDeath, at: number): boolean {
    const [execution, ...others] = new Set(death.calls.map((call) => call.executionId));
    if (execution === undefined || others.length > 0 || !blamed.has(death.reason)) return false;
    this.#lastAt.set(execution, at);
    for (const [id, last] of this.#lastAt) if (at - last > windowMs) this.#lastAt.delete(id);
    return this.#lastAt.size >= crashLimit;
  }
}
