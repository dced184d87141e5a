import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { unchecked, workflow } from '../core/definition/workflow.ts';
import { testRunner } from './test-runner.ts';

describe('interfaces.md, cloacina/testing: a test moves the clock', () => {
  it('a 30-day sleep and a daily schedule are tested in milliseconds', async () => {
    const ran: string[] = [];
    const reminder = workflow('reminder');
    const nap = reminder.sleep('nap', { for: '30d' });
    const done = reminder.returns(reminder.task('remind', { needs: { nap } }, () => 'remember'));
    const daily = workflow('daily');
    daily.task('report', ({ schedule }) => void ran.push(schedule!.slot.toISOString()));
    daily.schedule('every-day', { cron: '0 6 * * *' });
    await (await testRunner()).close(); // the first one loads the code of a runner
    const from = performance.now();
    await using t = await testRunner({ workflows: [done, daily] });
    const execution = await t.runner.start(done);
    await t.advance('29 days');
    assert.equal((await t.runner.executions.get(execution.id)).status, 'waiting');
    await t.advance('2 days');
    assert.equal((await execution.result()).output, 'remember');
    assert.equal(ran.length, 31);
    assert.deepEqual([ran[0], ran.at(-1)], ['2026-01-01T06:00:00.000Z', '2026-01-31T06:00:00.000Z']);
    assert.equal(t.now.toISOString(), '2026-02-01T00:00:00.000Z');
    const tookMs = performance.now() - from;
    assert.ok(tookMs < 1500, `${tookMs} ms`);
  });

  it('`run` and `finish` move time on until the execution has ended, and throw if it does not', async () => {
    const flaky = workflow('flaky', { input: unchecked<{ n: number }>() });
    const a = flaky.task('a', { retry: { attempts: 4, delay: '1h', maxDelay: '1d' } }, ({ attempt, input }) => {
      if (attempt < 4) throw new Error('again');
      return input.n;
    });
    const done = flaky.returns(a);
    const waits = workflow('waits');
    waits.wait('never', { signal: 'never' });
    await using t = await testRunner({ workflows: [done, waits], now: new Date('2027-03-01T00:00:00Z') });
    const outcome = await t.run(done, { n: 7 });
    assert.equal(outcome.status === 'completed' && outcome.output, 7);
    assert.ok(t.now.getTime() > Date.UTC(2027, 2, 1, 5));
    const execution = await t.runner.start(waits);
    await assert.rejects(t.finish(execution, { within: '10d' }), /has not ended by .*: it is waiting/);
    await t.runner.signal(execution.id, 'never', 1);
    assert.equal((await t.finish(execution)).status, 'completed');
  });
});
