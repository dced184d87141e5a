import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { invoiceReminder } from './invoice.ts';

const invoice = { number: '2026-117', customer: 'ada@example.org', dueAt: '2026-01-31T00:00:00Z' };

/** An office whose customer pays at some day, or never; the runner's clock begins on the first of January. */
async function office(paidAt: string | null) {
  const mails: string[] = [];
  const flow = invoiceReminder({
    isPaid: async () => paidAt !== null && t.now >= new Date(paidAt),
    send: async (_to, text) => void mails.push(`${t.now.toISOString().slice(0, 10)} ${text}`),
  });
  const t = await testRunner({ workflows: [flow] });
  return { t, flow, mails };
}

describe('invoice', () => {
  it('sleeps for thirty days, and reminds nobody who has paid', async () => {
    const { t, flow, mails } = await office('2026-01-20');
    await using _ = t;
    const execution = await t.runner.start(flow, invoice);
    await t.advance('29 days');
    assert.equal((await t.runner.executions.get(execution.id)).status, 'waiting');
    await t.advance('1 day');
    assert.equal((await execution.result()).output, 'paid in time');
    assert.deepEqual(mails, ['2026-01-01 invoice 2026-117, due on 2026-01-31']);
  });

  it('reminds on the day it is due, and looks again two weeks later', async () => {
    const { t, flow, mails } = await office('2026-02-10');
    await using _ = t;
    const outcome = await t.run(flow, invoice);
    assert.equal(outcome.status === 'completed' && outcome.output, 'paid after a reminder');
    assert.deepEqual(mails.slice(1), ['2026-01-31 reminder: invoice 2026-117 is due']);
    assert.equal(t.now.toISOString(), '2026-02-14T00:00:00.000Z');
  });

  it('gives up after that', async () => {
    const { t, flow } = await office(null);
    await using _ = t;
    const outcome = await t.run(flow, invoice);
    assert.equal(outcome.status === 'completed' && outcome.output, 'unpaid');
  });
});
