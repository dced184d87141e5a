import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Runner } from '../src/open.ts';
import { describeInIsolate } from '../src/cli/describe.ts';
import { buildPackage } from '../src/package/pack/build.ts';
import { runCli } from './cli/run-cli.ts';

const source = `import { getHeapStatistics } from 'node:v8';
import { workflow } from 'cloacina';
const w = workflow('memory');
export default w.returns(w.task('a', { retry: { attempts: 1 } }, () => Math.round(getHeapStatistics().heap_size_limit / 2 ** 20)));
const hoard = workflow('hoard');
hoard.task('a', { retry: { attempts: 1 } }, async () => {
  const held = [];
  for (let at = 0; at < 100; at++) { held.push(Buffer.alloc(20e6, 1)); await new Promise((done) => setTimeout(done, 20)); }
  return held.length;
});
export { hoard };
`;

let folder = '';
let project = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloacina-memory-'));
  project = join(folder, 'project');
  mkdirSync(join(project, 'src'), { recursive: true });
  const about = { name: 'memory', version: '1.0.0', type: 'module', cloacina: { entry: 'src/index.ts' } };
  writeFileSync(join(project, 'package.json'), JSON.stringify(about));
  writeFileSync(join(project, 'src', 'index.ts'), source);
});
after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

/** V8 adds its young generation to the limit, at most 192 MB. */
function assertHeap(found: unknown, limitMb: number): void {
  assert(typeof found === 'number' && found >= limitMb && found <= limitMb + 200, `${String(found)} for ${limitMb}`);
}

describe('registry.md, Isolation: the memory of a package has a limit that its runner sets', { concurrency: 2 }, () => {
  test('packageMemory of a runner is the limit of its packages', async (t) => {
    const place = join(folder, 'runner');
    await using runner = await Runner.open(`sqlite:${join(place, 'app.db')}`, {
      registry: `file:${join(place, 'packages')}`,
      packageMemory: { heapMb: 300, offHeapMb: 64 },
      logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    });
    await runner.registry.register((await buildPackage(project, { describe: describeInIsolate })).bytes);
    const { output } = await runner.execute('memory/memory', {});
    assertHeap(output, 300);
    if (process.platform !== 'linux') return t.skip('only Linux tells what another process holds');
    const error: unknown = await runner.execute('memory/hoard', {}).catch((thrown: unknown) => thrown);
    assert.match(
      String(error),
      /may hold 300 MB of heap and 64 MB beside it, so it was killed; a runner raises that with packageMemory or --package-memory/,
    );
  });

  test('--package-memory and CLOACINA_PACKAGE_MEMORY set it for a command, one number for both parts', async () => {
    const run = async (args: readonly string[]): Promise<unknown> => {
      const { code, stdout, stderr } = await runCli(folder, ['workflow', 'run', 'memory/memory', '--json', ...args]);
      assert.equal(code, 0, stderr);
      return (JSON.parse(stdout) as { readonly output: unknown }).output;
    };
    const made = await runCli(folder, ['package', 'pack', project, '--package-memory', '256']);
    assert.equal(made.code, 0, made.stderr);
    assert.equal((await runCli(folder, ['package', 'register', 'memory-1.0.0.cloacina'])).code, 0);
    assertHeap(await run([]), 512);
    assertHeap(await run(['--package-memory', '2048,64']), 2048);
    process.env['CLOACINA_PACKAGE_MEMORY'] = '1024';
    const byEnvironment = run([]);
    delete process.env['CLOACINA_PACKAGE_MEMORY'];
    assertHeap(await byEnvironment, 1024);
  });

  test('a limit that no process could live in is refused with its option', async () => {
    for (const packageMemory of [{ heapMb: 63 }, { heapMb: 1.5 }, { offHeapMb: '512' }, { heap: 512 }] as object[]) {
      await assert.rejects(Runner.open('sqlite::memory:', { packageMemory }), {
        code: 'OPTION_INVALID',
        message: /packageMemory\.(heapMb|offHeapMb|heap)'/,
      });
    }
    for (const given of ['63', '512,', '0,512', '1e3', 'much', '-512']) {
      const { code, stderr } = await runCli(folder, ['runner', `--package-memory=${given}`]);
      assert.equal(code, 2, given);
      assert.match(stderr, /number of MB of at least 64, such as 1024, or two/);
    }
  });
});
