import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { root } from '../scripts/tool.ts';
import { writeProject } from './cli/project.ts';
import { runCli } from './cli/run-cli.ts';

const posixOnly = process.platform === 'win32' ? 'a working folder cannot be removed there' : false;
/** Mounts in a namespace of the process, removed with it. */
const mayMount = process.platform === 'linux' && spawnSync('/bin/sh', ['-c', 'unshare -m true']).status === 0;
const mountsOnly = mayMount ? false : 'needs the right to mount a disk';
const cli = `"${process.execPath}" "${join(root, 'bin', 'cloacina.js')}"`;

let dir = '';

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-places-'));
  await writeProject(join(dir, 'flows'), '1.0.0');
});

after(() => rm(dir, { recursive: true, force: true }));

/** Runs a shell script in the folder; returns the JSON documents that its commands print on stdout. */
async function shell(script: string): Promise<readonly Printed[]> {
  const child = spawn('/bin/sh', ['-c', mayMount ? 'exec unshare -m /bin/sh -c "$0"' : 'eval "$0"', script], {
    cwd: dir,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  await new Promise((resolve) => child.on('close', resolve));
  assert.equal(stderr, '');
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Printed);
}

interface Printed {
  readonly error: { readonly code: string; readonly message: string };
}

describe('interfaces.md, CLI: places that cannot be used', { concurrency: 2 }, () => {
  test('an error says that the working folder was removed', { skip: posixOnly }, async () => {
    const script = `mkdir gone && cd gone && rmdir ../gone && ${cli} workflow list --json; ${cli} runner --json`;
    for (const { error } of await shell(script)) {
      assert.equal(error.code, 'FILE_UNREADABLE');
      assert.match(error.message, /the working folder no longer exists/);
    }
  });

  test('an empty name of a place counts as unset, as in the library', { skip: posixOnly }, async () => {
    const script = `CLOACINA_DATABASE= CLOACINA_REGISTRY= ${cli} workflow list --json | tr -d '\\n'`;
    assert.deepEqual(await shell(script), [{ items: [] }]);
  });

  test('an error says that a disk is read-only, for every kind of write', { skip: mountsOnly }, async () => {
    await runCli(dir, ['package', 'pack', 'flows', '-o', 'flows.cloacina']);
    const commands = [
      'workflow list',
      '--database sqlite:./none/other.db workflow list',
      'package new fresh',
      '--database sqlite:../own.db --registry file:./registry package register ../flows.cloacina',
      'package pack ../flows -o here.cloacina',
    ];
    const run = commands.map((command) => `${cli} ${command} --json`).join('; ');
    const mount = `mkdir disk && mount -t tmpfs none disk && cd disk && ${cli} workflow list >/dev/null`;
    const script = `${mount}; mount -o remount,ro . && { ${run}; TMPDIR=. ${cli} package pack ../flows --json; }`;
    const all = await shell(script);
    assert.deepEqual(
      all.map(({ error }) => error.code),
      [
        'DATABASE_READ_ONLY',
        'DATABASE_READ_ONLY',
        'FILE_UNWRITABLE',
        'REGISTRY_UNAVAILABLE',
        'FILE_UNWRITABLE',
        'FILE_UNWRITABLE',
      ],
    );
    for (const { error } of all.slice(1)) assert.match(error.message, /read-only/);
  });

  test('an error names a full folder for temporary files', { skip: mountsOnly }, async () => {
    const fill = `mkdir full && mount -t tmpfs -o size=64k none full && head -c 65536 /dev/zero > full/zeros`;
    const script = `${fill}; TMPDIR="$PWD/full" ${cli} package pack flows --json`;
    const [printed] = await shell(script);
    assert.equal(printed!.error.code, 'FILE_UNWRITABLE');
    assert.match(printed!.error.message, /full cannot be written: the disk is full/);
  });
});
