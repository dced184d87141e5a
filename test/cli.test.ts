import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { describeInIsolate } from '../src/cli/describe.ts';
import { makeProgram } from '../src/cli/program.ts';
import { unchecked, workflow } from '../src/core/definition/workflow.ts';
import { Client, Runner } from '../src/open.ts';
import { defaultDatabase, defaultRegistry } from '../src/index.ts';
import { buildPackage } from '../src/package/pack/build.ts';
import { writeProject } from './cli/project.ts';
import { endAll, runCli, startCli } from './cli/run-cli.ts';
import type { Ended } from './cli/run-cli.ts';

type Document = { readonly [field: string]: unknown };

/** On Windows a signal can only end a process. */
const posixOnly = process.platform === 'win32' ? 'needs signals that a process can handle' : false;

let dir = '';
let packed: Document;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-cli-'));
  await writeProject(join(dir, 'flows'), '1.0.0');
  packed = await json('package', 'pack', 'flows', '-o', 'flows.cloacina');
});

after(async () => {
  endAll();
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
});

/** Another file of the same package, made without the command; its bytes always differ from the first. */
async function pack(folder: string, version: string, file: string): Promise<void> {
  await writeProject(join(dir, folder), version, 'changed');
  const { bytes } = await buildPackage(join(dir, folder), { describe: describeInIsolate });
  await writeFile(join(dir, file), bytes);
}

/** Runs a command that must succeed, without --json. */
async function text(...args: readonly string[]): Promise<string> {
  const ended = await runCli(dir, args);
  assert.equal(ended.code, 0, described(args, ended));
  assert.ok(!ended.stdout.includes('\u001b['), 'colour is for terminals only');
  return ended.stdout;
}

/** Runs a command that must succeed, and returns its document. */
async function json(...args: readonly string[]): Promise<Document> {
  const ended = await runCli(dir, [...args, '--json']);
  assert.equal(ended.code, 0, described(args, ended));
  return JSON.parse(ended.stdout) as Document;
}

/** Runs a command that must fail with an exit code; returns the error of its document. */
async function failure(exit: number, ...args: readonly string[]): Promise<Document> {
  const ended = await runCli(dir, [...args, '--json']);
  assert.equal(ended.code, exit, described(args, ended));
  const { error, ...rest } = JSON.parse(ended.stdout) as { readonly error: Document };
  assert.deepEqual(rest, {});
  return error;
}

function described(args: readonly string[], { code, stdout, stderr }: Ended): string {
  return `cloacina ${args.join(' ')} ended with ${code}:\n${stdout}\n${stderr}`;
}

function items(document: Document): readonly Document[] {
  return document['items'] as readonly Document[];
}

const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Suites run concurrently, each on its own database; the tests of one suite run in order. */
const inOrder = { concurrency: 1 };

