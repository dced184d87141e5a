import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { root } from '../scripts/tool.ts';
import { runProgram } from './docs/steps.ts';

const launcher = join(root, 'bin', 'cloacina.js');
const { version, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly version: string;
  readonly engines: { readonly node: string };
};

interface Ended {
  readonly exitCode: number;
  readonly output: string;
}

/** Runs a program with another `process.versions.node`. */
async function runOn(node: string, ...program: readonly string[]): Promise<Ended> {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${node}' } });`;
  const args = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, ...program];
  return await runProgram(process.execPath, args, root, process.env);
}

function launchOn(node: string): Promise<Ended> {
  return runOn(node, launcher, '--version');
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

describe('the library', () => {
  /** Opens a client and a runner, and prints the error of each, or nothing. */
  const program = `
    import { Client, Runner } from ${JSON.stringify(pathToFileURL(join(root, 'src', 'index.ts')).href)};
    for (const kind of [Client, Runner]) {
      try {
        await (await kind.open('sqlite::memory:')).close();
      } catch (error) {
        console.log(error.name, error.code, error.message);
      }
    }`;
  const openOn = (node: string): Promise<Ended> => runOn(node, '--input-type=module', '-e', program);

  for (const node of ['18.0.0', '20.20.2', '24.14.9']) {
    test(`an opening on Node ${node} is NODE_TOO_OLD and names the required Node`, async () => {
      const { output } = await openOn(node);
      const needed = engines.node.slice('>='.length);
      const line = `CloacinaError NODE_TOO_OLD cloacina needs Node ${needed} or newer, but this is Node ${node}; install a newer version from https://nodejs.org\n`;
      assert.equal(output, line.repeat(2));
    });
  }

  test('an opening on the required Node and on later ones succeeds', async () => {
    for (const node of ['24.15.0', '100.0.0']) assert.deepEqual(await openOn(node), { exitCode: 0, output: '' });
  });
});
