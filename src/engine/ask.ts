import type { InputOutcome, Outcome } from './code.ts';

/** A question whose process was ended by something else so often is taken to end it itself. */
const maxTries = 5;

/** Asks code a question, again where its process was ended by what ran beside it: the innocent are not charged. */
export async function untilAnswered<T extends Outcome | InputOutcome>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    const outcome = await ask();
    if (outcome.status !== 'lost' || outcome.alone || tries === maxTries) return outcome;
  }
}
