import { settled, workflow } from 'cloacina';
import { z } from 'zod';

const Expense = z.object({
  employee: z.string(),
  purpose: z.string(),
  cents: z.int().positive(),
});

/** What somebody who decides has to send. */
const Decision = z.object({ approved: z.boolean(), by: z.string(), note: z.string().default('') });

/** Smaller amounts need nobody's approval. */
const limitCents = 10_000;

const expense = workflow('expense', { input: Expense, description: 'Pays an expense back, once it is approved.' });

const booked = expense.task('book', ({ input, executionId }) => {
  return { voucher: `V-${executionId.slice(-6)}`, text: `${input.purpose}, ${input.employee}` };
});

const decision = expense.wait('decision', {
  needs: { booked },
  when: ({ input }) => input.cents > limitCents,
  signal: 'decision',
  schema: Decision,
  timeout: '3d',
});

const verdict = expense.task('verdict', { needs: { decision: settled(decision) } }, ({ needs }) => {
  switch (needs.decision.status) {
    case 'completed': {
      const { approved, by, note } = needs.decision.output;
      return { pay: approved, why: `${approved ? 'approved' : 'refused'} by ${by}${note === '' ? '' : `: ${note}`}` };
    }
    case 'skipped':
      return { pay: true, why: 'small enough' };
    default:
      return { pay: false, why: 'nobody decided within three days' };
  }
});

const payment = expense.task(
  'pay',
  { needs: { booked, verdict }, when: ({ needs }) => needs.verdict.pay },
  ({ input, needs }) => `${(input.cents / 100).toFixed(2)} EUR to ${input.employee} for ${needs.booked.voucher}`,
);

const answer = expense.task('answer', { needs: { verdict, payment: settled(payment) } }, ({ needs }) => {
  const paid = needs.payment.status === 'completed' ? needs.payment.output : null;
  return { why: needs.verdict.why, paid };
});

export const expenses = expense.returns(answer);
