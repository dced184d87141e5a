import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Runner } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { spinning } from './lease/workflows.ts';

const script = fileURLToPath(new URL('lease/child.ts', import.meta.url));
const server = await testPostgres();
if (typeof server !== 'string') after(() => server.stop());
const skip = typeof server === 'string' ? server : false;
let schemas = 0;

interface Spinning {
  readonly process: ChildProcess;
  readonly id: string;
  readonly runner: Runner;
  /** The stderr of the child so far. */
  readonly stderr: () => string;
  /** The processes that have begun an attempt, in order. */
  readonly began: () => readonly number[];
}

/** A process whose loop a task blocks for `ms`, and a runner of this process beside it. */
async function spinFor(t: Cleanup, ms: number, lease: string, stall: string): Promise<Spinning> {
  assert.ok(typeof server !== 'string');
  const database = `${server.url}?schema=lease_${process.pid}_${schemas++}`;
  const file = join(tempFolder(t), 'began');
  const runner = await Runner.open(database, { workflows: [spinning], lease, stall });
  release(t, () => runner.close({ drain: 0 }));
  const started = spawn(process.execPath, [script, database, lease, stall, JSON.stringify({ ms, file })]);
  release(t, () => {
    started.kill('SIGKILL');
  });
  let stderr = '';
  started.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const began = (): number[] => {
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : [];
  };
  while (began().length === 0) {
    assert.equal(started.exitCode, null, stderr);
    await setTimeout(20);
  }
  const { items } = await runner.executions.list({ workflow: 'spinning' });
  const { id } = items[0]!;
  return { process: started, id, runner, stderr: () => stderr, began };
}

describe('durability.md, Ownership: a thread keeps a lease on PostgreSQL', { skip }, () => {
  it('a task that blocks the event loop for several leases runs once, and a warning names it', async (t) => {
    const { runner, id, process: spinner, began, stderr } = await spinFor(t, 3500, '1s', '1m');
    const outcome = await runner.handle(id).outcome();
    assert.equal(outcome.status, 'completed');
    assert.deepEqual(began(), [spinner.pid]);
    assert.match(stderr(), /has been blocked for \d+ ms.*running: spinning\/spin \(/);
    assert.match(stderr(), /the event loop was blocked for longer than a lease/);
  });

  it('a runner whose loop is blocked for longer than `stall` is declared dead, and its late result is refused', async (t) => {
    const { runner, id, process: spinner, began, stderr } = await spinFor(t, 6000, '1s', '1500ms');
    const outcome = await runner.handle(id).outcome();
    assert.equal(outcome.status, 'completed');
    assert.deepEqual(began(), [spinner.pid, process.pid]);
    assert.match(stderr(), /its lease is no longer renewed/);
    while (!/was declared dead/.test(stderr())) await setTimeout(50);
    const events = await runner.executions.events(id);
    assert.deepEqual(
      events.map(({ type }) => type),
      ['execution.created', 'execution.adopted', 'task.completed', 'execution.completed'],
    );
    assert.equal(outcome.output, process.pid);
  });

  it('a stopped process loses its lease and registers anew when it continues', async (t) => {
    const { runner, id, process: spinner, began, stderr } = await spinFor(t, 4500, '1s', '1m');
    spinner.kill('SIGSTOP');
    const outcome = await runner.handle(id).outcome();
    assert.equal(outcome.status, 'completed');
    assert.deepEqual(began(), [spinner.pid, process.pid]);
    spinner.kill('SIGCONT');
    while (!/was declared dead/.test(stderr())) await setTimeout(50);
    spinner.kill('SIGTERM');
    assert.deepEqual(await once(spinner, 'exit'), [0, null]);
    assert.equal((await runner.executions.get(id)).output, process.pid);
  });
});
