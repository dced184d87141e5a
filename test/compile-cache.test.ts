import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { root } from '../scripts/tool.ts';
import { runProgram } from './docs/steps.ts';

const posixOnly = process.platform === 'win32' ? 'modes and owners of folders' : false;
const rootOnly = process.geteuid?.() === 0 ? false : 'gives a folder to another user';

interface Place {
  readonly home: string;
  readonly temporary: string;
  readonly cache: string;
}

/** A home and a temporary folder for one test. */
function place(t: TestContext): Place {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-cache-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [home, temporary, cache] = ['home', 'temporary', 'cache'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const each of [home, temporary, cache]) mkdirSync(each, { mode: 0o700 });
  return { home, temporary, cache };
}

async function launch({ home, temporary, cache }: Place, more: NodeJS.ProcessEnv = {}): Promise<void> {
  const { NODE_COMPILE_CACHE: _, ...rest } = process.env;
  const places = { HOME: home, TMPDIR: temporary, XDG_CACHE_HOME: cache, LOCALAPPDATA: cache };
  const { exitCode } = await runProgram(process.execPath, [join(root, 'bin', 'cloacina.js'), '--version'], home, {
    ...rest,
    ...places,
    ...more,
  });
  assert.equal(exitCode, 0);
  assert.deepEqual(readdirSync(temporary), [], 'nothing is kept in a folder that other users can write to');
}

/** The default folder of compiled code on this system. */
function own({ home, cache }: Place): string {
  return process.platform === 'darwin' ? join(home, 'Library', 'Caches', 'cloacina') : join(cache, 'cloacina');
}

describe('the CLI keeps its compiled code', () => {
  test('the default folder belongs to the user', async (t) => {
    const here = place(t);
    if (process.platform === 'darwin') mkdirSync(join(here.home, 'Library'));
    await launch(here);
    assert.notDeepEqual(readdirSync(own(here)), []);
    if (process.platform !== 'win32') assert.equal(statSync(own(here)).mode & 0o777, 0o700);
  });

  test('the folder is in the home if the environment names no other', { skip: posixOnly }, async (t) => {
    const here = place(t);
    for (const cache of ['', 'relative']) {
      await launch(here, { XDG_CACHE_HOME: cache });
      if (process.platform === 'linux') assert.ok(existsSync(join(here.home, '.cache', 'cloacina')));
      assert.equal(existsSync(join(here.home, 'relative')), false);
    }
  });

  test('NODE_COMPILE_CACHE overrides the folder', async (t) => {
    const here = place(t);
    await launch(here, { NODE_COMPILE_CACHE: join(here.home, 'chosen') });
    assert.ok(existsSync(join(here.home, 'chosen')));
    assert.equal(existsSync(own(here)), false);
  });
});

describe('the CLI neither keeps nor reads compiled code in an unsafe folder', { skip: posixOnly }, () => {
  for (const mode of [0o777, 0o770, 0o707]) {
    test(`a folder of the mode ${mode.toString(8)} is unsafe because other users can write to it`, async (t) => {
      const here = place(t);
      mkdirSync(own(here), { recursive: true });
      chmodSync(own(here), mode);
      await launch(here);
      assert.deepEqual(readdirSync(own(here)), []);
    });
  }

  test('a symbolic link is unsafe', async (t) => {
    const here = place(t);
    const planted = join(here.home, 'planted');
    mkdirSync(planted, { mode: 0o700 });
    mkdirSync(join(own(here), '..'), { recursive: true });
    symlinkSync(planted, own(here));
    await launch(here);
    assert.deepEqual(readdirSync(planted), []);
  });

  test('a folder of another user is unsafe', { skip: rootOnly }, async (t) => {
    const here = place(t);
    mkdirSync(own(here), { recursive: true, mode: 0o700 });
    chownSync(own(here), 65_534, 65_534);
    await launch(here);
    assert.deepEqual(readdirSync(own(here)), []);
  });

  test('a folder whose parent other users can replace is unsafe', async (t) => {
    const here = place(t);
    chmodSync(here.cache, 0o777);
    await launch(here);
    assert.deepEqual(readdirSync(here.cache), []);
  });

  test('nothing is kept if there is no folder to use', async (t) => {
    const here = place(t);
    await launch(here, { HOME: '/proc/none', XDG_CACHE_HOME: '/proc/none/cache' });
  });
});
