import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { orders } from './order.ts';
import { openPaymentServer } from './payment-server.ts';

test('charges once and sends one receipt, though an answer and a mail were lost', async () => {
  await using payments = await openPaymentServer();
  const mails: string[] = [];
  let tries = 0;
  const order = orders(payments.url, async (to, text) => {
    if (++tries === 1) throw new Error('the mail server does not answer');
    mails.push(`${to}: ${text}`);
  });

  await using t = await testRunner({ workflows: [order] });
  const execution = await t.runner.start(order, { customer: 'ada@example.org', cents: 4900 });
  // the provider is real, and takes real time; only the delays between attempts are the test's
  for await (const { type } of t.runner.executions.watch(execution.id)) {
    if (type === 'task.retrying') await t.advance('1s');
  }

  assert.deepEqual((await execution.result()).output, { charge: 'ch_1' });
  assert.equal(payments.requests, 2);
  assert.deepEqual([...payments.charges.values()], [{ id: 'ch_1', cents: 4900 }]);
  assert.deepEqual([...payments.charges.keys()], [`${execution.id}/pay`]);
  assert.deepEqual(mails, ['ada@example.org: we have charged 49.00 EUR (ch_1)']);
  const { tasks } = await t.runner.executions.get(execution.id);
  assert.equal(tasks[0]!.attempt, 3);
});
