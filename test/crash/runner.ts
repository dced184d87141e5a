/**
 * The process that the crash test kills: a runner under load. It prints acknowledged executions on stdout, and every
 * task appends a line to a file when it runs.
 */
import { appendFileSync, writeSync } from 'node:fs';
import { Runner, workflow } from '../../src/index.ts';

const [database, journal, incarnation, mode] = process.argv.slice(2) as [string, string, string, 'load' | 'finish'];

const chain = workflow('chain');
const ran = (executionId: string, task: string): void => {
  appendFileSync(journal, `${incarnation} ${executionId} ${task}\n`);
};
// an execution that was cut twice without progress is a poison suspect, and every further cut of it is charged
// (durability.md, Poison suspects); here all cuts come from outside, and none of them is to use up the attempts
const retry = { attempts: 1000 };
const first = chain.task('first', { retry }, ({ executionId }) => {
  ran(executionId, 'first');
  return { at: 1 };
});
const left = chain.task('left', { needs: { first }, retry }, async ({ executionId, needs }) => {
  await new Promise((resolve) => setTimeout(resolve, 2));
  ran(executionId, 'left');
  return needs.first.at + 1;
});
const right = chain.task('right', { needs: { first }, retry }, ({ executionId, needs }) => {
  ran(executionId, 'right');
  return needs.first.at + 2;
});
const join = chain.task('join', { needs: { left, right }, retry }, ({ executionId, needs }) => {
  ran(executionId, 'join');
  return needs.left + needs.right;
});
const done = chain.returns(join);

const runner = await Runner.open(database, { workflows: [done], logger: silent() });
writeSync(1, 'ready\n');

if (mode === 'load') {
  for (let lane = 0; lane < 16; lane++) void keepStarting();
} else {
  const open = async (): Promise<number> => {
    const statuses = ['pending', 'running', 'waiting'] as const;
    const pages = await Promise.all(statuses.map((status) => runner.executions.list({ status, limit: 1 })));
    return pages.reduce((sum, page) => sum + page.items.length, 0);
  };
  while ((await open()) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  await runner.close();
}

async function keepStarting(): Promise<void> {
  for (;;) {
    const execution = await runner.start(done);
    // acknowledged: from here on it must reach its end, whatever happens to this process
    writeSync(1, `${execution.id}\n`);
    await execution.result();
  }
}

function silent(): { debug(): void; info(): void; warn(): void; error(data: object, message: string): void } {
  const nothing = (): void => undefined;
  return { debug: nothing, info: nothing, warn: nothing, error: (data, message) => console.error(message, data) };
}
