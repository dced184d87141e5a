import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { CloacinaError, PackageInvalidError, StoreUnavailableError } from '../core/error.ts';
import { checkDropFolder, watchDropFolder } from './drop-folder.ts';

const rest = {
  restored: false,
  head: null,
  ambiguous: [],
  asks: { net: false, env: [], added: { net: false, env: [] } },
};

let root = '';

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'cloacina-drop-'));
});

after(() => rm(root, { recursive: true, force: true }));

/** Watches a folder; `register` receives the text of a file. Reports are collected in a list. */
async function watch(t: TestContext, name: string, register: (text: string) => void): Promise<Watched> {
  const dir = join(root, name);
  await mkdir(dir);
  const stop = new AbortController();
  const reports: string[] = [];
  const waiting = new Set<() => void>();
  const say = (text: string): void => {
    reports.push(text);
    for (const look of waiting) look();
  };
  const watching = watchDropFolder(dir, {
    register: async (bytes) => {
      register(Buffer.from(bytes).toString());
      return { id: 'p', name: 'p', version: '1.0.0', digest: 'd', created: true, activated: true, ...rest };
    },
    onRegistered: () => say('registered'),
    onRefused: (_, error) => say(`refused ${error.code}`),
    onDelayed: (_, error) => say(`delayed ${error.code}`),
    onLost: (error) => say(`lost ${error.code}`),
    onFound: () => say('found'),
    signal: stop.signal,
    lookMs: 5,
  });
  t.after(async () => {
    stop.abort();
    await watching;
  });
  const until = (count: number): Promise<readonly string[]> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (reports.length >= count) resolve(reports);
      };
      waiting.add(look);
      look();
    });
  return { dir, until };
}

interface Watched {
  readonly dir: string;
  /** Resolves after a number of reports. */
  readonly until: (count: number) => Promise<readonly string[]>;
}

describe('interfaces.md, CLI: runner --watch DIR', () => {
  test('a file that the database did not take is retried until it does, and reported once', async (t) => {
    let tries = 0;
    const { dir, until } = await watch(t, 'away', () => {
      tries++;
      if (tries < 4) throw new StoreUnavailableError('the database is away');
    });
    await writeFile(join(dir, 'a.cloacina'), 'a');
    assert.deepEqual(await until(2), ['delayed STORE_UNAVAILABLE', 'registered']);
    assert.equal(tries, 4);
  });

  test('a refused file is examined again only after it changes', async (t) => {
    const tried: string[] = [];
    const { dir, until } = await watch(t, 'refused', (text) => {
      tried.push(text);
      if (text === 'bad') throw new PackageInvalidError('ARCHIVE_CORRUPT', 'no package');
    });
    await writeFile(join(dir, 'a.cloacina'), 'bad');
    await until(1);
    await writeFile(join(dir, 'b.cloacina'), 'good');
    await until(2);
    await writeFile(join(dir, 'a.cloacina'), 'better');
    assert.deepEqual(await until(3), ['refused ARCHIVE_CORRUPT', 'registered', 'registered']);
    assert.deepEqual(tried, ['bad', 'good', 'better']);
  });

  test('a missing folder is polled for, and its files are not registered again', async (t) => {
    const tried: string[] = [];
    const { dir, until } = await watch(t, 'gone', (text) => void tried.push(text));
    await writeFile(join(dir, 'a.cloacina'), 'a');
    await until(1);
    await rename(dir, `${dir}-away`);
    await until(2);
    await rename(`${dir}-away`, dir);
    await until(3);
    await writeFile(join(dir, 'b.cloacina'), 'b');
    assert.deepEqual(await until(4), ['registered', 'lost FILE_UNREADABLE', 'found', 'registered']);
    assert.deepEqual(tried, ['a', 'b']);
  });

  test('an unexpected error does not end it', async (t) => {
    const { dir, until } = await watch(t, 'bug', (text) => {
      if (text === 'a') throw new TypeError('a bug');
    });
    await writeFile(join(dir, 'a.cloacina'), 'a');
    await until(1);
    await writeFile(join(dir, 'b.cloacina'), 'b');
    assert.deepEqual(await until(2), ['refused INTERNAL', 'registered']);
  });

  test('a folder that is missing at the start is refused', async () => {
    await assert.rejects(
      checkDropFolder(join(root, 'nowhere')),
      (error) => error instanceof CloacinaError && error.code === 'FILE_UNREADABLE',
    );
  });
});
