import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { describeInIsolate } from '../src/cli/describe.ts';
import { Client, Runner } from '../src/open.ts';
import { packArchive } from '../src/package/archive/archive.ts';
import { buildPackage } from '../src/package/pack/build.ts';
import type { PackageEvent } from '../src/package/load/reconciler.ts';
import { sampleManifest } from '../src/testing/sample-package.ts';
import { endAll, runCli, startCli } from './cli/run-cli.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloacina-permissions-'));
  process.env['SHOP_TOKEN'] = 'a secret';
});
after(() => {
  delete process.env['SHOP_TOKEN'];
  endAll();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

let projects = 0;

/** A project whose workflow returns the visible ones of two names. */
function project(version: string, permissions: object): string {
  const dir = join(folder, `project-${++projects}`);
  mkdirSync(join(dir, 'src'), { recursive: true });
  const cloacina = { entry: 'src/index.ts', permissions };
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'shop', version, type: 'module', cloacina }));
  writeFileSync(
    join(dir, 'src', 'index.ts'),
    `import { workflow } from 'cloacina';
const w = workflow('sell');
export default w.returns(w.task('look', ({ env }) => [env['SHOP_TOKEN'] ?? null, env['STRIPE_KEY'] ?? null]));
`,
  );
  return dir;
}

async function packed(version: string, env: readonly string[]): Promise<Uint8Array> {
  return packedWith(version, { env });
}

interface Place {
  readonly url: string;
  readonly registry: string;
  readonly args: readonly string[];
}

let places = 0;
function place(): Place {
  const dir = join(folder, `place-${++places}`);
  const url = `sqlite:${join(dir, 'app.db')}`;
  const registry = `file:${join(dir, 'packages')}`;
  return { url, registry, args: ['--database', url, '--registry', registry] };
}

async function packedWith(version: string, permissions: object): Promise<Uint8Array> {
  return (await buildPackage(project(version, permissions), { describe: describeInIsolate })).bytes;
}

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

