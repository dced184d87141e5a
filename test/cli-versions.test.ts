import assert from 'node:assert/strict';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { endAll, runCli } from './cli/run-cli.ts';
import type { Ended } from './cli/run-cli.ts';
import { VersionPlace } from './versions/place.ts';

type Document = { readonly [field: string]: unknown };

/** The CLI on a place of its own. */
class CliPlace extends VersionPlace {
  run(...args: readonly string[]): Promise<Ended> {
    return runCli(this.folder, ['--database', this.database, '--registry', this.registry, ...args]);
  }

  async text(...args: readonly string[]): Promise<string> {
    const ended = await this.run(...args);
    assert.equal(ended.code, 0, `${args.join(' ')}: ${ended.stdout}\n${ended.stderr}`);
    return ended.stdout;
  }

  async json(...args: readonly string[]): Promise<Document> {
    return JSON.parse(await this.text(...args, '--json')) as Document;
  }

  async error(exit: number, ...args: readonly string[]): Promise<Document> {
    const ended = await this.run(...args, '--json');
    assert.equal(ended.code, exit, `${args.join(' ')}: ${ended.stdout}\n${ended.stderr}`);
    return (JSON.parse(ended.stdout) as { readonly error: Document }).error;
  }

  /** Writes a package file with a workflow; returns its name. */
  async file(name: string, version: string, body: string = answering('w', version)): Promise<string> {
    const file = `${name}-${version}.cloacina`;
    await writeFile(join(this.folder, file), await this.pack(name, version, body));
    return file;
  }
}

/** A workflow whose output is a text. */
function answering(workflow: string, text: string): string {
  return `export const w = workflow('${workflow}');\nw.returns(w.task('a', () => '${text}'));`;
}

/** Fails to load where there is no HOME, as in the process of a package, and not where it is packed. */
const broken = `if (process.env['HOME'] === undefined) throw new Error('no service');\n${answering('w', 'never')}`;

describe('interfaces.md, CLI: register says what it did and what it did not', { concurrency: 2 }, () => {
  after(endAll);

  test('a version that is registered again is not activated silently, and a channel that is named is obeyed', async (t: TestContext) => {
    const place = new CliPlace(t);
    const [one, two] = [await place.file('p', '1.0.0'), await place.file('p', '2.0.0')];
    await place.text('package', 'register', one);
    assert.match(
      await place.text('package', 'register', two, '--no-activate'),
      /^Published p v2\.0\.0 .*; to use it: cloacina package activate p@2\.0\.0$/,
    );
    assert.match(
      await place.text('package', 'register', two, '--no-activate'),
      /is already registered; nothing changed$/,
    );
    assert.match(
      await place.text('package', 'register', two),
      /is already registered; channel live stays at v1\.0\.0\. To use this version: cloacina package activate p@2\.0\.0$/,
    );
    assert.match(
      await place.text('package', 'register', two, '--channel', 'canary'),
      /is already registered; channel canary points to it now$/,
    );
    const { head, created, activated } = await place.json('package', 'register', two, '--channel', 'live');
    assert.deepEqual([head, created, activated], [{ channel: 'live', version: '2.0.0', serial: 2 }, false, true]);
    assert.match(await place.text('package', 'register', two), /is already registered; nothing changed$/);
    assert.equal(
      (await place.error(2, 'package', 'register', two, '--no-activate', '--channel', 'canary'))['code'],
      'USAGE',
    );
    assert.match(
      await place.text('package', 'deactivate', 'p', '--channel', 'canary'),
      /^Removed channel canary of p; it pointed to v2\.0\.0, which stays registered$/,
    );
    assert.match(await place.text('package', 'show', 'p'), /channels +live -> v2\.0\.0$/m);
    assert.equal(
      (await place.error(3, 'package', 'deactivate', 'p', '--channel', 'canary'))['code'],
      'PACKAGE_NOT_FOUND',
    );
  });

  test('a short name that would become ambiguous is refused, and named if that is allowed', async (t: TestContext) => {
    const place = new CliPlace(t);
    await place.text('package', 'register', await place.file('a', '1.0.0', answering('report', 'a')));
    const other = await place.file('b', '1.0.0', answering('report', 'b'));
    const error = await place.error(5, 'package', 'register', other);
    assert.equal(error['code'], 'WORKFLOW_NAME_TAKEN');
    assert.deepEqual(error['names'], [{ workflow: 'report', candidates: ['a/report', 'b/report'] }]);
    assert.match(
      await place.text('package', 'register', other, '--allow-ambiguous'),
      /\n {2}the name 'report' is ambiguous now; use a\/report or b\/report$/,
    );
    assert.equal((await place.error(5, 'workflow', 'run', 'report'))['code'], 'AMBIGUOUS_WORKFLOW');
    assert.match(
      await place.text('schedule', 'add', 'hourly', '--workflow', 'a/report', '--every', '1h'),
      /^Added schedule hourly of a\/report; next /,
    );
  });

  test('a file that was lost is restored and reported; without it the error names the folder', async (t: TestContext) => {
    const place = new CliPlace(t);
    const file = await place.file('p', '1.0.0');
    await place.text('package', 'register', file);
    const folder = place.registry.slice('file:'.length);
    for (const name of await readdir(folder)) if (name.endsWith('.cloacina')) await rm(join(folder, name));
    const missing = await place.error(6, 'workflow', 'run', 'p/w');
    assert.equal(missing['code'], 'PACKAGE_BYTES_MISSING');
    assert.match(
      String(missing['message']),
      /there is no file of package sha256:\w+ in .*packages: is it the same folder on all machines\?/,
    );
    assert.match(
      await place.text('package', 'register', file),
      /is already registered; its file was missing or damaged in the storage and is restored$/,
    );
    assert.equal(await place.text('workflow', 'run', 'p/w'), '"1.0.0"');
  });

  test('register --wait ends when the runners have loaded the version, and fails with the reason if they cannot', async (t: TestContext) => {
    const place = new CliPlace(t);
    const [one, two, three] = [
      await place.file('p', '1.0.0'),
      await place.file('p', '2.0.0', broken),
      await place.file('p', '3.0.0'),
    ];
    const alone = await place.error(6, 'package', 'register', one, '--wait', '300ms');
    assert.deepEqual(
      [alone['code'], alone['message']],
      ['PACKAGE_NOT_LOADED', 'package p v1.0.0 is registered, but no runner has loaded it within 300 ms'],
    );
    await place.runner({ name: 'worker-1' });
    assert.match(await place.text('package', 'register', one, '--wait'), /is already registered; nothing changed$/);
    const failed = await place.error(1, 'package', 'register', two, '--wait');
    assert.equal(failed['code'], 'PACKAGE_LOAD_FAILED');
    assert.match(
      String(failed['message']),
      /^package p v2\.0\.0 is registered, but does not load: LoadFailed on worker-1: .*no service; channel live stays at v1\.0\.0 until it does$/,
    );
    const shown = await place.text('package', 'show', 'p');
    assert.match(shown, /channels +live -> v1\.0\.0 \(wants v2\.0\.0: LoadFailed on worker-1\)$/m);
    assert.match(shown, /held back +.*no service/);
    assert.match(
      await place.text('package', 'register', two),
      /channel live stays at v1\.0\.0 until this version loads/,
    );
    assert.match(await place.text('package', 'register', three, '--wait', '30s'), /^Registered p v3\.0\.0/);
  });
});

