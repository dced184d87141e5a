import { Runner } from 'cloacina';
import { invoiceReminder } from './invoice.ts';

// node main.ts [SECONDS]: how long the customer has; default 30 days
const seconds = Number(process.argv[2] ?? 30 * 86_400);

let paid = false;
const invoices = invoiceReminder({
  isPaid: async () => paid,
  send: async (to, text) => console.log(`  mail to ${to}: ${text}`),
});

// a file: what sleeps goes on in whichever process opens it when the time has come
await using runner = await Runner.open('sqlite:./.cloacina/invoices.db', { workflows: [invoices] });

const dueAt = new Date(Date.now() + seconds * 1000).toISOString();
const execution = await runner.start(invoices, { number: '2026-117', customer: 'ada@example.org', dueAt });

if (seconds < 60) {
  paid = true;
  console.log((await execution.result()).output);
} else {
  for await (const { type, data } of runner.executions.watch(execution.id)) {
    if (type !== 'execution.waiting') continue;
    console.log(`${execution.id} sleeps`, data);
    break;
  }
  const { items } = await runner.executions.list({ workflow: 'invoice', status: 'waiting' });
  console.log(`${items.length} invoices wait in this database; this process may end, they will not`);
}