describe('registry.md, Grants: a runner grants the network to packages', { concurrency: 2 }, () => {
  test('a version that asks for the network does not load without a grant, and the error says how to grant it', async () => {
    for (const [net, text] of [
      [true, 'the network'],
      [['api.example.org', 'b.example.org:8443'], 'the network \\(api.example.org, b.example.org:8443\\)'],
    ] as const) {
      const { url, registry } = place();
      const failed = Promise.withResolvers<PackageEvent>();
      const onPackage = (event: PackageEvent): void => failed.resolve(event);
      await using runner = await Runner.open(url, { registry, onPackage, logger: silent, grants: { env: ['*'] } });
      await runner.registry.register(await packedWith('1.0.0', { net, env: ['SHOP_TOKEN'] }));
      const event = await failed.promise;
      assert.ok(event.event === 'package.failed', event.event);
      assert.deepEqual([event.code, event.retryInMs], ['PERMISSION_NOT_GRANTED', null]);
      const how = 'start the runner with --allow-net, or with the option grants: \\{ net: true \\}';
      const what = `asks for ${text}, which this runner does not grant`;
      assert.match(event.message, new RegExp(`^package shop v1\\.0\\.0 ${what}; ${how}$`));
    }
  });

  test('a message names all that is missing', async () => {
    const { url, registry } = place();
    const failed = Promise.withResolvers<PackageEvent>();
    const onPackage = (event: PackageEvent): void => failed.resolve(event);
    await using runner = await Runner.open(url, { registry, onPackage, logger: silent });
    await runner.registry.register(await packedWith('1.0.0', { net: true, env: ['SHOP_TOKEN'] }));
    const event = await failed.promise;
    assert.ok(event.event === 'package.failed', event.event);
    assert.equal(
      event.message,
      'package shop v1.0.0 asks for environment names that this runner does not grant: SHOP_TOKEN; and for the network, which this runner does not grant; ' +
        "start the runner with --allow-env SHOP_TOKEN --allow-net, or with the option grants: { env: ['SHOP_TOKEN'], net: true }",
    );
  });

  test('a grant lets it load, and a version that asks for no host needs none', async () => {
    const { url, registry } = place();
    await using runner = await Runner.open(url, { registry, grants: { net: true, env: ['SHOP_*'] } });
    await runner.registry.register(await packedWith('1.0.0', { net: true, env: ['SHOP_TOKEN'] }));
    assert.deepEqual((await runner.execute('sell', {})).output, ['a secret', null]);
    const other = place();
    await using plain = await Runner.open(other.url, { registry: other.registry, logger: silent });
    await plain.registry.register(await packedWith('1.0.0', { net: [] }));
    assert.deepEqual((await plain.execute('sell', {})).output, [null, null]);
  });

  test('a grant of the network is true or false', async () => {
    for (const net of ['yes', 1, ['api.example.org'], null]) {
      const given = { grants: { net: net as unknown as boolean } };
      await assert.rejects(Runner.open('sqlite::memory:', given), { code: 'OPTION_INVALID', option: 'grants.net' });
    }
  });

  test('register and show say that it is asked for, and --allow-net grants it on the command line', async () => {
    const { args } = place();
    const file = join(folder, 'net.cloacina');
    writeFileSync(file, await packedWith('1.0.0', { net: true }));
    const registered = await runCli(folder, ['package', 'register', file, ...args]);
    assert.match(registered.stdout, /^ {2}asks for network \(new\)$/m);
    assert.match(registered.stdout, /^ {2}runners must grant these: --allow-net$/m);
    const shown = await runCli(folder, ['package', 'show', 'shop', ...args]);
    assert.match(shown.stdout, /^1\.0\.0 +.*network/m);
    const run = ['workflow', 'run', 'sell', '--json', ...args];
    const refused = await runCli(folder, run);
    assert.equal(refused.code, 4, refused.stderr);
    assert.equal((await runCli(folder, [...run, '--allow-net'])).code, 0);
    for (const [value, code] of [
      ['1', 0],
      ['0', 4],
      ['', 4],
      ['maybe', 2],
    ] as const) {
      process.env['CLOACINA_ALLOW_NET'] = value;
      const begun = runCli(folder, run);
      delete process.env['CLOACINA_ALLOW_NET'];
      assert.equal((await begun).code, code, `CLOACINA_ALLOW_NET=${value}`);
    }
  });
});

describe('packages.md, Isolation: a Node that cannot close the network says so', { concurrency: 2 }, () => {
  const open = /this Node \(\S+\) cannot close the network/;
  const isOpen = !process.allowedNodeEnvironmentFlags.has('--allow-net');
  const times = (text: string): number => text.split('cannot close the network').length - 1;

  test('register, show and inspect say it of a package that asks for no network', async () => {
    const { args } = place();
    for (const [net, isTold] of [
      [false, isOpen],
      [true, false],
    ] as const) {
      const file = join(folder, `open-${String(net)}.cloacina`);
      writeFileSync(file, await packedWith(net ? '1.0.0' : '1.0.1', { net }));
      for (const command of [
        ['inspect', file],
        ['register', file, ...args],
        ['show', `shop@${net ? '1.0.0' : '1.0.1'}`, ...args],
      ]) {
        for (const json of [[], ['--json']]) {
          const { stdout, stderr } = await runCli(folder, ['package', ...command, ...json]);
          assert.equal(open.test(stderr), isTold, `${command[0]} ${json.join()}: ${stderr}`);
          assert.equal(times(stdout), 0);
        }
      }
    }
  });

  test('a runner says it once, whatever the number of packages', async () => {
    const { url, registry } = place();
    const warnings: string[] = [];
    const logger = { ...silent, warn: (_: object, message: string) => void warnings.push(message) };
    await using runner = await Runner.open(url, { registry, logger });
    for (const version of ['1.0.0', '1.0.1']) {
      await runner.registry.register(await packedWith(version, {}));
      await runner.execute('sell', {});
    }
    assert.equal(times(warnings.join('\n')), isOpen ? 1 : 0);
  });

  test('a runner whose packages may all use the network, and workflow run, do not say it', async () => {
    const { url, registry } = place();
    const warnings: string[] = [];
    const logger = { ...silent, warn: (_: object, message: string) => void warnings.push(message) };
    await using runner = await Runner.open(url, { registry, logger, grants: { net: true } });
    await runner.registry.register(await packedWith('1.0.0', { net: true }));
    await runner.execute('sell', {});
    assert.equal(times(warnings.join('\n')), 0);
    const other = place();
    const file = join(folder, 'run-closed.cloacina');
    writeFileSync(file, await packedWith('1.0.0', {}));
    await runCli(folder, ['package', 'register', file, ...other.args]);
    const { code, stderr } = await runCli(folder, ['workflow', 'run', 'sell', ...other.args]);
    assert.deepEqual([code, times(stderr)], [0, 0]);
  });
});

