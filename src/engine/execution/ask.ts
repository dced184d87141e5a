import { toTaskError } from '../../core/task-error.ts';
import type { InputOutcome, Outcome } from '../workflow-code.ts';

type Lost = Extract<Outcome, { readonly status: 'lost' }>;

/** After this many crashes beside other work, a question counts as the cause of the crash. */
const maxTries = 5;

/**
 * Asks user code a question, and again if other work has crashed its process: an innocent question is not charged. Never
 * rejects: a fault on the way to the code fails the task that asked, not the process with all other tasks.
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