describe('interfaces.md, CLI: a version by its name', { concurrency: 2 }, () => {
  after(endAll);

  test('workflow run and show take a version or a channel, and a failed execution continues on another version', async (t: TestContext) => {
    const place = new CliPlace(t);
    const fails =
      "export const w = workflow('w');\nw.returns(w.task('a', { retry: { attempts: 1 } }, () => { throw new Error('the bug'); }));";
    await place.text('package', 'register', await place.file('p', '1.0.0', fails));
    await place.text('package', 'register', await place.file('p', '1.1.0'), '--channel', 'canary');
    assert.equal(await place.text('workflow', 'run', 'p@canary/w'), '"1.1.0"');
    assert.match(await place.text('workflow', 'show', 'p@1.1.0/w'), /package +p v1\.1\.0/);
    const failed = await place.run('workflow', 'run', 'p/w', '--json');
    const { executionId } = JSON.parse(failed.stdout) as Document;
    const id = String(executionId);
    assert.deepEqual(await place.json('execution', 'retry', id, '--version', '1.1.0'), {
      id,
      status: 'pending',
      package: 'p',
      version: '1.1.0',
    });
    await place.text('execution', 'cancel', id);
    assert.match(
      await place.text('execution', 'retry', id, '--version=canary'),
      /^Retrying execution .* with p v1\.1\.0$/,
    );
    const fork = await place.json('execution', 'fork', id, '--from', 'a', '--live');
    assert.equal(fork['version'], '1.0.0');
    assert.equal((await place.error(2, 'execution', 'retry', id, '--live', '--version', '1.0.0'))['code'], 'USAGE');
  });
});

