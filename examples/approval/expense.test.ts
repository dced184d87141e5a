import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { expenses } from './expense.ts';

const flight = { employee: 'Ada', purpose: 'flight to Oslo', cents: 38_900 };

describe('expense', () => {
  it('pays a small amount at once', async () => {
    await using t = await testRunner({ workflows: [expenses] });
    const outcome = await t.run(expenses, { ...flight, cents: 10_000 });
    assert.ok(outcome.status === 'completed');
    assert.equal(outcome.output.why, 'small enough');
    assert.match(outcome.output.paid ?? '', /^100\.00 EUR to Ada/);
  });

  it('waits for a decision, and pays when it comes', async () => {
    await using t = await testRunner({ workflows: [expenses] });
    const execution = await t.runner.start(expenses, flight);
    await t.advance('2 days');
    assert.equal((await t.runner.executions.get(execution.id)).status, 'waiting');
    await t.runner.signal(execution.id, 'decision', { approved: true, by: 'Grace' });
    const { output } = await execution.result();
    assert.equal(output.why, 'approved by Grace');
    assert.match(output.paid ?? '', /^389\.00 EUR to Ada/);
  });

  it('does not pay what was refused', async () => {
    await using t = await testRunner({ workflows: [expenses] });
    const execution = await t.runner.start(expenses, flight);
    await t.runner.signal(execution.id, 'decision', { approved: false, by: 'Grace', note: 'take the train' });
    assert.deepEqual((await execution.result()).output, { why: 'refused by Grace: take the train', paid: null });
  });

  it('does not wait for longer than three days', async () => {
    await using t = await testRunner({ workflows: [expenses] });
    const from = t.now.getTime();
    const outcome = await t.run(expenses, flight);
    assert.deepEqual(outcome.status === 'completed' && outcome.output, {
      why: 'nobody decided within three days',
      paid: null,
    });
    assert.equal(t.now.getTime() - from, 3 * 86_400_000);
  });

  it('refuses a signal that it does not know or whose payload is wrong, and waits on', async () => {
    await using t = await testRunner({ workflows: [expenses] });
    const execution = await t.runner.start(expenses, flight);
    await t.advance('1s');
    await assert.rejects(t.runner.signal(execution.id, 'decison', { approved: true, by: 'Grace' }), {
      code: 'SIGNAL_UNKNOWN',
      near: ['decision'],
    });
    await assert.rejects(t.runner.signal(execution.id, 'decision', { approved: 'yes' }), { code: 'SIGNAL_INVALID' });
    assert.equal((await t.runner.executions.get(execution.id)).status, 'waiting');
    await t.runner.cancel(execution.id);
  });
});