describe('interfaces.md, CLI', { concurrency: 2 }, () => {
  describe('the program as a whole', inOrder, () => {
    test('it uses the same places as the library by default', () => {
      const { database, registry } = makeProgram().opts();
      assert.deepEqual([database, registry], [defaultDatabase, defaultRegistry]);
    });

    test('--version and --help exit with 0; a usage error exits with 2 and suggests a near name', async () => {
      const [version, help, none, unknown, option] = await Promise.all([
        text('--version'),
        text('package', '--help'),
        runCli(dir, []),
        runCli(dir, ['packge', 'list']),
        failure(2, 'package', 'list', '--nope'),
      ]);
      const { version: own } = JSON.parse(
        readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
      ) as Document;
      assert.equal(version, own);
      assert.match(help, /register \[options\] <file>/);
      assert.deepEqual([none.code, none.stdout], [2, '']);
      assert.match(none.stderr, /Usage: cloacina/);
      assert.equal(unknown.code, 2);
      assert.match(unknown.stderr, /Did you mean package\?/);
      assert.deepEqual(option, { code: 'USAGE', message: "unknown option '--nope'" });
    });

    test('a bad value of an option is a usage error', async () => {
      const [limit, status, database, registry] = await Promise.all([
        failure(2, 'execution', 'list', '--limit', '0'),
        failure(2, 'execution', 'list', '--status', 'done'),
        failure(2, 'execution', 'list', '--database', 'mysql://x'),
        failure(2, 'package', 'list', '--registry', 'ftp://x'),
      ]);
      assert.match(String(limit['message']), /whole number of at least 1/);
      assert.match(String(status['message']), /pending, running/);
      assert.equal(database['code'], 'DATABASE_URL_INVALID');
      assert.equal(registry['code'], 'REGISTRY_URL_INVALID');
    });

    test('a file that is no database exits with 1 and is not changed', async () => {
      await writeFile(join(dir, 'poem.txt'), 'so much depends upon a red wheel barrow\n'.repeat(100));
      const error = await failure(1, 'workflow', 'list', '--database', 'sqlite:./poem.txt');
      assert.equal(error['code'], 'DATABASE_INVALID');
      assert.match(await readFile(join(dir, 'poem.txt'), 'utf8'), /^so much depends/);
    });

    test('completions prints a script for each shell', async () => {
      const [bash, powershell, error] = await Promise.all([
        text('completions', 'bash'),
        json('completions', 'powershell'),
        failure(2, 'completions', 'tcsh'),
      ]);
      assert.match(bash, /complete -o filenames -F _cloacina cloacina/);
      assert.match(String(powershell['script']), /'schedule add' = '--workflow --cron/);
      assert.match(String(error['message']), /Allowed choices are bash/);
    });
  });

  describe('packages', inOrder, () => {
    const place = ['--database', 'sqlite:packages.db', '--registry', 'file:./packages-registry'];

    test('new makes a project that packs without changes, and refuses a folder that is not empty', async () => {
      const made = await json('package', 'new', 'fresh', '--name', 'spindle');
      assert.deepEqual([made['dir'], made['name']], ['fresh', 'spindle']);
      const [done, error] = await Promise.all([
        text('package', 'pack', 'fresh'),
        failure(5, 'package', 'new', 'fresh'),
      ]);
      assert.match(done, /^Packed spindle v1\.0\.0 into spindle-1\.0\.0\.cloacina \(\d+ bytes\)/);
      assert.equal(error['code'], 'TARGET_EXISTS');
      assert.match(await text('package', 'inspect', 'spindle-1.0.0.cloacina'), /package +spindle v1\.0\.0/);
    });

    test('pack lists the contents of the file, and inspect prints its manifest', async () => {
      const { file, bytes, digest, name, version, workflows } = packed;
      assert.deepEqual([file, name, version], ['flows.cloacina', 'cli_flows', '1.0.0']);
      assert.ok((workflows as readonly Document[]).some((flow) => flow['name'] === 'adding'));
      const manifest = await json('package', 'inspect', 'flows.cloacina');
      assert.deepEqual([manifest['digest'], manifest['bytes'], manifest['formatVersion']], [digest, bytes, 1]);
    });

    test('a file that cannot be read, written or unpacked has its code and exit code', async () => {
      const whole = await readFile(join(dir, 'flows.cloacina'));
      await writeFile(join(dir, 'half.cloacina'), whole.subarray(0, whole.length / 2));
      const [missing, half, folder, unwritable] = await Promise.all([
        failure(3, 'package', 'register', 'none.cloacina', ...place),
        failure(1, 'package', 'register', 'half.cloacina', ...place),
        failure(3, 'package', 'pack', 'nowhere'),
        failure(1, 'package', 'pack', 'flows', '-o', join('flows.cloacina', 'x')),
      ]);
      assert.deepEqual(
        [missing, half, folder, unwritable].map((error) => error['code']),
        ['FILE_UNREADABLE', 'ARCHIVE_CORRUPT', 'FILE_UNREADABLE', 'FILE_UNWRITABLE'],
      );
    });

    test('register, list, show, activate, rollback, yank and unregister', async () => {
      const first = await json('package', 'register', 'flows.cloacina', ...place);
      assert.deepEqual([first['name'], first['created'], first['activated']], ['cli_flows', true, true]);
      await Promise.all([pack('f2', '2.0.0', 'two.cloacina'), pack('f1', '1.0.0', 'other.cloacina')]);
      const again = await text('package', 'register', 'flows.cloacina', ...place);
      assert.match(again, /is already registered; nothing changed/);
      const [exists, second] = await Promise.all([
        failure(5, 'package', 'register', 'other.cloacina', ...place),
        json('package', 'register', 'two.cloacina', '--no-activate', ...place),
      ]);
      assert.deepEqual([exists['code'], exists['packageName']], ['PACKAGE_EXISTS', 'cli_flows']);
      assert.deepEqual([second['created'], second['activated']], [true, false]);

      const head = await json('package', 'activate', 'cli_flows@2.0.0', '--why', 'a test', ...place);
      assert.deepEqual([head['version'], head['channel'], head['serial']], ['2.0.0', 'live', 2]);
      const [list, table, shown, one, none, active] = await Promise.all([
        json('package', 'list', ...place),
        text('package', 'list', ...place),
        json('package', 'show', 'cli_flows', ...place),
        text('package', 'show', 'cli_flows@1.0.0', ...place),
        failure(3, 'package', 'show', 'cli_flows@3.0.0', ...place),
        failure(5, 'package', 'unregister', 'cli_flows@2.0.0', ...place),
      ]);
      assert.deepEqual(
        items(list).map((item) => [item['version'], item['active'], item['status']]),
        [
          ['1.0.0', false, 'published'],
          ['2.0.0', true, 'published'],
        ],
      );
      assert.match(String(items(list)[0]!['registeredAt']), isoTime);
      assert.match(table, /^PACKAGE +VERSION +ACTIVE/);
      assert.deepEqual((shown['channels'] as Document)['live'], { version: '2.0.0', serial: 2 });
      assert.match(one, /^1\.0\.0 +published/m);
      assert.equal(none['code'], 'PACKAGE_NOT_FOUND');
      assert.equal(active['code'], 'PACKAGE_ACTIVE');

      assert.equal((await json('package', 'rollback', 'cli_flows', ...place))['version'], '1.0.0');
      const yanked = await json('package', 'yank', 'cli_flows@2.0.0', ...place);
      assert.deepEqual(yanked, { name: 'cli_flows', version: '2.0.0', status: 'yanked' });
      assert.match(await text('package', 'unyank', 'cli_flows@2.0.0', ...place), /takes new executions again/);
      assert.equal((await failure(2, 'package', 'yank', 'cli_flows', ...place))['code'], 'USAGE');
      const removed = await json('package', 'unregister', 'cli_flows', ...place);
      assert.deepEqual(removed, { name: 'cli_flows', removed: ['1.0.0', '2.0.0'] });
    });
  });

  describe('workflows and executions', inOrder, () => {
    before(() => json('package', 'register', 'flows.cloacina'));

    test('list and show name the workflows, their tasks and needs', async () => {
      const [list, table, shown, graph, unknown] = await Promise.all([
        json('workflow', 'list'),
        text('workflow', 'list'),
        json('workflow', 'show', 'adding'),
        text('workflow', 'show', 'cli_flows/adding'),
        runCli(dir, ['workflow', 'show', 'ading']),
      ]);
      const adding = items(list).find((item) => item['name'] === 'adding');
      assert.deepEqual(adding, { name: 'adding', package: 'cli_flows', version: '1.0.0', tasks: ['sum', 'twice'] });
      assert.match(table, /^adding +cli_flows +1\.0\.0 +sum, twice$/m);
      assert.equal((shown['input'] as Document)['type'], 'object');
      assert.deepEqual((shown['tasks'] as readonly Document[])[1], {
        name: 'twice',
        kind: 'task',
        needs: ['sum'],
        description: 'Doubles it.',
      });
      assert.match(graph, / {2}sum\n.*\n {2}twice {2}needs sum; Doubles it\./);
      assert.equal(unknown.code, 3);
      assert.equal(unknown.stdout, '');
      assert.match(unknown.stderr, /WORKFLOW_NOT_FOUND: there is no workflow 'ading'; did you mean 'adding'\?/);
    });

    test('run prints the result on stdout and its tasks on stderr, one a line without a terminal', async () => {
      await writeFile(join(dir, 'input.json'), '\ufeff{ "numbers": [1, 2, 4] }');
      const [person, document, stdin] = await Promise.all([
        runCli(dir, ['workflow', 'run', 'adding', '--input', '{"numbers":[1,2]}']),
        json('workflow', 'run', 'adding', '--input', '@input.json'),
        runCli(dir, ['workflow', 'run', 'adding', '--input', '@-'], '{"numbers":[5]}'),
      ]);
      assert.equal(person.stdout, '6');
      assert.match(
        person.stderr,
        /^sum completed.*\n(twice started\n)?twice completed.*\ncompleted in .*, execution /m,
      );
      assert.equal(stdin.stdout, '10');
      const { executionId, ...rest } = document;
      const outputs = { sum: 7, twice: 14 };
      assert.deepEqual(rest, { workflow: 'adding', status: 'completed', output: 14, outputs, error: null });

      const [shown, seen, followed] = await Promise.all([
        json('execution', 'show', String(executionId)),
        json('execution', 'events', String(executionId)),
        runCli(dir, ['execution', 'events', String(executionId), '--follow', '--json']),
      ]);
      assert.deepEqual([shown['status'], shown['output'], shown['version']], ['completed', 14, '1.0.0']);
      assert.match(String(shown['endedAt']), isoTime);
      const lines = followed.stdout.split('\n').map((line) => JSON.parse(line) as Document);
      assert.deepEqual(lines, items(seen));
      assert.deepEqual(
        lines.map((event) => event['seq']),
        lines.map((_, at) => at + 1),
      );
      assert.equal(lines.at(-1)!['type'], 'execution.completed');
    });

    test('invalid input exits with 1, names the paths and leaves no execution', async () => {
      const place = ['--database', 'sqlite:empty.db'];
      await json('package', 'register', 'flows.cloacina', ...place);
      const wrong = '{"numbers":[1,"two",3,"four"]}';
      const [error, broken] = await Promise.all([
        failure(1, 'workflow', 'run', 'adding', '--input', wrong, ...place),
        failure(2, 'workflow', 'run', 'adding', '--input', '{', ...place),
      ]);
      assert.equal(error['code'], 'INPUT_INVALID');
      assert.deepEqual(
        (error['issues'] as readonly Document[]).map((issue) => issue['path']),
        ['numbers[1]', 'numbers[3]'],
      );
      assert.match(String(broken['message']), /--input is not JSON/);
      assert.deepEqual(await json('execution', 'list', ...place), { items: [], next: null });
    });

    test('a failed execution prints its document and exits with 1, without moving the cursor', async () => {
      const [person, document] = await Promise.all([
        runCli(dir, ['workflow', 'run', 'failing']),
        runCli(dir, ['workflow', 'run', 'failing', '--json']),
      ]);
      assert.deepEqual([person.code, document.code], [1, 1]);
      assert.match(person.stderr, /failed in .* in task give_up: the \\u001b\[31mwell is dry \(TASK_FAILED\)/);
      const { status, error, output, outputs } = JSON.parse(document.stdout) as Document;
      assert.deepEqual([status, output, outputs], ['failed', null, { fine: 1 }]);
      assert.equal((error as Document)['message'], 'the \u001b[31mwell is dry');
      assert.match(await text('execution', 'list', '--status', 'failed'), /the \\u001b\[31mwell is dry/);
    });

    test('the same idempotency key returns the same execution, and another input is refused', async () => {
      const run = ['workflow', 'run', 'adding', '--idempotency-key', 'k1', '--input'];
      const first = await json(...run, '{"numbers":[1]}');
      const [again, conflict] = await Promise.all([
        json(...run, '{"numbers":[1]}'),
        failure(5, ...run, '{"numbers":[2]}'),
      ]);
      assert.equal(again['executionId'], first['executionId']);
      assert.equal(conflict['code'], 'IDEMPOTENCY_CONFLICT');
    });

    test('an execution of an embedded workflow is started here and run by its own runner', async () => {
      const greeting = workflow('greeting', { input: unchecked<{ name: string }>() });
      const greet = greeting.task('greet', ({ input }) => `hello ${input.name}`);
      await using runner = await Runner.open(`sqlite:${join(dir, 'embedded.db')}`, {
        workflows: [greeting.returns(greet)],
      });
      const ended = await runCli(dir, [
        'workflow',
        'run',
        'greeting',
        '--input',
        '{"name":"ada"}',
        '--database',
        'sqlite:embedded.db',
      ]);
      assert.deepEqual([ended.code, ended.stdout], [0, '"hello ada"'], ended.stderr);
      assert.match(ended.stderr, /embedded in an application; execution .* waits for a runner of that application/);
      assert.equal((await runner.executions.list()).items.length, 1);
    });

    test('a detached execution waits for a runner, the command says so, and it can be cancelled', async () => {
      const place = ['--database', 'sqlite:detached.db'];
      await json('package', 'register', 'flows.cloacina', ...place);
      const ended = await runCli(dir, ['workflow', 'run', 'endless', '--detach', '--json', ...place]);
      const { executionId, status } = JSON.parse(ended.stdout) as Document;
      const id = String(executionId);
      assert.equal(status, 'pending');
      assert.match(ended.stderr, /No runner has claimed it yet/);
      const following = startCli(dir, ['execution', 'events', id, '--follow', '--json', ...place]);
      await following.line('stdout', 'execution.created');
      assert.deepEqual(await json('execution', 'cancel', id, ...place), { id, status: 'cancelled' });
      const followed = (await following.ended).stdout.split('\n').map((line) => JSON.parse(line) as Document);
      assert.deepEqual(
        followed.map(({ seq, type }) => [seq, type]),
        [
          [1, 'execution.created'],
          [2, 'execution.cancelling'],
          [3, 'task.cancelled'],
          [4, 'execution.cancelled'],
        ],
      );
      const [over, unknown] = await Promise.all([
        failure(5, 'execution', 'cancel', id, ...place),
        failure(3, 'execution', 'show', 'nobody', ...place),
      ]);
      assert.deepEqual([over['code'], unknown['code']], ['EXECUTION_ENDED', 'EXECUTION_NOT_FOUND']);
      assert.match(await text('execution', 'show', id, ...place), /status +cancelled/);
    });

    test('Ctrl-C releases the execution and prints how to follow and cancel it', { skip: posixOnly }, async () => {
      const running = startCli(dir, ['workflow', 'run', 'endless', '--database', 'sqlite:interrupted.db']);
      assert.equal((await running.ended).code, 3, 'nothing is registered there yet');
      await json('package', 'register', 'flows.cloacina', '--database', 'sqlite:interrupted.db');
      const again = startCli(dir, ['workflow', 'run', 'endless', '--database', 'sqlite:interrupted.db']);
      await again.line('stderr', 'wait started');
      again.child.kill('SIGINT');
      const { code, stderr, stdout } = await again.ended;
      assert.deepEqual([code, stdout], [130, ''], stderr);
      assert.match(stderr, /The next runner will continue/);
      const id = /cloacina execution cancel (\S+)/.exec(stderr)![1]!;
      await using client = await Client.open(`sqlite:${join(dir, 'interrupted.db')}`);
      assert.equal((await client.executions.get(id)).status, 'pending');
    });
  });

  describe('runner', inOrder, () => {
    const place = ['--database', 'sqlite:runner.db', '--registry', 'file:./runner-registry'];

    test('--json prints one event a line, ready first, and Ctrl-C exits with 0', { skip: posixOnly }, async () => {
      await json('package', 'register', 'flows.cloacina', ...place);
      const runner = startCli(dir, ['runner', '--json', '--name', 'loom', ...place]);
      const ready = JSON.parse(await runner.line('stdout', '"ready"')) as Document;
      assert.match(String(ready['at']), isoTime);
      await runner.line('stdout', 'package.loaded');
      const started = await json('workflow', 'run', 'adding', '--detach', '--input', '{"numbers":[8]}', ...place);
      const completed = JSON.parse(await runner.line('stdout', 'execution.completed')) as Document;
      assert.equal(completed['executionId'], started['executionId']);
      assert.match(await text('package', 'show', 'cli_flows', ...place), /^loom +1\.0\.0 +/m);
      runner.child.kill('SIGTERM');
      const { code, stdout, stderr } = await runner.ended;
      assert.equal(code, 0, stderr);
      const events = stdout.split('\n').map((line) => JSON.parse(line) as Document);
      assert.equal(events[0]!['event'], 'ready');
      assert.equal(events.at(-1)!['event'], 'closed');
    });

    test('--queue selects the queues, as CLOACINA_QUEUES does', { skip: posixOnly }, async () => {
      const at = ['--database', 'sqlite:queues.db'];
      const runner = startCli(dir, ['runner', '--json', '--queue', 'gpu', '--queue', 'big', ...at]);
      const ready = JSON.parse(await runner.line('stdout', '"ready"')) as Document;
      assert.deepEqual(ready['queues'], ['gpu', 'big']);
      runner.child.kill('SIGTERM');
      assert.equal((await runner.ended).code, 0);
      process.env['CLOACINA_QUEUES'] = 'gpu, default';
      const configured = startCli(dir, ['runner', '--json', ...at]);
      delete process.env['CLOACINA_QUEUES'];
      assert.deepEqual((JSON.parse(await configured.line('stdout', '"ready"')) as Document)['queues'], [
        'gpu',
        'default',
      ]);
      configured.child.kill('SIGTERM');
      assert.equal((await configured.ended).code, 0);
      const wrong = await runCli(dir, ['runner', '--queue', '', ...at]);
      assert.equal(wrong.code, 2);
      assert.match(wrong.stderr, /It is not the name of a queue/);
    });

    test('--watch registers the files of a folder and continues after a bad one', { skip: posixOnly }, async () => {
      const drop = await mkdtemp(join(dir, 'drop-'));
      await writeFile(join(drop, 'bad.cloacina'), 'no package');
      await writeFile(join(drop, 'good.cloacina'), await readFile(join(dir, 'flows.cloacina')));
      const runner = startCli(dir, [
        'runner',
        '--watch',
        drop,
        '--database',
        'sqlite:watch.db',
        '--registry',
        'file:./w',
      ]);
      await runner.line('stdout', 'refused');
      await runner.line('stdout', 'cli_flows v1.0.0 loaded');
      runner.child.kill('SIGINT');
      assert.equal((await runner.ended).code, 0);
      assert.ok(existsSync(join(dir, 'w')));
    });

    test('closing its stdout ends it quietly', { skip: posixOnly }, async () => {
      const runner = startCli(dir, ['runner', '--json', '--database', 'sqlite:pipe.db', '--registry', 'file:./pipe']);
      await runner.line('stdout', 'ready');
      runner.child.stdout!.destroy();
      await json('package', 'register', 'flows.cloacina', '--database', 'sqlite:pipe.db', '--registry', 'file:./pipe');
      const { code, stderr } = await runner.ended;
      assert.equal(code, 0);
      assert.match(stderr, /^(cloacina warn: this Node \S+ cannot close the network.*)?$/);
    });
  });

  describe('schedules', inOrder, () => {
    const place = ['--database', 'sqlite:schedules.db', '--registry', 'file:./schedules-registry'];

    test('preview shows the slots of a cron expression in words and times, without a database', async () => {
      const from = ['--timezone', 'Europe/Berlin', '--from', '2026-03-28', '-n', '2'];
      const [document, person] = await Promise.all([
        json('schedule', 'preview', '--cron', '30 2 * * *', ...from, '--database', 'sqlite:never.db'),
        text('schedule', 'preview', '--cron', '30 2 * * *', ...from),
      ]);
      // the second is in the gap of the spring change, and fires at its end
      assert.deepEqual(document['slots'], ['2026-03-28T01:30:00.000Z', '2026-03-29T01:00:00.000Z']);
      assert.match(person, new RegExp(`^${String(document['sentence'])}\\n {2}2026-03-28 01:30:00Z {2}Sat`));
      assert.ok(!existsSync(join(dir, 'never.db')));
    });

    test('a bad cron, zone or date is a usage error that names the field', async () => {
      const errors = await Promise.all([
        failure(2, 'schedule', 'preview', '--cron', '61 * * * *'),
        failure(2, 'schedule', 'preview', '--cron', '0 0 30 2 *'),
        failure(2, 'schedule', 'preview', '--cron', '@daily', '--timezone', 'Europe/Berln'),
        failure(2, 'schedule', 'preview', '--cron', '@daily', '--from', 'tomorrow'),
        failure(2, 'schedule', 'preview'),
      ]);
      assert.deepEqual(
        errors.map((error) => [error['code'], error['field']]),
        [
          ['SCHEDULE_INVALID', 'cron'],
          ['SCHEDULE_INVALID', 'cron'],
          ['SCHEDULE_INVALID', 'timezone'],
          ['USAGE', undefined],
          ['USAGE', undefined],
        ],
      );
      assert.match(String(errors[2]['message']), /did you mean 'Europe\/Berlin'/);
    });

    test('add, list, show, update, preview, pause, resume, history, stats and remove', async () => {
      await json('package', 'register', 'flows.cloacina', ...place);
      const daily = ['schedule', 'add', 'daily', '--workflow', 'adding', '--cron', '0 2 * * *', '--timezone', 'UTC'];
      const input = ['--input', '{"numbers":[1]}'];
      const added = await json(...daily, ...input, ...place);
      assert.deepEqual([added['name'], added['created']], ['daily', true]);
      assert.match(String(added['next']), /T02:00:00\.000Z$/);
      const [again, exists, badInput, unknown, none] = await Promise.all([
        json(...daily, ...input, ...place),
        failure(5, ...daily, '--input', '{"numbers":[2]}', ...place),
        failure(1, ...daily, '--input', '{"numbers":"no"}', ...place),
        failure(3, 'schedule', 'add', 'x', '--workflow', 'ading', '--cron', '@daily', ...place),
        failure(3, 'schedule', 'show', 'weekly', ...place),
      ]);
      assert.equal(again['created'], false);
      assert.deepEqual(
        [exists, badInput, unknown, none].map((error) => error['code']),
        ['SCHEDULE_EXISTS', 'INPUT_INVALID', 'WORKFLOW_NOT_FOUND', 'SCHEDULE_NOT_FOUND'],
      );
      const [list, table, shown, preview] = await Promise.all([
        json('schedule', 'list', ...place),
        text('schedule', 'list', ...place),
        json('schedule', 'show', 'daily', ...place),
        json('schedule', 'preview', 'daily', '-n', '1', ...place),
      ]);
      assert.deepEqual(
        items(list).map(({ name, workflow: of, cron, overlap, paused, next }) => [
          name,
          of,
          cron,
          overlap,
          paused,
          next,
        ]),
        [['daily', 'adding', '0 2 * * *', 'skip', false, added['next']]],
      );
      assert.match(table, /^daily +operator +adding +.*02:00.* +active +/m);
      assert.deepEqual(shown['input'], { numbers: [1] });
      assert.deepEqual(preview['slots'], [added['next']]);

      assert.equal((await json('schedule', 'update', 'daily', '--every', '1h', ...place))['every'], 3_600_000);
      assert.equal((await failure(2, 'schedule', 'update', 'daily', ...place))['code'], 'USAGE');
      assert.equal((await json('schedule', 'pause', 'daily', ...place))['paused'], true);
      assert.match(await text('schedule', 'resume', 'daily', ...place), /^Resumed schedule daily; next /);
      const [history, stats, person] = await Promise.all([
        json('schedule', 'history', 'daily', ...place),
        json('schedule', 'stats', '--since', '1h', ...place),
        text('schedule', 'stats', 'daily', ...place),
      ]);
      assert.deepEqual(history, { items: [] });
      assert.deepEqual([stats['total'], stats['completed'], stats['successRate']], [0, 0, null]);
      assert.match(String(stats['since']), isoTime);
      assert.match(person, /success rate +n\/a \(nothing has finished\)/);
      assert.equal((await json('schedule', 'remove', 'daily', ...place))['name'], 'daily');
      assert.deepEqual(await json('schedule', 'list', ...place), { items: [] });
    });

    test('history and statistics include the slots that a runner fired', { skip: posixOnly }, async () => {
      await json('package', 'register', 'flows.cloacina', ...place);
      const every = ['--every', '200ms', '--overlap', 'allow', '--input', '{"numbers":[3]}'];
      await json('schedule', 'add', 'often', '--workflow', 'cli_flows/adding', ...every, ...place);
      const runner = startCli(dir, ['runner', '--json', ...place]);
      await runner.line('stdout', 'execution.completed');
      runner.child.kill('SIGINT');
      await runner.ended;
      const [history, stats] = await Promise.all([
        json('schedule', 'history', 'often', '--limit', '1000', ...place),
        json('schedule', 'stats', 'often', ...place),
      ]);
      const done = items(history).filter((row) => row['status'] === 'completed');
      assert.ok(done.length > 0);
      assert.equal(stats['completed'], done.length);
      assert.equal(done[0]!['outcome'], 'started');
      assert.match(String(done[0]!['slot']), isoTime);
      const shown = await json('execution', 'show', String(done[0]!['executionId']), ...place);
      assert.deepEqual([(shown['schedule'] as Document)['name'], shown['output']], ['often', 6]);
    });
  });
});
