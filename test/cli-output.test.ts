import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { StdioOptions } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { root } from '../scripts/tool.ts';
import { Client } from '../src/open.ts';
import { writeProject } from './cli/project.ts';
import { endAll, runCli } from './cli/run-cli.ts';

const linuxOnly = process.platform === 'linux' ? false : 'needs /dev/full';
const posixOnly = process.platform === 'win32' ? 'needs a limit on the size of files' : false;
const main = join(root, 'bin', 'cloacina.js');

let dir = '';

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-output-'));
});

after(async () => {
  endAll();
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
});

interface Said {
  readonly code: number | null;
  readonly stderr: string;
}

/** A command whose stdout is a full disk. */
function onFullDisk(...args: readonly string[]): Promise<Said> {
  return ended(process.execPath, [main, ...args], ['ignore', openSync('/dev/full', 'w'), 'pipe']);
}

function ended(command: string, args: readonly string[], stdio: StdioOptions): Promise<Said> {
  const child = spawn(command, args, { cwd: dir, stdio });
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stderr })));
}

describe('interfaces.md, CLI: output that cannot be written', { concurrency: 2 }, () => {
  test('a result without room on the disk exits with 1 and names the reason', { skip: linuxOnly }, async () => {
    const all = await Promise.all([
      onFullDisk('workflow', 'list', '--json'),
      onFullDisk('completions', 'bash'),
      onFullDisk('--help'),
    ]);
    for (const { code, stderr } of all) {
      assert.equal(code, 1, stderr);
      assert.match(stderr, /^error FILE_UNWRITABLE: stdout cannot be written: the disk is full\n/);
      assert.doesNotMatch(stderr, /^ +at /m);
    }
  });

  test(
    'a failure whose document cannot be written is reported on stderr with its own exit code',
    {
      skip: linuxOnly,
    },
    async () => {
      const { code, stderr } = await onFullDisk('workflow', 'show', 'nothing', '--json');
      assert.deepEqual([code, stderr.split(':', 1)[0]], [3, 'error WORKFLOW_NOT_FOUND']);
    },
  );

  test('a result that the disk cuts short is a failure', { skip: posixOnly }, async () => {
    const script = `ulimit -f 1; exec "$0" "$1" completions bash --json > cut.json`;
    const { code, stderr } = await ended('/bin/sh', ['-c', script, process.execPath, main], ['ignore', 'pipe', 'pipe']);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /FILE_UNWRITABLE: stdout cannot be written: the file would be larger than allowed/);
    assert.ok(readFileSync(join(dir, 'cut.json')).length > 0);
  });

  test('an error is printed as one line, so it can end a stream of lines', async () => {
    const { code, stdout } = await runCli(dir, ['runner', '--json', '--watch', 'nowhere']);
    const { error } = JSON.parse(stdout) as { readonly error: { readonly code: string } };
    assert.deepEqual([code, error.code, stdout.split('\n').length], [3, 'FILE_UNREADABLE', 1]);
  });

  test('a runner continues when its stdout is full and its stderr is not read', { skip: linuxOnly }, async (t) => {
    await writeProject(join(dir, 'flows'), '1.0.0');
    await runCli(dir, ['package', 'pack', 'flows', '-o', 'flows.cloacina']);
    await runCli(dir, ['package', 'register', 'flows.cloacina']);
    const child = spawn(process.execPath, [main, 'runner', '--json'], {
      cwd: dir,
      stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
    });
    t.after(() => child.kill('SIGKILL'));
    child.stderr!.destroy();
    await using client = await Client.open(`sqlite:${join(dir, '.cloacina', 'cloacina.db')}`);
    const { output } = await client.execute('adding', { numbers: [1, 2] });
    assert.equal(output, 6);
    child.kill('SIGTERM');
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
      child.on('close', (...how) => resolve(how));
    });
    assert.deepEqual([code, signal], [0, null]);
  });
});
