import { toTaskError } from '../../core/task-error.ts';
import type { InputOutcome, Outcome } from '../workflow-code.ts';

type Lost = Extract<Outcome, { readonly status: 'lost' }>;

/** A question whose process was ended by something else so often is taken to end it itself. */
const maxTries = 5;

/**
 * Asks code a question, again where its process was ended by what ran beside it: the innocent are not charged. Never
 * rejects: a fault on the way to the code costs the task that asked, and not the process that runs all the others.
 */
export async function untilAnswered<T extends Outcome | InputOutcome>(ask: () => Promise<T>): Promise<T | Lost> {
  for (let tries = 1; ; tries++) {
    let outcome: T;
    try {
      outcome = await ask();
    } catch (error) {
      return { status: 'lost', alone: true, error: toTaskError(error, 'INTERNAL') };
    }
    if (outcome.status !== 'lost' || outcome.alone || tries === maxTries) return outcome;
  }
}
