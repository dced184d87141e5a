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
import { crashing, quick, silent, waiting } from './processes/workflows.ts';

const script = fileURLToPath(new URL('processes/child.ts', import.meta.url));

interface Child {
  readonly process: ChildProcess;
  /** The next line of its output. */
  line(): Promise<Record<string, unknown>>;
  /** Resolves with its exit code. */
  readonly end: Promise<number | null>;
}

function child(t: Cleanup, act: string, database: string, argument = '', flags: readonly string[] = []): Child {
  const args = [...flags, script, act, database, argument];
  const started = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: started.stdout })[Symbol.asyncIterator]();
  const end = once(started, 'exit').then(([code]) => code as number | null);
  release(t, () => {
    started.kill('SIGKILL');
  });
  return {
    process: started,
    line: async () => {
      const { value, done } = await lines.next();
      assert.ok(done !== true, `${act} ended without a word`);
      return JSON.parse(value) as Record<string, unknown>;
    },
    end,
  };
}

const databaseIn = (t: Cleanup): string => `sqlite:${join(tempFolder(t), 'shared.db')}`;

async function openRunner(t: Cleanup, database: string, maxExecutions = 1000): Promise<Runner> {
  const workflows = [quick, waiting, crashing];
  const runner = await Runner.open(database, { workflows, logger: silent, maxExecutions });
  release(t, () => runner.close({ drain: 0 }));
  return runner;
}

describe('durability.md, Ownership: several processes on one SQLite file', () => {
  it('a runner takes an execution that another process started within 100 ms', async (t) => {
    const database = databaseIn(t);
    const runner = await openRunner(t, database);
    const starter = child(t, 'start', database, '20');
    const delays: number[] = [];
    for (let i = 0; i < 20; i++) {
      const { id } = (await starter.line()) as { id: string };
      await runner.handle(id).result();
      const events = await runner.executions.events(id);
      const [created, started] = ['execution.created', 'execution.started'].map((type) =>
        events.find((event) => event.type === type),
      );
      delays.push(started!.at - created!.at);
    }
    assert.equal(await starter.end, 0);
    delays.sort((a, b) => a - b);
    // outliers may be due to a busy host
    assert.ok(delays[10]! <= 100, `${delays.join(', ')} ms`);
  });

  it('a cancel from another process reaches a running task within a second', async (t) => {
    const database = databaseIn(t);
    const runner = await openRunner(t, database);
    const handle = await runner.start(waiting);
    const canceller = child(t, 'cancel', database, handle.id);
    const outcome = await handle.outcome();
    const { asked } = (await canceller.line()) as { asked: number };
    assert.equal(outcome.status, 'cancelled');
    assert.ok(Date.now() - asked < 1000);
  });

  it('executions of a killed process resume here at once; steps are remembered, and a task with one attempt fails', async (t) => {
    const database = databaseIn(t);
    const runner = await openRunner(t, database);
    const crash = child(t, 'crash', database);
    const { id } = (await crash.line()) as { id: string };
    const client = await Client.open(database);
    release(t, () => client.close());
    const running = async (): Promise<boolean> => {
      const events = await client.executions.events(id);
      return events.filter(({ type }) => type === 'task.started').length === 2;
    };
    while (!(await running())) await setTimeout(5);
    // the step is remembered a moment after its attempt began
    await setTimeout(50);
    crash.process.kill('SIGKILL');
    await crash.end;
    const killed = Date.now();
    const outcome = await runner.handle(id).outcome();
    assert.ok(Date.now() - killed < 2000, `a dead neighbour is detected at once: ${Date.now() - killed} ms`);
    assert.ok(outcome.status === 'failed');
    assert.deepEqual([outcome.task, outcome.error?.code], ['once', 'TASK_INTERRUPTED']);
    const often = outcome.outputs['often'] as { first: number; pid: number; attempt: number };
    assert.equal(often.first, crash.process.pid);
    assert.deepEqual([often.pid, often.attempt], [process.pid, 2]);
    const types = (await client.executions.events(id)).map(({ type }) => type);
    assert.ok(types.includes('execution.adopted'));
  });

  it('several processes can open a fresh file at the same moment', async (t) => {
    const database = databaseIn(t);
    const at = String(Date.now() + 400);
    const children = Array.from({ length: 4 }, () => child(t, 'open', database, at));
    const ids = await Promise.all(children.map(async (opened) => ((await opened.line()) as { id: string }).id));
    assert.deepEqual(await Promise.all(children.map(({ end }) => end)), [0, 0, 0, 0]);
    const runner = await openRunner(t, database);
    for (const id of ids) assert.equal((await runner.handle(id).result()).output, 1);
  });

  it('durability.md, Per database: a writer that holds the file for half a second does not block the event loop', async (t) => {
    const database = databaseIn(t);
    const runner = await openRunner(t, database);
    await runner.execute(quick);
    const holder = child(t, 'hold', database, '500');
    await holder.line();
    let longest = 0;
    let ticks = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      ticks++;
    }, 2);
    const results = await Promise.all(Array.from({ length: 20 }, () => runner.execute(quick)));
    clearInterval(timer);
    assert.equal(results.length, 20);
    assert.ok(ticks > 20, `${ticks} ticks while the file was held`);
    assert.ok(longest < 150, `the loop was blocked for ${longest} ms`);
    assert.equal(await holder.end, 0);
  });
});

describe('code-style.md, Habits: opened resources are released', () => {
  it('a process that closed its runner and client has nothing open and ends on its own', async (t) => {
    const leaky = child(t, 'leak', databaseIn(t));
    assert.deepEqual(await leaky.line(), { left: [] });
    assert.equal(await leaky.end, 0);
  });
});

describe('the memory of a runner', () => {
  it('a live execution takes less than 10 kB', async (t) => {
    const { bytes } = (await child(t, 'memory', databaseIn(t), '10000', ['--expose-gc']).line()) as { bytes: number };
    assert.ok(bytes < 10_000, `${bytes} bytes`);
    t.diagnostic(`${Math.round(bytes)} bytes a live execution`);
  });
});
