import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { salesReport } from './sales-report.ts';
import type { ReportInput } from './sales-report.ts';

const september: ReportInput = { region: 'north', month: '2026-09' };

describe('sales-report', () => {
  it('fills in defaults, and stores what the schema made of the input', async () => {
    await using t = await testRunner({ workflows: [salesReport] });
    const { output, executionId } = await t.runner.execute(salesReport, { ...september, exclude: 'rug,lamp' });
    assert.deepEqual(output, {
      title: 'north, 2026-09',
      lines: ['shelf: 108.00 EUR', 'chair: 103.50 EUR', 'desk: 99.00 EUR'],
    });
    assert.deepEqual((await t.runner.executions.get(executionId)).input, {
      ...september,
      currency: 'EUR',
      top: 3,
      exclude: ['rug', 'lamp'],
    });
  });

  it('refuses a wrong input, and leaves no execution', async () => {
    await using t = await testRunner({ workflows: [salesReport] });
    await assert.rejects(t.runner.start('sales-report', { region: 'east', month: '2026-13' }), {
      code: 'INPUT_INVALID',
      issues: [
        { path: 'region', message: 'Invalid option: expected one of "north"|"south"|"west"' },
        { path: 'month', message: 'a month is written like 2026-09' },
      ],
    });
    assert.deepEqual((await t.runner.executions.list()).items, []);
  });

  it('starts many at once, or none', async () => {
    await using t = await testRunner({ workflows: [salesReport] });
    const inputs = Array.from({ length: 12 }, (_, n) => ({
      ...september,
      month: `2026-${String(n + 1).padStart(2, '0')}`,
    }));
    const executions = await t.runner.startMany(salesReport, inputs, { tags: { year: '2026' } });
    await Promise.all(executions.map((execution) => execution.result()));

    const page = await t.runner.executions.list({ tags: { year: '2026' }, limit: 10 });
    const rest = await t.runner.executions.list({ tags: { year: '2026' }, limit: 10, after: page.next! });
    assert.deepEqual([page.items.length, rest.items.length, rest.next], [10, 2, null]);

    await assert.rejects(t.runner.startMany(salesReport, [september, { ...september, month: 'May' }]), {
      code: 'INPUT_INVALID',
    });
    assert.equal((await t.runner.executions.list()).items.length, 12);
  });

  it('the same key with the same input is the same execution', async () => {
    await using t = await testRunner({ workflows: [salesReport] });
    const options = { idempotencyKey: 'north 2026-09' };
    const [a, b] = await Promise.all([
      t.runner.start(salesReport, september, options),
      t.runner.start(salesReport, september, options),
    ]);
    assert.equal(a.id, b.id);
    await assert.rejects(t.runner.start(salesReport, { ...september, top: 1 }, options), {
      code: 'IDEMPOTENCY_CONFLICT',
    });
  });

  it('what is urgent goes first', async () => {
    const began: string[] = [];
    await using t = await testRunner({
      workflows: [salesReport],
      concurrency: 1,
      onEvent: ({ type, task, executionId }) => {
        if (type === 'task.completed' && task === 'sales') began.push(executionId);
      },
    });
    const usual = await t.runner.startMany(salesReport, [september, september, september]);
    const urgent = await t.runner.start(salesReport, september, { priority: 10 });
    await Promise.all([...usual, urgent].map((execution) => execution.result()));
    assert.ok(began.indexOf(urgent.id) < 2, `it came as number ${began.indexOf(urgent.id) + 1}`);
  });
});