describe('interfaces.md, CLI: workflow run of a version that does not load', { concurrency: 2 }, () => {
  after(endAll);

  test('the error is printed once, and the execution is cancelled; with an idempotency key it waits', async (t: TestContext) => {
    const place = new CliPlace(t);
    await place.text('package', 'register', await place.file('p', '1.0.0', broken));
    const ended = await place.run('workflow', 'run', 'p/w');
    assert.equal(ended.code, 1);
    assert.equal(ended.stderr.split('no service').length - 1, 1, ended.stderr);
    assert.equal(ended.stderr.split('p v1.0.0').length - 1, 1, ended.stderr);
    const [only] = (await place.json('execution', 'list'))['items'] as readonly Document[];
    assert.equal(only!['status'], 'cancelled');
    assert.match(ended.stderr, new RegExp(`execution ${String(only!['id'])} was cancelled`));
    const kept = await place.error(1, 'workflow', 'run', 'p/w', '--idempotency-key', 'k');
    assert.match(
      String(kept['message']),
      /waits for a runner that can load it \(to cancel it: cloacina execution cancel /,
    );
    const { status } = await place.json('execution', 'show', String(kept['executionId']));
    assert.equal(status, 'pending');
  });

  test('an execution whose channel goes back runs on the version that loads, and the reason is printed once', async (t: TestContext) => {
    const place = new CliPlace(t);
    await place.text('package', 'register', await place.file('p', '1.0.0'));
    assert.equal(await place.text('workflow', 'run', 'p/w'), '"1.0.0"');
    await place.text('package', 'register', await place.file('p', '2.0.0', broken));
    const ended = await place.run('workflow', 'run', 'p/w');
    assert.deepEqual([ended.code, ended.stdout], [0, '"1.0.0"'], ended.stderr);
    assert.match(ended.stderr, /^p v2\.0\.0 did not load: no service; the execution goes on with v1\.0\.0$/m);
    assert.equal(ended.stderr.split('no service').length - 1, 1, ended.stderr);
    const named = await place.error(1, 'workflow', 'run', 'p@2.0.0/w');
    assert.equal(named['code'], 'PACKAGE_LOAD_FAILED');
  });
});

describe('registry.md, Crash loop: crashes of workflow run', { concurrency: 2 }, () => {
  after(endAll);

  test('three executions that crash a version, each in a process of its own, quarantine it', async (t: TestContext) => {
    const place = new CliPlace(t);
    const crashes = "export const w = workflow('w');\nw.task('a', { retry: { attempts: 1 } }, () => process.exit(3));";
    await place.text('package', 'register', await place.file('p', '1.0.0', crashes));
    for (let runs = 0; runs < 3; runs++) assert.equal((await place.run('workflow', 'run', 'p/w')).code, 1);
    const [version] = (await place.json('package', 'list'))['items'] as readonly Document[];
    assert.equal(version!['status'], 'quarantined');
    assert.equal((await place.error(5, 'workflow', 'run', 'p/w'))['code'], 'PACKAGE_UNAVAILABLE');
  });
});

describe('interfaces.md, CLI: package run', { concurrency: 2 }, () => {
  after(endAll);

  test('a project runs from its sources, after each edit, and leaves neither a database nor a version', async (t: TestContext) => {
    const place = new CliPlace(t);
    const project = join(place.folder, 'shop');
    await mkdir(project);
    const about = { name: 'shop', version: '1.0.0', type: 'module' };
    const cloacina = { entry: 'index.ts', permissions: { env: ['SHOP_TOKEN'] } };
    await writeFile(join(project, 'package.json'), JSON.stringify({ ...about, cloacina }));
    await writeFile(join(place.folder, 'dev.env'), 'SHOP_TOKEN=secret');
    const write = (text: string, more = ''): Promise<void> =>
      writeFile(
        join(project, 'index.ts'),
        `import { workflow } from 'cloacina';
export const sell = workflow('sell');
sell.returns(sell.task('a', ({ input, env }) => ['${text}', env['SHOP_TOKEN'] ?? null, input]));${more}`,
      );
    await write('one');
    const [run, env] = [['package', 'run', 'shop'] as const, ['--env-file', 'dev.env']];
    const first = await runCli(place.folder, [...run, '--input', '{"n":1}', ...env]);
    assert.equal(first.code, 0, first.stderr);
    assert.deepEqual(JSON.parse(first.stdout), ['one', 'secret', { n: 1 }]);
    assert.match(first.stderr, /^a completed.*\ncompleted in [^,]*$/m);
    await write(
      'two',
      "export const buy = workflow('buy');\nbuy.task('b', { retry: { attempts: 1 } }, () => { throw new Error('no money'); });",
    );
    const [many, second, failed, unknown] = [
      await runCli(place.folder, [...run, '--json']),
      await runCli(place.folder, [...run, 'sell', '--json']),
      await runCli(place.folder, [...run, 'buy']),
      await runCli(place.folder, [...run, 'sel', '--json']),
    ];
    assert.equal(many.code, 2);
    assert.match(many.stdout, /the project has 2 workflows; name one of them: (buy, sell|sell, buy)/);
    assert.deepEqual((JSON.parse(second.stdout) as Document)['output'], ['two', null, {}]);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /failed in .* in task b: no money \(TASK_FAILED\)$/m);
    assert.equal(unknown.code, 3);
    assert.deepEqual(
      (await readdir(place.folder)).filter((name) => name === '.cloacina'),
      [],
    );
  });
});

const server = await testPostgres();
if (typeof server === 'string') {
  test('the tests have a server', (t) => t.skip(server));
} else {
  after(() => server.stop());

  test('interfaces.md, CLI: register on a database server says that the default folder is on this machine only', async (t) => {
    const place = new CliPlace(t, `${server.url}?schema=cli_versions_${process.pid}`);
    const file = await place.file('p', '1.0.0');
    const ended = await runCli(place.folder, ['--database', place.database, 'package', 'register', file]);
    assert.equal(ended.code, 0, ended.stderr);
    assert.match(
      ended.stderr,
      /^The file is in \/.*\.cloacina\/packages on this machine\. Runners on other machines need the same folder/,
    );
    assert.equal((await place.run('package', 'register', file)).stderr, '', 'not where a registry is named');
  });
}
