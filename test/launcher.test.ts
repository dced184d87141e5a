import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { root } from '../scripts/tool.ts';
import { runProgram } from './docs/steps.ts';

const launcher = join(root, 'bin', 'cloacina.js');
const { version, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly version: string;
  readonly engines: { readonly node: string };
};

/** Runs the launcher with another `process.versions.node`. */
async function launchOn(node: string): Promise<{ readonly exitCode: number; readonly output: string }> {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${node}' } });`;
  const args = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, launcher, '--version'];
  return await runProgram(process.execPath, args, root, process.env);
}

describe('the launcher', () => {
  for (const node of ['12.22.12', '18.0.0', '20.20.2', '24.14.9']) {
    test(`it names the required Node on Node ${node} in one line and exits with 2`, async () => {
      const { exitCode, output } = await launchOn(node);
      assert.equal(exitCode, 2);
      assert.match(output, new RegExp(`^cloacina needs Node 24\\.15 or newer, but this is Node ${node}: [^\\n]+\\n$`));
    });
  }

  for (const node of ['24.15.0', '26.0.0', '100.1.0']) {
    test(`it starts the CLI on Node ${node}`, async () => {
      assert.deepEqual(await launchOn(node), { exitCode: 0, output: `${version}\n` });
    });
  }

  test('it needs the Node that package.json names', async () => {
    const { output } = await launchOn('1.0.0');
    assert.match(output, new RegExp(`needs Node ${engines.node.slice('>='.length)} or`));
  });

  test(
    'it is found through a link such as npm makes in node_modules/.bin',
    { skip: process.platform === 'win32' },
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'cloacina-link-'));
      try {
        symlinkSync(launcher, join(folder, 'cloacina'));
        const { output } = await runProgram(
          process.execPath,
          [join(folder, 'cloacina'), '--version'],
          folder,
          process.env,
        );
        assert.equal(output, `${version}\n`);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  );
});
