import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { StoreUnavailableError } from '../../core/error.ts';
import { workflow } from '../../core/definition/workflow.ts';
import { openStore } from '../../store/open.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openClient, openOneStore, openRig, release } from '../../testing/engine-rig.ts';
import { systemClock } from '../clock.ts';
import { Watch } from './watch.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a waiter is looked up again whenever the notification comes, even between the last question and the end of a pass', async (t) => {
  const store = await openStore('sqlite::memory:', { now: () => systemClock.now() });
  t.after(() => store.close());
  for (let microtasks = 0; microtasks < 12; microtasks++) {
    const asked = { times: 0 };
    const watch = new Watch({ ...store, ended, known: async (ids) => ids }, systemClock, false);
    t.after(() => watch.close(new Error('closed')));
    watch.end('x', false).catch(() => undefined);
    async function ended(): Promise<[]> {
      asked.times += 1;
      if (asked.times === 1) void notifyLater();
      return [];
    }
    async function notifyLater(): Promise<void> {
      for (let i = 0; i < microtasks; i++) await Promise.resolve();
      watch.notify();
    }
    await watch.poll();
    for (let turns = 0; asked.times < 2 && turns < 10_000; turns++) await turn();
    assert.equal(asked.times, 2, `a notification after ${microtasks} microtasks`);
  }
});

test('a waiter waits on while the database is unavailable, and hears of the end afterwards', async (t) => {
  const clock = new ManualClock();
  const w = workflow('w');
  w.task('a', () => 7);
  const store = await openOneStore(clock);
  release(t, () => store.close());
  let isAway = false;
  const orAway = <Args extends readonly unknown[], T>(verb: (...args: Args) => Promise<T>) => {
    return async (...args: Args): Promise<T> => {
      if (isAway) throw new StoreUnavailableError('the database is away');
      return verb(...args);
    };
  };
  const flaky = {
    ...store,
    execution: orAway((id: string) => store.execution(id)),
    ended: orAway((ids: readonly string[]) => store.ended(ids)),
    outputs: orAway((id: string) => store.outputs(id)),
  };
  const { client } = await openRig(t, { workflows: [w], clock, store });
  const waiting = openClient(t, flaky, clock);
  const ids = [(await client.start(w)).id, (await client.start(w)).id];
  isAway = true;
  const outcomes = ids.map((id) => waiting.handle(id).outcome());
  await clock.advance(60_000);
  assert.deepEqual(await Promise.all(ids.map(async (id) => (await client.executions.get(id)).status)), [
    'completed',
    'completed',
  ]);
  isAway = false;
  await clock.advance(1000);
  assert.deepEqual(
    (await Promise.all(outcomes)).map((outcome) => outcome.outputs),
    [{ a: 7 }, { a: 7 }],
  );
});

test('a waiter for an execution that is removed gets EXECUTION_NOT_FOUND', async (t) => {
  const clock = new ManualClock();
  const store = await openOneStore(clock);
  release(t, () => store.close());
  const watch = new Watch(store, clock, false);
  t.after(() => watch.close(new Error('closed')));
  const gone = assert.rejects(watch.end('removed', true), { code: 'EXECUTION_NOT_FOUND' });
  await clock.advance(6000);
  watch.catchUp();
  await clock.settle();
  await gone;
});

test('a script that does several things at once on a SQLite Client runs to its end', async (t) => {
  const folder = tempFolder(t);
  const script = `
    import { Client } from ${JSON.stringify(new URL('../../index.ts', import.meta.url).href)};
    import { workflow } from ${JSON.stringify(new URL('../../core/definition/workflow.ts', import.meta.url).href)};
    const w = workflow('w');
    w.task('a', () => null);
    const client = await Client.open(${JSON.stringify(`sqlite:${join(folder, 'app.db')}`)});
    const handles = await Promise.all(Array.from({ length: 20 }, () => client.start(w)));
    await Promise.all(handles.map(async (handle) => {
      const ended = handle.outcome();
      await client.cancel(handle.id);
      await ended;
    }));
    await client.close();
    console.log('done');`;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
  assert.equal((await run).stdout, 'done\n');
});

function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-watch-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
