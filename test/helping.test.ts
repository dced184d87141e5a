import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, Runner } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { queued, wide } from './helping/workflows.ts';

const script = fileURLToPath(new URL('helping/runner.ts', import.meta.url));
const nothing = (): void => undefined;
const silent = { debug: nothing, info: nothing, warn: nothing, error: nothing };

interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  /** The result of the execution that the runner was told to start. */
  readonly id: string;
}

/** A runner in a separate process; it is ready once this resolves. */
async function openChild(t: Cleanup, ...args: readonly string[]): Promise<Child> {
  const started = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  release(t, async () => {
    started.kill('SIGKILL');
    if (started.exitCode === null && started.signalCode === null) await once(started, 'exit');
  });
  const { value } = await createInterface({ input: started.stdout })[Symbol.asyncIterator]().next();
  return { process: started, ...(JSON.parse(String(value)) as { pid: number; id: string }) };
}

async function openRunner(t: Cleanup, database: string, concurrency: number, queues = ['default']): Promise<Runner> {
  const runner = await Runner.open(database, { workflows: [wide, queued], logger: silent, concurrency, queues });
  release(t, () => runner.close({ drain: 0 }));
  return runner;
}

/** Polls every few ms until a condition holds. */
async function until(so: () => Promise<boolean>): Promise<void> {
  while (!(await so())) await setTimeout(10);
}

/** Processes on one database share wide executions, and the death of one loses nothing. */
function suite(name: string, databaseOf: (t: Cleanup) => string): void {
  describe(`durability.md, Helpers: several processes, ${name}`, () => {
    it('every item of a wide map runs once and each process runs some of them', async (t) => {
      const database = databaseOf(t);
      const runner = await openRunner(t, database, 8);
      const children = await Promise.all(['', '', ''].map(() => openChild(t, database, '8', 'default')));
      const { output } = await runner.execute(wide, { items: 600, ms: 40 });
      assert.deepEqual(
        output.map(({ item, index, attempt }) => [item, index, attempt]),
        Array.from({ length: 600 }, (_, i) => [i, i, 1]),
      );
      const parts = Map.groupBy(output, ({ pid }) => pid);
      const shares = [process.pid, ...children.map(({ pid }) => pid)].map((pid) => parts.get(pid)?.length ?? 0);
      t.diagnostic(shares.join(' '));
      for (const share of shares) assert.ok(share >= 60, shares.join(' '));
    });

    it('items of a killed helper run again at once, with the steps they had recorded', async (t) => {
      const database = databaseOf(t);
      const runner = await openRunner(t, database, 2);
      const helper = await openChild(t, database, '8', 'default');
      const handle = await runner.start(wide, { items: 20, ms: 300 });
      const steps = async (): Promise<number> =>
        (await runner.executions.events(handle.id)).filter(
          ({ type, data }) => type === 'task.started' && data !== null && Object.hasOwn(data as object, 'helper'),
        ).length;
      await until(async () => (await steps()) >= 8);
      await setTimeout(100); // their steps are durable a moment after they began
      helper.process.kill('SIGKILL');
      const { output } = await handle.result();
      const again = output.filter(({ attempt }) => attempt > 1);
      assert.ok(again.length > 0, 'some were cut');
      assert.ok(again.every(({ pid, first }) => pid === process.pid && first === helper.pid));
      const events = await runner.executions.events(handle.id);
      assert.ok(!events.some(({ type }) => type === 'task.retrying'), 'they are not charged');
    });

    it('a helper takes over from a killed owner and runs only unfinished items', async (t) => {
      const database = databaseOf(t);
      const runner = await openRunner(t, database, 4);
      const owner = await openChild(t, database, '2', 'default', 'wide', JSON.stringify({ items: 40, ms: 200 }));
      await until(async () => runner.attempts === 4);
      await setTimeout(500);
      owner.process.kill('SIGKILL');
      const { output } = await runner.handle<readonly { pid: number; item: number }[]>(owner.id).result();
      assert.deepEqual(
        output.map(({ item }) => item),
        Array.from({ length: 40 }, (_, i) => i),
      );
      assert.ok(
        output.some(({ pid }) => pid === owner.pid),
        'results of the owner are kept',
      );
      assert.ok(output.some(({ pid }) => pid === process.pid));
    });

    it('a queue without a runner waits for one to open; killing that runner never repeats a task with one attempt', async (t) => {
      const database = databaseOf(t);
      const runner = await openRunner(t, database, 4, ['default', 'other']);
      const client = await Client.open(database);
      release(t, () => client.close());
      const starter = await openChild(t, database, '4', 'gpu', 'queued', '{"owner":1}');
      // whichever runner owns it, both tasks begin at the only runner of their queue
      const started = async (): Promise<readonly (string | null)[]> =>
        (await client.executions.events(starter.id)).flatMap(({ type, task }) =>
          type === 'task.started' ? [task] : [],
        );
      await until(async () => (await started()).length === 2);
      starter.process.kill('SIGKILL');
      await setTimeout(500);
      assert.equal((await client.executions.get(starter.id)).endedAt, null, 'no runner serves the queue');
      const second = await openChild(t, database, '4', 'gpu');
      const outcome = await client.handle(starter.id).outcome();
      assert.ok(outcome.status === 'failed');
      assert.deepEqual([outcome.task, outcome.error?.code], ['once', 'TASK_INTERRUPTED']);
      assert.deepEqual(outcome.outputs['often'], { pid: second.pid, attempt: 2 });
      assert.equal(runner.attempts, 0);
    });
  });
}

suite('SQLite', (t) => `sqlite:${join(tempFolder(t), 'shared.db')}`);

const server = await testPostgres();
let schemas = 0;
if (typeof server === 'string') {
  describe('durability.md, Helpers: several processes, PostgreSQL', () => {
    it('several processes share a wide map', (t) => t.skip(server));
  });
} else {
  suite('PostgreSQL', () => `${server.url}?schema=helping_${process.pid}_${schemas++}`);
}
