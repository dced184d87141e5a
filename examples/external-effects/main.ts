import { Runner } from 'cloacina';
import { orders } from './order.ts';
import { openPaymentServer } from './payment-server.ts';

await using payments = await openPaymentServer();

let mails = 0;
const order = orders(payments.url, async (to, text) => {
  if (++mails === 1) throw new Error('the mail server does not answer');
  console.log(`  mail to ${to}: ${text}`);
});

await using runner = await Runner.open('sqlite::memory:', {
  workflows: [order],
  onEvent: ({ type, attempt, data }) => {
    if (type === 'task.retrying') console.log(`  attempt ${attempt}:`, (data as { readonly message: string }).message);
  },
});

const { output } = await runner.execute(order, { customer: 'ada@example.org', cents: 4900 });
console.log(output, `${payments.requests} requests, ${payments.charges.size} charge, ${mails - 1} receipt`);