describe('registry.md, Grants: a runner grants the environment of packages', { concurrency: 2 }, () => {
  test('a version that asks for a name without a grant does not load, and the error says how to grant it', async () => {
    const { url, registry } = place();
    const failed = Promise.withResolvers<PackageEvent>();
    await using runner = await Runner.open(url, {
      registry,
      onPackage: (event) => failed.resolve(event),
      logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    });
    await runner.registry.register(await packed('1.0.0', ['SHOP_TOKEN', 'STRIPE_KEY']));
    const event = await failed.promise;
    assert.equal(event.event, 'package.failed');
    assert.deepEqual([event.code, event.retryInMs], ['PERMISSION_NOT_GRANTED', null]);
    assert.equal(
      event.message,
      'package shop v1.0.0 asks for environment names that this runner does not grant: SHOP_TOKEN, STRIPE_KEY; ' +
        "start the runner with --allow-env SHOP_TOKEN,STRIPE_KEY, or with the option grants: { env: ['SHOP_TOKEN', 'STRIPE_KEY'] }",
    );
  });

  test('granted names are visible by name or prefix, and unset names are missing', async () => {
    const { url, registry } = place();
    await using runner = await Runner.open(url, { registry, grants: { env: ['SHOP_*', 'STRIPE_KEY'] } });
    await runner.registry.register(await packed('1.0.0', ['SHOP_TOKEN', 'STRIPE_KEY']));
    assert.deepEqual((await runner.execute('sell', {})).output, ['a secret', null]);
  });

  test('a version that asks for more than its predecessor replaces it only after a runner grants it', async () => {
    const { url, registry } = place();
    const failed = Promise.withResolvers<void>();
    const grants = { env: ['SHOP_TOKEN'] };
    const first = await Runner.open(url, {
      registry,
      grants,
      onPackage: (event) => {
        if (event.event === 'package.failed') failed.resolve();
      },
      logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    });
    await first.registry.register(await packed('1.0.0', ['SHOP_TOKEN']));
    assert.deepEqual((await first.execute('sell', {})).output, ['a secret', null]);
    const { asks } = await first.registry.register(await packed('1.0.1', ['SHOP_TOKEN', 'STRIPE_KEY']));
    assert.deepEqual(asks, {
      net: false,
      env: ['SHOP_TOKEN', 'STRIPE_KEY'],
      added: { net: false, env: ['STRIPE_KEY'] },
    });
    await failed.promise;
    assert.deepEqual((await first.execute('sell', {})).output, ['a secret', null]);
    assert.deepEqual((await first.registry.show('shop')).channels['live'], {
      version: '1.0.0',
      serial: 3,
      wanted: '1.0.1',
    });
    await first.close();

    const loaded = Promise.withResolvers<void>();
    await using second = await Runner.open(url, {
      registry,
      grants: { env: ['*'] },
      onPackage: (event) => {
        if (event.event === 'package.loaded' && event.version === '1.0.1') loaded.resolve();
      },
    });
    await loaded.promise;
    let { version } = (await second.registry.show('shop')).channels['live']!;
    while (version !== '1.0.1') version = (await second.registry.show('shop')).channels['live']!.version;
  });

  test("Cloacina's own names are refused by pack, and by register for files packed elsewhere", async () => {
    const refused = await runCli(folder, ['package', 'pack', project('1.0.0', { env: ['CLOACINA_DATABASE'] })]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /cloacina\.permissions\.env\[0\]: it must not be a name of Cloacina itself/);
    const manifest = sampleManifest();
    const asking = { ...manifest, permissions: { ...manifest.permissions, env: ['CLOACINA_DATABASE'] } };
    await using client = await Client.open(place().url, { registry: place().registry });
    await assert.rejects(
      packArchive(asking, new Map([['code/index.mjs', Buffer.from('')]])).then(({ bytes }) =>
        client.registry.register(bytes),
      ),
      { code: 'MANIFEST_INVALID', message: /permissions\.env\[0\]: it must not be a name of Cloacina itself/ },
    );
  });

  test('a package that asks for files is refused by pack and register because no runner supports it', async () => {
    const dir = project('1.0.0', { read: ['/etc'] });
    const refused = await runCli(folder, ['package', 'pack', dir]);
    assert.match(refused.stderr, /PROJECT_INVALID.*cloacina\.permissions\.read asks for files/);
    const { url, registry } = place();
    await using client = await Client.open(url, { registry });
    const manifest = sampleManifest();
    for (const kind of ['read', 'write']) {
      const asking = { ...manifest, permissions: { ...manifest.permissions, [kind]: ['/etc'] } };
      const { bytes } = await packArchive(asking, new Map([['code/index.mjs', Buffer.from('')]]));
      await assert.rejects(client.registry.register(bytes), { code: 'MANIFEST_INVALID', path: `permissions.${kind}` });
    }
    assert.deepEqual(await client.registry.list(), []);
  });

  test('a grant that is no valid name is refused', async () => {
    for (const env of [['A=B'], [''], ['*_KEY'], ['A,B'], [7]]) {
      const given = { grants: { env: env as string[] } };
      await assert.rejects(Runner.open('sqlite::memory:', given), { code: 'OPTION_INVALID', option: 'grants.env' });
    }
    const unknown = { grants: { evn: [] } as object };
    await assert.rejects(Runner.open('sqlite::memory:', unknown), { code: 'OPTION_INVALID', option: 'grants.evn' });
  });
});

