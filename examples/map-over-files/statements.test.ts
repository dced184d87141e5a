import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { testRunner } from 'cloacina/testing';
import { bankStatements } from './statements.ts';

const folder = fileURLToPath(new URL('./statements', import.meta.url));

test('adds up the files that can be read, and names the one that cannot', async () => {
  const statements = bankStatements();
  await using t = await testRunner({ workflows: [statements] });
  // real files take real time: the result is waited for, and the clock of the test stands still
  const { output } = await t.runner.execute(statements, { folder });
  assert.deepEqual(output, {
    files: 5,
    lines: 10,
    cents: 430_970,
    refused: [{ file: '2026-08.csv', why: "'one thousand' is no amount" }],
  });
});

test('reads two files at once', async () => {
  let [open, most] = [0, 0];
  const statements = bankStatements(async () => {
    most = Math.max(most, ++open);
    await setImmediate();
    open--;
    return 'date,text,amount\n2026-01-01,rent,-1200.00\n';
  });
  await using t = await testRunner({ workflows: [statements] });
  const { output } = await t.runner.execute(statements, { folder });
  assert.deepEqual(output, { files: 5, lines: 5, cents: -600_000, refused: [] });
  assert.equal(most, 2);
});

test('a file that fails is read again by itself; the others are not', async () => {
  const asked: string[] = [];
  const statements = bankStatements(async (path) => {
    asked.push(path.slice(-11));
    if (path.endsWith('2026-07.csv') && asked.length < 7) throw new Error('the disk is busy');
    return 'date,text,amount\n';
  });
  await using t = await testRunner({ workflows: [statements] });
  const execution = await t.runner.start(statements, { folder });
  for await (const { type } of t.runner.executions.watch(execution.id)) {
    if (type === 'task.retrying') await t.advance('3s');
  }
  assert.deepEqual((await execution.result()).output.refused, []);
  assert.equal(asked.filter((file) => file === '2026-07.csv').length, 3);
  assert.equal(asked.length, 7);
});
