import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { openStore } from '../../store/open.ts';
import { systemClock } from '../clock.ts';
import { Watch } from './watch.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a waiter is looked up again whenever the notification comes, even between the last question and the end of a pass', async (t) => {
  const store = await openStore('sqlite::memory:', { now: () => systemClock.now() });
  t.after(() => store.close());
  for (let microtasks = 0; microtasks < 12; microtasks++) {
    let looks = 0;
    const watch = new Watch({ ...store, ended }, systemClock, false);
    t.after(() => watch.close(new Error('closed')));
    watch.end('x', false).catch(() => undefined);
    async function ended(): Promise<[]> {
      looks += 1;
      if (looks === 1) void notifyLater();
      return [];
    }
    async function notifyLater(): Promise<void> {
      for (let i = 0; i < microtasks; i++) await Promise.resolve();
      watch.notify();
    }
    await watch.poll();
    for (let turns = 0; turns < 10_000; turns++) {
      if (looks === 2) break;
      await turn();
    }
    assert.equal(looks, 2, `a notification after ${microtasks} microtasks`);
  }
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
