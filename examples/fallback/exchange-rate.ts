import { NonRetryableError, settled, unchecked, workflow } from 'cloacina';

/** What the workflow asks, given to it so that a test can answer. */
export interface Sources {
  readonly bank: (pair: string, signal: AbortSignal) => Promise<number>;
  readonly broker: (pair: string, signal: AbortSignal) => Promise<number>;
  /** The rate that was used last, and when. */
  readonly last: (pair: string) => { readonly rate: number; readonly from: string } | undefined;
}

export function exchangeRate({ bank, broker, last }: Sources) {
  const flow = workflow('exchange-rate', { input: unchecked<{ pair: string }>() });
  const patience = { timeout: '5s', retry: { attempts: 2, delay: '500ms' } };

  const fromBank = flow.task('ask the bank', patience, ({ input, signal }) => bank(input.pair, signal));

  const fromBroker = flow.task(
    'ask the broker',
    // a plain need would skip this task where the bank failed; a settled one is told how the bank ended
    { ...patience, needs: { fromBank: settled(fromBank) }, when: ({ needs }) => needs.fromBank.status !== 'completed' },
    ({ input, signal }) => broker(input.pair, signal),
  );

  const chosen = flow.task(
    'choose',
    { needs: { fromBank: settled(fromBank), fromBroker: settled(fromBroker) } },
    ({ input, needs, log }) => {
      if (needs.fromBank.status === 'completed') return { rate: needs.fromBank.output, source: 'bank' };
      if (needs.fromBank.status === 'failed') log.warn('the bank gave no rate', { why: needs.fromBank.error.message });
      if (needs.fromBroker.status === 'completed') return { rate: needs.fromBroker.output, source: 'broker' };
      const known = last(input.pair);
      if (known === undefined) throw new NonRetryableError(`nobody knows a rate for ${input.pair}`);
      return { rate: known.rate, source: `last known, of ${known.from}` };
    },
  );

  return flow.returns(chosen);
}
