import { settled, unchecked, workflow } from 'cloacina';

export interface Invoice {
  readonly number: string;
  readonly customer: string;
  /** ISO 8601. */
  readonly dueAt: string;
}

/** What the workflow does to the world, given to it so that a test can look. */
export interface Office {
  readonly isPaid: (invoice: Invoice) => Promise<boolean>;
  readonly send: (to: string, text: string) => Promise<void>;
}

export function invoiceReminder({ isPaid, send }: Office) {
  const flow = workflow('invoice', { input: unchecked<Invoice>() });

  const sent = flow.task('send', async ({ input, log }) => {
    await send(input.customer, `invoice ${input.number}, due on ${input.dueAt.slice(0, 10)}`);
    log.info('sent', { to: input.customer });
  });

  const due = flow.sleep('until it is due', { needs: { sent }, until: ({ input }) => Date.parse(input.dueAt) });

  const first = flow.task('look', { needs: { due } }, ({ input }) => isPaid(input));

  const reminded = flow.task('remind', { needs: { first }, when: ({ needs }) => !needs.first }, async ({ input }) => {
    await send(input.customer, `reminder: invoice ${input.number} is due`);
  });

  const patience = flow.sleep('two more weeks', { needs: { reminded }, for: '14 days' });

  const second = flow.task('look again', { needs: { patience } }, ({ input }) => isPaid(input));

  const closed = flow.task('close', { needs: { second: settled(second) } }, ({ needs }) => {
    // where the first look found the money, nobody was reminded, and all after that was skipped
    if (needs.second.status === 'skipped') return 'paid in time';
    return needs.second.status === 'completed' && needs.second.output ? 'paid after a reminder' : 'unpaid';
  });

  return flow.returns(closed);
}
