/** Maximum nesting of schemas, followed references included, and of compared values. */
export const maxDepth = 100;

/** Steps of one check: a keyword evaluated, a member visited, 16 characters read. */
const maxSteps = 50_000;

/** Ends a check whose budget has ended. */
export const exhausted: Error = new Error('the budget of a check has ended');

/** The steps that one check may still take. */
export class Budget {
  #steps = maxSteps;

  /** Throws `exhausted`. */
  spend(steps: number): void {
    this.#steps -= steps;
    if (this.#steps < 0) throw exhausted;
  }
}
