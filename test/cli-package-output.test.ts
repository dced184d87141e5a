import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { describeInIsolate } from '../src/cli/describe.ts';
import { buildPackage } from '../src/package/pack/build.ts';
import { endAll, runCli, startCli } from './cli/run-cli.ts';

const source = `import { workflow } from 'cloacina';

console.log('code of the package loads');
const flow = workflow('talk');
const said = flow.task('say', ({ log }) => {
  console.log('out line');
  console.error('err \\u001b[31mline');
  log.info('log line');
  return 1;
});
export const talk = flow.returns(said);
`;

type Document = Readonly<Record<string, unknown>>;

let dir = '';

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-printed-'));
  await mkdir(join(dir, 'talker', 'src'), { recursive: true });
  const about = { name: 'talker', version: '1.0.0', type: 'module', cloacina: { entry: 'src/index.ts' } };
  await writeFile(join(dir, 'talker', 'package.json'), JSON.stringify(about));
  await writeFile(join(dir, 'talker', 'src', 'index.ts'), source);
  const { bytes } = await buildPackage(join(dir, 'talker'), { describe: describeInIsolate });
  await writeFile(join(dir, 'talker.cloacina'), bytes);
  const { code, stderr } = await runCli(dir, ['package', 'register', 'talker.cloacina']);
  assert.equal(code, 0, stderr);
});

after(async () => {
  endAll();
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
});

// in order: a runner would take the executions that another test has started
describe('interfaces.md, CLI: people see what a package prints', { concurrency: 1 }, () => {
  test('workflow run shows the lines with their task, and execution logs keeps them', async () => {
    const ran = await runCli(dir, ['workflow', 'run', 'talk']);
    assert.equal(ran.code, 0, ran.stderr);
    assert.equal(ran.stdout, '1');
    const lines = ran.stderr.split('\n');
    for (const line of [
      'talker v1.0.0 | code of the package loads',
      'say | out line',
      String.raw`say | err \u001b[31mline`,
    ]) {
      assert.ok(lines.includes(line), ran.stderr);
    }
    const id = /completed in .*, execution (\S+)/.exec(ran.stderr)?.[1] ?? '';
    const logs = await runCli(dir, ['execution', 'logs', id]);
    const [out, err, log] = logs.stdout.split('\n').map((line) => line.slice('00:00:00.000 '.length));
    assert.equal(out, 'info  say: out line  {"stream":"stdout"}');
    assert.equal(err, String.raw`warn  say: err \u001b[31mline  {"stream":"stderr"}`);
    assert.equal(log, 'info  say: log line');
  });

  test('workflow run --json prints its document alone on stdout', async () => {
    const ran = await runCli(dir, ['workflow', 'run', 'talk', '--json']);
    assert.equal((JSON.parse(ran.stdout) as Document)['output'], 1);
    assert.match(ran.stderr, /^cloacina warn: err \\u001b\[31mline package=talker v1\.0\.0 .*task=say/m);
    assert.doesNotMatch(ran.stderr, /out line/);
  });

  test('a runner prints the lines among its events, with --json as events of their own', async () => {
    const started = startCli(dir, ['runner', '--json']);
    await started.line('stdout', '"event":"ready"');
    const { stdout } = await runCli(dir, ['workflow', 'run', 'talk', '--detach']);
    const out = JSON.parse(await started.line('stdout', '"line":"out line"')) as Document;
    const { at, ...rest } = out;
    assert.match(String(at), /^\d{4}-.*Z$/);
    const which = { executionId: stdout.trim(), task: 'say', item: null, attempt: 1 };
    assert.deepEqual(rest, {
      event: 'package.output',
      name: 'talker',
      version: '1.0.0',
      stream: 'stdout',
      line: 'out line',
      ...which,
    });
    const load = JSON.parse(await started.line('stdout', 'code of the package loads')) as Document;
    assert.deepEqual([load['event'], load['executionId'], load['task']], ['package.output', null, null]);
    started.child.kill('SIGTERM');
    assert.doesNotMatch((await started.ended).stderr, /err/);
  });

  test('a runner without --json shows them with the execution', async () => {
    const started = startCli(dir, ['runner']);
    await started.line('stdout', 'is ready');
    const { stdout } = await runCli(dir, ['workflow', 'run', 'talk', '--detach']);
    const line = await started.line('stdout', `${stdout.trim()} say | out line`);
    assert.ok(line.endsWith(` talker v1.0.0 ${stdout.trim()} say | out line`), line);
    started.child.kill('SIGTERM');
    await started.ended;
  });
});
