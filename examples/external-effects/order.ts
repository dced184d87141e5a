import { unchecked, workflow } from 'cloacina';
import type { Charge } from './payment-server.ts';

export interface Order {
  readonly customer: string;
  readonly cents: number;
}

/** `mail` sends a receipt; given to the workflow so that a test can look at it. */
export function orders(paymentUrl: string, mail: (to: string, text: string) => Promise<void>) {
  const flow = workflow('paid-order', { input: unchecked<Order>() });

  const paid = flow.task(
    'pay',
    { timeout: '30s', retry: { attempts: 5, delay: '200ms' } },
    async ({ input, step, idempotencyKey, signal }) => {
      // Once this is on disk, no later attempt asks again. Where the answer was lost, or this process died before that,
      // it is asked again with the same key, and the provider answers with the charge that it made the first time.
      const charge = await step('charge', async () => {
        const response = await fetch(`${paymentUrl}/charges`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
          body: JSON.stringify({ cents: input.cents }),
          signal,
        });
        if (!response.ok) throw new Error(`the payment provider answered ${response.status}`);
        return (await response.json()) as Charge;
      });

      // if this fails, the next attempt gets the charge from the step, and begins here
      await step('receipt', async () => {
        await mail(input.customer, `we have charged ${(charge.cents / 100).toFixed(2)} EUR (${charge.id})`);
        return true;
      });

      return { charge: charge.id };
    },
  );

  return flow.returns(paid);
}
