import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from '../src/open.ts';
import { writeProject } from './cli/project.ts';
import { endAll, runCli, startCli } from './cli/run-cli.ts';

let dir = '';

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-broken-'));
  await writeProject(join(dir, 'flows'), '1.0.0');
  await runCli(dir, ['package', 'pack', 'flows', '-o', 'flows.cloacina']);
  await runCli(dir, ['package', 'register', 'flows.cloacina']);
  const folder = join(dir, '.cloacina', 'packages');
  const name = (await readdir(folder)).find((file) => file.endsWith('.cloacina'));
  const bytes = await readFile(join(folder, name!));
  bytes[500]! ^= 0xff;
  await writeFile(join(folder, name!), bytes);
});

after(async () => {
  endAll();
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
});

describe('registry.md, Storage: flipped bytes are DIGEST_MISMATCH and never run', { concurrency: 2 }, () => {
  test('workflow run reports the code and the waiting execution', async () => {
    const { code, stdout } = await runCli(dir, ['workflow', 'run', 'failing', '--json']);
    const { error } = JSON.parse(stdout) as { readonly error: { readonly [field: string]: unknown } };
    assert.deepEqual([code, error['code']], [1, 'DIGEST_MISMATCH']);
    await using client = await Client.open(`sqlite:${join(dir, '.cloacina', 'cloacina.db')}`);
    assert.equal((await client.executions.get(String(error['executionId']))).workflow, 'failing');
  });

  test('package show names the first condition that failed', async () => {
    const runner = startCli(dir, ['runner', '--name', 'loom', '--json']);
    await runner.line('stdout', 'package.failed');
    const { stdout } = await runCli(dir, ['package', 'show', 'cli_flows']);
    assert.match(stdout, /^loom +1\.0\.0 +verified: DigestMismatch +package in file:/m);
    runner.child.kill('SIGKILL');
  });
});
