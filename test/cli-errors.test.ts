import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { describeInIsolate } from '../src/cli/describe.ts';
import { Runner } from '../src/open.ts';
import { buildPackage } from '../src/package/pack/build.ts';
import type { PackageEvent } from '../src/package/load/reconciler.ts';
import { endAll, runCli } from './cli/run-cli.ts';
import type { Ended } from './cli/run-cli.ts';

const broken = `import { writeFile } from 'node:fs/promises';
import { workflow } from 'cloacina';

const flow = workflow('broken');
const retry = { attempts: 1 };

function certificate(): Error {
  return Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
}

flow.task('a_fetch', { retry }, async () => {
  throw new TypeError('fetch failed', { cause: certificate() });
});
flow.task('b_mirrors', { retry }, () => Promise.any([Promise.reject(new Error('eu: 503')), Promise.reject(new Error('us: 504'))]));
flow.task('c_write', { retry }, () => writeFile('/tmp/report.csv', 'x'));
export { flow };
`;

const checking = `import { workflow } from 'cloacina';

function token(): string {
  if (process.env['SHOP_TOKEN'] === undefined) throw new Error('SHOP_TOKEN is not set');
  return process.env['SHOP_TOKEN'];
}

token();
const flow = workflow('shop');
flow.task('a', () => 1);
export { flow };
`;

let dir = '';
let id = '';
let ran: Ended;

async function project(name: string, source: string, env: readonly string[] = []): Promise<Uint8Array> {
  await mkdir(join(dir, name, 'src'), { recursive: true });
  const about = { name, version: '1.0.0', type: 'module', cloacina: { entry: 'src/index.ts', permissions: { env } } };
  await writeFile(join(dir, name, 'package.json'), JSON.stringify(about));
  await writeFile(join(dir, name, 'src', 'index.ts'), source);
  const set = Object.fromEntries(env.map((variable) => [variable, 'x']));
  const built = await buildPackage(join(dir, name), { describe: (code) => describeInIsolate(code, set) });
  await writeFile(join(dir, `${name}.cloacina`), built.bytes);
  return built.bytes;
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-errors-'));
  await project('mirrors', broken);
  const registered = await runCli(dir, ['package', 'register', 'mirrors.cloacina']);
  assert.equal(registered.code, 0, registered.stderr);
  ran = await runCli(dir, ['workflow', 'run', 'broken']);
  id = /Details: cloacina execution show (\S+)/.exec(ran.stderr)?.[1] ?? '';
});

after(async () => {
  endAll();
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
});

describe('interfaces.md, CLI: an error is shown with its reasons', { concurrency: 4 }, () => {
  test('workflow run says the root cause of a failed task, and the causes at the end', () => {
    assert.equal(ran.code, 1);
    assert.match(ran.stderr, /^a_fetch failed \(fetch failed: self-signed certificate, \d/m);
    assert.match(ran.stderr, /^b_mirrors failed \(All promises were rejected: eu: 503; us: 504, \d/m);
    assert.match(
      ran.stderr,
      /in task a_fetch: fetch failed \(TASK_FAILED\)\n {2}caused by Error: self-signed certificate \(DEPTH_ZERO_SELF_SIGNED_CERT\)\nDetails: /,
    );
    assert.doesNotMatch(ran.stderr, /^ +at /m);
  });

  test('execution show has the causes, the parts, and the frames of the own sources', async () => {
    const { stdout } = await runCli(dir, ['execution', 'show', id]);
    const details = stdout.slice(stdout.indexOf('\ntask a_fetch'));
    assert.match(
      details,
      /\ntask a_fetch: TypeError: fetch failed\n {4}at .*src\/index\.ts:\d+:\d+\)?\n {2}caused by Error: self-signed certificate \(DEPTH_ZERO_SELF_SIGNED_CERT\)\n {4}at certificate \(src\/index\.ts:\d+:\d+\)\n/,
    );
    assert.match(
      details,
      /\ntask b_mirrors: AggregateError: All promises were rejected\n {2}with Error: eu: 503\n {6}at .*src\/index\.ts:14:\d+\)?\n {2}with Error: us: 504\n {6}at /,
    );
    assert.match(
      details,
      /\ntask c_write: Error: a package may not write files: \/tmp\/report\.csv; see 'Isolation' in docs\/packages\.md \(ERR_ACCESS_DENIED\)\n {4}at Object\.run \(src\/index\.ts:\d+:\d+\)$/,
    );
    assert.doesNotMatch(details, /node:internal|inline\.ts|guest\.ts/);
  });

  test('execution events and list say the root cause', async () => {
    const [events, list] = await Promise.all([
      runCli(dir, ['execution', 'events', id]),
      runCli(dir, ['execution', 'list']),
    ]);
    assert.match(events.stdout, /task\.failed a_fetch.*"rootCause":"self-signed certificate"/);
    assert.match(list.stdout, /fetch failed: self-signed certificate/);
  });

  test('the document of --json has all fields', async () => {
    const { stdout } = await runCli(dir, ['execution', 'show', id, '--json']);
    const { tasks } = JSON.parse(stdout) as { tasks: { name: string; error: Record<string, unknown> }[] };
    const errors = new Map(tasks.map(({ name, error }) => [name, error]));
    assert.equal((errors.get('b_mirrors')!['errors'] as unknown[]).length, 2);
    assert.equal(errors.get('c_write')!['permission'], 'FileSystemWrite');
    assert.equal(errors.get('c_write')!['resource'], '/tmp/report.csv');
  });

  test('code that throws while it loads is named with its place in the sources', async () => {
    const bytes = await project('shop', checking, ['SHOP_TOKEN']);
    const failed = Promise.withResolvers<PackageEvent>();
    await using runner = await Runner.open('sqlite::memory:', {
      registry: `file:${join(dir, 'shop-packages')}`,
      grants: { env: ['SHOP_TOKEN'] },
      logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
      onPackage: (event) => failed.resolve(event),
    });
    await runner.registry.register(bytes);
    const event = await failed.promise;
    assert.equal(event.event, 'package.failed');
    const message = 'shop v1.0.0 did not load: src/index.ts:4:54: SHOP_TOKEN is not set';
    assert.equal(event.message, message);
    await runner.close();
  });
});
