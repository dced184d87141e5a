import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { exchangeRate } from './exchange-rate.ts';
import type { Sources } from './exchange-rate.ts';

const down = async (): Promise<never> => {
  throw new Error('down');
};
const nothing = (): undefined => undefined;

/** What the workflow gives with these sources, and how each of its tasks ended. */
async function run(sources: Sources) {
  const flow = exchangeRate(sources);
  await using t = await testRunner({ workflows: [flow] });
  const outcome = await t.run(flow, { pair: 'EUR/USD' });
  const { tasks } = await t.runner.executions.get(outcome.executionId);
  return { outcome, tasks: Object.fromEntries(tasks.map(({ name, status }) => [name, status])) };
}

describe('exchange-rate', () => {
  it('takes the rate of the bank, and does not ask the broker', async () => {
    const { outcome, tasks } = await run({ bank: async () => 1.09, broker: down, last: nothing });
    assert.deepEqual(outcome.status === 'completed' && outcome.output, { rate: 1.09, source: 'bank' });
    assert.deepEqual(tasks, { 'ask the bank': 'completed', 'ask the broker': 'skipped', choose: 'completed' });
  });

  it('takes that of the broker where the bank fails: a failure that was handled fails nothing', async () => {
    const { outcome, tasks } = await run({ bank: down, broker: async () => 1.08, last: nothing });
    assert.deepEqual(outcome.status === 'completed' && outcome.output, { rate: 1.08, source: 'broker' });
    assert.equal(tasks['ask the bank'], 'failed');
  });

  it('takes the last one where both fail', async () => {
    const { outcome } = await run({ bank: down, broker: down, last: () => ({ rate: 1.1, from: '2026-10-30' }) });
    assert.deepEqual(outcome.status === 'completed' && outcome.output, {
      rate: 1.1,
      source: 'last known, of 2026-10-30',
    });
  });

  it('fails where nobody knows a rate', async () => {
    const { outcome, tasks } = await run({ bank: down, broker: down, last: nothing });
    assert.equal(outcome.status, 'failed');
    assert.equal(tasks['choose'], 'failed');
  });
});
