import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('./crash/runner.ts', import.meta.url));
const lanes = 2;
const kills = 200;

/** The runner in one file, compiled once: it starts several times as fast, and more of the time goes into the load. */
async function bundleRunner(folder: string): Promise<string> {
  const { rolldown } = await import('rolldown');
  await using bundle = await rolldown({ input: script, platform: 'node', external: ['rolldown'], logLevel: 'silent' });
  const file = join(folder, 'runner.mjs');
  await bundle.write({ file, codeSplitting: false });
  return file;
}

describe('durability.md, a runner killed with SIGKILL at random moments under load', { concurrency: lanes }, () => {
  for (let lane = 0; lane < lanes; lane++) {
    it(`ends every acknowledged execution once and repeats no durable task (${kills / lanes} kills, lane ${lane + 1})`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'cloacina-crash-'));
      try {
        await killAndCheck(folder, kills / lanes);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
});

async function killAndCheck(folder: string, times: number): Promise<void> {
  const file = join(folder, 'crash.db');
  const runner = await bundleRunner(folder);
  const journal = join(folder, 'ran.txt');
  const acknowledged = new Set<string>();
  const durable: Set<string>[] = [];
  for (let incarnation = 0; incarnation < times; incarnation++) {
    const child = start(runner, file, journal, incarnation, 'load', acknowledged);
    // every other one dies at any moment from its start on, the others once they are under load
    await (incarnation % 2 === 0 ? child.ready : child.loaded);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 50));
    child.process.kill('SIGKILL');
    await once(child.process, 'close');
    durable.push(completedTasks(file));
  }
  const last = start(runner, file, journal, times, 'finish', acknowledged);
  const [code] = (await once(last.process, 'close')) as [number];
  assert.equal(code, 0, 'the last runner finishes what the killed ones left');
  check(file, journal, acknowledged, durable);
}

function check(
  file: string,
  journal: string,
  acknowledged: ReadonlySet<string>,
  durable: readonly ReadonlySet<string>[],
): void {
  assert.ok(acknowledged.size >= durable.length, `there was load: ${acknowledged.size} executions`);
  const database = new DatabaseSync(file, { readOnly: true });
  const statuses = new Map(
    database
      .prepare('select id, status, output from executions')
      .all()
      .map((row) => [row['id'] as string, row]),
  );
  for (const id of acknowledged) {
    assert.deepEqual({ ...statuses.get(id) }, { id, status: 'completed', output: '5' }, `acknowledged execution ${id}`);
  }
  const ends = database
    .prepare(
      `select execution_id from events where type = 'execution.completed' group by execution_id having count(*) > 1`,
    )
    .all();
  assert.deepEqual(ends, [], 'no execution ended twice');
  const gaps = database
    .prepare('select execution_id from events group by execution_id having max(seq) <> count(*) or min(seq) <> 1')
    .all();
  assert.deepEqual(gaps, [], 'event numbers are gapless');
  database.close();
  for (const line of readFileSync(journal, 'utf8').trimEnd().split('\n')) {
    const [incarnation, id, task] = line.split(' ') as [string, string, string];
    const before = durable[Number(incarnation) - 1];
    assert.ok(
      before === undefined || !before.has(`${id} ${task}`),
      `task ${task} of ${id} ran again after its result was durable`,
    );
  }
}

function completedTasks(file: string): Set<string> {
  const database = new DatabaseSync(file, { readOnly: true });
  // an execution that ended cannot run anything again; only those that were cut are of interest
  const rows = database
    .prepare(
      `select t.execution_id as id, t.task as task from task_executions t join executions e on e.id = t.execution_id
       where t.status = 'completed' and e.ended_at is null`,
    )
    .all();
  database.close();
  return new Set(rows.map((row) => `${String(row['id'])} ${String(row['task'])}`));
}

interface Child {
  readonly process: ChildProcess;
  readonly ready: Promise<void>;
  /** It has acknowledged an execution. */
  readonly loaded: Promise<void>;
}

function start(
  runner: string,
  file: string,
  journal: string,
  incarnation: number,
  mode: 'load' | 'finish',
  acknowledged: Set<string>,
): Child {
  const args = [runner, `sqlite:${file}`, journal, String(incarnation), mode];
  const env = { ...process.env, NODE_COMPILE_CACHE: join(dirname(runner), 'compiled') };
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env });
  let text = '';
  const ready = Promise.withResolvers<void>();
  const loaded = Promise.withResolvers<void>();
  for (const { promise, reject } of [ready, loaded]) {
    child.once('exit', () => reject(new Error('the runner ended by itself')));
    promise.catch(() => undefined); // whoever waits is told
  }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n');
    text = lines.pop()!; // an id that was cut by the kill was not acknowledged
    for (const line of lines) {
      if (line === 'ready') {
        ready.resolve();
      } else {
        acknowledged.add(line);
        loaded.resolve();
      }
    }
  });
  return { process: child, ready: ready.promise, loaded: loaded.promise };
}