describe('registry.md, Grants: --allow-env grants names on the command line', { concurrency: 2 }, () => {
  const run = ['workflow', 'run', 'sell', '--json'];

  test('register shows the requested names and marks new ones', async () => {
    const { args } = place();
    const file = join(folder, 'asking.cloacina');
    writeFileSync(file, await packed('1.0.0', ['SHOP_TOKEN']));
    const first = await runCli(folder, ['package', 'register', file, ...args]);
    assert.match(first.stdout, /^ {2}asks for env: SHOP_TOKEN \(new\)$/m);
    assert.match(first.stdout, /^ {2}runners must grant these: --allow-env SHOP_TOKEN$/m);
    writeFileSync(file, await packed('1.0.1', ['SHOP_TOKEN', 'STRIPE_KEY']));
    const second = await runCli(folder, ['package', 'register', file, ...args]);
    assert.match(second.stdout, /^ {2}asks for env: SHOP_TOKEN, STRIPE_KEY \(new\)$/m);
    writeFileSync(file, await packed('1.0.2', ['SHOP_TOKEN', 'STRIPE_KEY']));
    const third = await runCli(folder, ['package', 'register', file, ...args, '--json']);
    const { asks } = JSON.parse(third.stdout) as { readonly asks: unknown };
    assert.deepEqual(asks, { net: false, env: ['SHOP_TOKEN', 'STRIPE_KEY'], added: { net: false, env: [] } });
    const shown = await runCli(folder, ['package', 'show', 'shop', ...args]);
    assert.match(shown.stdout, /^1\.0\.2 +.*env: SHOP_TOKEN, STRIPE_KEY/m);
  });

  test('workflow run follows the rule of a runner and exits with 4', async () => {
    const { args } = place();
    const file = join(folder, 'run.cloacina');
    writeFileSync(file, await packed('1.0.0', ['SHOP_TOKEN']));
    assert.equal((await runCli(folder, ['package', 'register', file, ...args])).code, 0);
    const refused = await runCli(folder, [...run, ...args]);
    assert.equal(refused.code, 4, refused.stderr);
    assert.equal((JSON.parse(refused.stdout) as { error: { code: string } }).error.code, 'PERMISSION_NOT_GRANTED');
    const granted = await runCli(folder, [...run, ...args, '--allow-env', 'OTHER, SHOP_*', '--allow-env', 'MORE']);
    assert.deepEqual((JSON.parse(granted.stdout) as { output: unknown }).output, ['a secret', null]);
    const bad = await runCli(folder, [...run, ...args, '--allow-env', 'A=B']);
    assert.equal(bad.code, 2);
  });

  test('a runner accepts the option', async () => {
    const { url, registry, args } = place();
    await using client = await Client.open(url, { registry });
    await client.registry.register(await packed('1.0.0', ['SHOP_TOKEN']));
    const { id } = await client.start('sell', {});
    const refusing = startCli(folder, ['runner', ...args]);
    await refusing.line('stderr', '1 package, 1 open execution cannot run here');
    refusing.child.kill('SIGKILL');
    await refusing.ended;
    const granting = startCli(folder, ['runner', ...args, '--allow-env', 'SHOP_TOKEN']);
    assert.deepEqual((await client.handle<unknown>(id).result()).output, ['a secret', null]);
    granting.child.kill('SIGKILL');
    await granting.ended;
  });

  test('pack takes requested names from the environment and from --env-file', async () => {
    const dir = project('2.0.0', { env: ['SHOP_TOKEN', 'SHOP_MODE'] });
    const check = `for (const name of ['SHOP_TOKEN', 'SHOP_MODE']) if (!process.env[name]) process.exit(1);\n`;
    writeFileSync(join(dir, 'src', 'check.ts'), `${check}export {};\n`);
    const source = readFileSync(join(dir, 'src', 'index.ts'), 'utf8');
    writeFileSync(join(dir, 'src', 'index.ts'), `import './check.ts';\n${source}`);
    const file = join(folder, 'checked.cloacina');
    const refused = await runCli(folder, ['package', 'pack', dir, '-o', file]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /exited with code 1; SHOP_MODE is in permissions\.env but is not set here/);
    writeFileSync(join(folder, 'pack.env'), '# for packing\nexport SHOP_MODE="test" # quoted\nSHOP_TOKEN=other\n');
    const made = await runCli(folder, ['package', 'pack', dir, '-o', file, '--env-file', 'pack.env']);
    assert.equal(made.code, 0, made.stderr);
    // Node itself looks for a file of this option, and ends before the command begins
    const none = await runCli(folder, ['package', 'pack', dir, '-o', file, '--env-file', 'none.env']);
    assert.notEqual(none.code, 0);
    assert.match(none.stderr, /none\.env/);
  });

  test('CLOACINA_ALLOW_ENV grants like --allow-env', async () => {
    const { args } = place();
    const file = join(folder, 'by-environment.cloacina');
    writeFileSync(file, await packed('1.0.0', ['SHOP_TOKEN']));
    assert.equal((await runCli(folder, ['package', 'register', file, ...args])).code, 0);
    process.env['CLOACINA_ALLOW_ENV'] = 'OTHER,SHOP_*';
    const granted = runCli(folder, [...run, ...args]);
    delete process.env['CLOACINA_ALLOW_ENV'];
    assert.deepEqual((JSON.parse((await granted).stdout) as { output: unknown }).output, ['a secret', null]);
  });
});
