import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openStore } from '../../src/store/open.ts';
import { all } from '../../src/store/script.ts';
import { bundled } from './bundled.ts';

const script = fileURLToPath(new URL('./runner.ts', import.meta.url));

/** Kills a runner under load repeatedly, and checks the database and the records of its tasks. */
export async function killAndCheck(url: string, folder: string, times: number): Promise<void> {
  const runner = await bundled(script, folder);
  const journal = join(folder, 'ran.txt');
  const acknowledged = new Set<string>();
  const durable: Set<string>[] = [];
  for (let incarnation = 0; incarnation < times; incarnation++) {
    const child = start(runner, url, journal, incarnation, 'load', acknowledged);
    // every second runner dies at any moment from its start on, the others once they are under load
    await (incarnation % 2 === 0 ? child.ready : child.loaded);
    // an execution cut five times in a row while it is loaded is held by rule, so every fourth runner lives until all
    // are loaded
    if (incarnation % 4 === 3) await allLoaded(url);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 50));
    child.process.kill('SIGKILL');
    await once(child.process, 'close');
    durable.push(await completedTasks(url));
  }
  const last = start(runner, url, journal, times, 'finish', acknowledged);
  const [code] = (await once(last.process, 'close')) as [number];
  assert.equal(code, 0, 'the last runner finishes the executions of the killed ones');
  await check(url, journal, acknowledged, durable);
}

async function check(
  url: string,
  journal: string,
  acknowledged: ReadonlySet<string>,
  durable: readonly ReadonlySet<string>[],
): Promise<void> {
  assert.ok(acknowledged.size >= durable.length, `there was load: ${acknowledged.size} executions`);
  const rows = await rowsOf<{ id: string; status: string; output: string }>(
    url,
    'select id, status, output from executions',
  );
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const id of acknowledged) {
    assert.deepEqual({ ...byId.get(id) }, { id, status: 'completed', output: '5' }, `acknowledged execution ${id}`);
  }
  const ends = await rowsOf(
    url,
    `select execution_id from events where type = 'execution.completed' group by execution_id having count(*) > 1`,
  );
  assert.deepEqual(ends, [], 'no execution ended twice');
  const gaps = await rowsOf(
    url,
    'select execution_id from events group by execution_id having max(seq) <> count(*) or min(seq) <> 1',
  );
  assert.deepEqual(gaps, [], 'event numbers are gapless');
  for (const line of readFileSync(journal, 'utf8').trimEnd().split('\n')) {
    const [incarnation, id, task] = line.split(' ') as [string, string, string];
    const before = durable[Number(incarnation) - 1];
    assert.ok(
      before === undefined || !before.has(`${id} ${task}`),
      `task ${task} of ${id} ran again after its result was durable`,
    );
  }
}

/** Resolves when no execution is marked as being loaded. */
async function allLoaded(url: string): Promise<void> {
  const store = await openStore(url);
  try {
    const marked = 'select count(*) as n from executions where load_attempts > 0 and ended_at is null';
    for (const from = performance.now(); ;) {
      const [row] = await store.read(() => all<{ n: number }>(marked));
      if (row!.n === 0) return;
      assert.ok(performance.now() - from < 30_000, `${row!.n} executions are still being loaded`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } finally {
    await store.close();
  }
}

async function completedTasks(url: string): Promise<Set<string>> {
  // an execution that ended cannot run anything again, so only the cut ones matter
  const rows = await rowsOf<{ id: string; task: string }>(
    url,
    `select t.execution_id as id, t.task as task from task_executions t join executions e on e.id = t.execution_id
     where t.status = 'completed' and e.ended_at is null`,
  );
  return new Set(rows.map(({ id, task }) => `${id} ${task}`));
}

async function rowsOf<Row>(url: string, text: string): Promise<readonly Row[]> {
  const store = await openStore(url);
  try {
    return await store.read(() => all<Row>(text));
  } finally {
    await store.close();
  }
}

interface Child {
  readonly process: ChildProcess;
  readonly ready: Promise<void>;
  /** The runner has acknowledged an execution. */
  readonly loaded: Promise<void>;
}

function start(
  runner: string,
  url: string,
  journal: string,
  incarnation: number,
  mode: 'load' | 'finish',
  acknowledged: Set<string>,
): Child {
  const args = [runner, url, journal, String(incarnation), mode];
  const env = { ...process.env, NODE_COMPILE_CACHE: join(dirname(runner), 'compiled') };
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env });
  let text = '';
  const ready = Promise.withResolvers<void>();
  const loaded = Promise.withResolvers<void>();
  for (const { promise, reject } of [ready, loaded]) {
    child.once('exit', () => reject(new Error('the runner ended by itself')));
    promise.catch(() => undefined); // waiting callers get the error
  }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n');
    text = lines.pop()!; // an id that the kill cut short was not acknowledged
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
