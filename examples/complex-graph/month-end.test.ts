import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { monthEnd } from './month-end.ts';

test('closes a month: twenty tasks, one report', async () => {
  await using t = await testRunner({ workflows: [monthEnd] });
  const execution = await t.runner.start(monthEnd, { month: '2026-09' });
  // the sources take real time, so the result is waited for, and the clock of the test stands still
  const { output } = await execution.result();
  assert.deepEqual(output, {
    period: '2026-09-01 to 2026-09-30',
    sales: '9290.00 EUR',
    costs: '7290.00 EUR',
    profit: '2000.00 EUR (22 %)',
    tax: '1491.50 EUR',
    open: 'the bank has 10.00 EUR more than the books',
  });
  const { tasks } = await t.runner.executions.get(execution.id);
  assert.equal(tasks.length, 20);
  assert.ok(tasks.every(({ status }) => status === 'completed'));
});

test('the six sources are asked at once, and nothing begins before what it needs is there', async () => {
  await using t = await testRunner({ workflows: [monthEnd] });
  const { executionId } = await t.runner.execute(monthEnd, { month: '2024-02' });
  const events = await t.runner.executions.events(executionId);
  const ended = events.filter(({ type }) => type === 'task.completed').map(({ task }) => task!);
  const began = events.filter(({ type }) => type === 'task.started').map(({ task }) => task!);
  assert.equal(ended[0], 'period');
  assert.equal(began.filter((task) => task.startsWith('fetch ')).length, 6);
  for (const { name, needs } of monthEnd.spec.tasks) {
    for (const need of Object.values(needs)) assert.ok(ended.indexOf(need.task) < ended.indexOf(name), name);
  }
});
