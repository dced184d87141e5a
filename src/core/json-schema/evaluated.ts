import { either } from './verdict.ts';
import type { Verdict } from './verdict.ts';

/**
 * The members or items of one value that a schema evaluates, which `unevaluatedProperties` and `unevaluatedItems` ask
 * for. A key is `fits` if it is certainly evaluated, `differs` if it certainly is not.
 */
export class Evaluated {
  readonly #keys = new Map<string | number, Verdict>();
  #all: Verdict = 'differs';

  get size(): number {
    return this.#keys.size;
  }

  mark(key: string | number, verdict: Verdict): void {
    if (verdict !== 'differs') this.#keys.set(key, either(this.#keys.get(key) ?? 'differs', verdict));
  }

  markAll(verdict: Verdict): void {
    this.#all = either(this.#all, verdict);
  }

  verdictOf(key: string | number): Verdict {
    return either(this.#all, this.#keys.get(key) ?? 'differs');
  }

  /** Adds the keys that a part of the schema evaluated. A part that perhaps fits evaluated them perhaps. */
  add(part: Evaluated, verdict: Verdict): void {
    if (verdict === 'differs') return;
    const demoted = (each: Verdict): Verdict => (each === 'fits' ? verdict : each);
    this.markAll(demoted(part.#all));
    for (const [key, each] of part.#keys) this.mark(key, demoted(each));
  }
}
