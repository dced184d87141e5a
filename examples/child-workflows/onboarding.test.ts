import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { testRunner } from 'cloacina/testing';
import type { TestRunner } from 'cloacina/testing';
import { accounts, equipment, onboarding } from './onboarding.ts';

const ada = { name: 'Ada', email: 'ada@example.org', laptop: { model: 'X1', deliveredAt: '2026-01-04T09:00:00Z' } };

async function statuses(t: TestRunner): Promise<Record<string, string>> {
  const { items } = await t.runner.executions.list();
  return Object.fromEntries(items.map(({ workflow, status }) => [workflow, status]));
}

describe('onboarding', () => {
  it('runs both children side by side, and waits for them without being in memory', async () => {
    await using t = await testRunner({ workflows: [onboarding] }); // begins on the first of January
    const execution = await t.runner.start(onboarding, ada);
    await t.advance('1 minute');
    assert.deepEqual(await statuses(t), { onboarding: 'waiting', accounts: 'completed', equipment: 'waiting' });
    const outcome = await t.finish(execution);
    assert.equal(
      outcome.status === 'completed' && outcome.output,
      'Welcome, Ada: 3 accounts are open, laptop L-X1 is on your desk.',
    );
    assert.equal(t.now.toISOString().slice(0, 10), '2026-01-04');
  });

  it('welcomes without a laptop, too', async () => {
    await using t = await testRunner({ workflows: [onboarding] });
    const outcome = await t.run(onboarding, { ...ada, laptop: { model: '', deliveredAt: '' } });
    assert.equal(
      outcome.status === 'completed' && outcome.output,
      'Welcome, Ada: 3 accounts are open, your laptop will be late.',
    );
  });

  it('cancelling it cancels the child that it waits for', async () => {
    await using t = await testRunner({ workflows: [onboarding] });
    const execution = await t.runner.start(onboarding, ada);
    await t.advance('1 day');
    await t.runner.cancel(execution.id);
    await t.advance('1s');
    assert.deepEqual(await statuses(t), { onboarding: 'cancelled', accounts: 'completed', equipment: 'cancelled' });
  });

  it('a child is a workflow like any other', async () => {
    await using t = await testRunner({ workflows: [accounts, equipment] });
    const laptop = await t.run(equipment, ada.laptop);
    assert.equal(laptop.status === 'completed' && laptop.output, 'L-X1');
    const opened = await t.run(accounts, { email: 'ada@example.org', systems: ['wiki'] });
    assert.deepEqual(opened.status === 'completed' && opened.output, ['ada@example.org in wiki']);
  });
});
