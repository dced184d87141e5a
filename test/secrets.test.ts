import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { root } from '../scripts/tool.ts';
import { errorDocument } from '../src/core/error.ts';
import type { CloacinaError } from '../src/core/error.ts';
import { Client } from '../src/open.ts';
import { openStore } from '../src/store/open.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { endAll, runCli, startCli } from './cli/run-cli.ts';

const secret = 'Zx9Secret';

/** No server listens at port 1. */
const refusedUrls = [
  `postgres://app@srv:${secret}@127.0.0.1:1/db`,
  `postgres://app:${secret}@127.0.0.1:1/db`,
  `postgres://app:a@${secret}@127.0.0.1:1/db?schema=work`,
  `postgres://app:@127.0.0.1:1/db?password=${secret}`,
  `postgres://app:@127.0.0.1:1/db?p%61ssword=${secret}`,
  `postgres://127.0.0.1:1/db?sslpassword=${secret}&user=${secret}`,
  `postgres://app:${secret}@127.0.0.1:1,127.0.0.1:2/db`,
  `postgres://app:${secret}@127.0.0.1:1/db#${secret}`,
  `postgres://${secret}@127.0.0.1:1/db`,
];

const unreadableUrls = [
  `postgres://app:${secret}@127.0.0.1:54320000/app`,
  `postgres://app:${secret}@127.0.0.1:port/app`,
  `postgres://app:${secret}@127.0.0.1:1,:x/app`,
  `postgres://app:${secret}@127.0.0.1:1,/app`,
  `postgres://app:a@${secret}/x@127.0.0.1:1/db`,
  `postgres://app:a@${secret}?x@127.0.0.1:1/db`,
  `postgres://app:a@${secret}#x@127.0.0.1:1/db`,
  `postgres://app:${secret}/x@127.0.0.1:1/db`,
  `postgres://app:1/${secret}@127.0.0.1:1/db`,
  `postgres://app:${secret}%@127.0.0.1:1/db`,
  `postgres://app:${secret}%zz@127.0.0.1:1/db`,
  `postgres://app@${secret}@[::1/db`,
  `postgres:app:${secret}@127.0.0.1/db`,
  `postgres:/app:${secret}@127.0.0.1/db`,
  `postgres://127.0.0.1:1/db?schema=a@${secret}`,
  `mysql://app:${secret}@h/db`,
  `mysql://app:x@${secret}@h/db`,
  `mysql://app@srv:${secret}@h:33060000/db`,
  `mysql://h/db?password=${secret}`,
  `MYSQL://app:a/${secret}@h/db`,
  `POSTGRES://app:${secret}@h/db`,
  ` postgres://app:${secret}@h/db`,
  `https://app:${secret}@h/db`,
  `app:${secret}@h/db`,
  `app@srv:${secret}@h/db`,
  `//app:${secret}@h/db`,
  `host=h password=${secret}`,
  `'postgres://app:${secret}@h/db'`,
  `postgres://app:${secret}@h\n/x@h/db`,
];

const registryUrls = [
  `https://app:${secret}@h`,
  `https://app:a@${secret}/x@h`,
  `s3://key:${secret}@bucket/path?secret=${secret}`,
  `app:${secret}@h/packages`,
  `file://app:${secret}@h/packages`,
  `file://h:${secret}/packages`,
  `https://h/packages?X-Amz-Signature=${secret}`,
  `https://h/packages?sig%6eature=${secret}#${secret}`,
];

/** All parts of an error that a program or a logger could print. */
function printed(error: unknown): string {
  const { message, stack } = error as Error;
  const whole = inspect(error, { depth: 10, showHidden: true });
  return [whole, message, stack, JSON.stringify(error), JSON.stringify(errorDocument(error as CloacinaError))].join(
    '\n',
  );
}

async function failureOf(opening: Promise<unknown>): Promise<CloacinaError> {
  const failure = await opening.then(
    () => null,
    (error: unknown) => error,
  );
  assert.ok(failure instanceof Error);
  return failure as CloacinaError;
}

let dir = '';

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-secrets-'));
});

after(async () => {
  endAll();
  await rm(dir, { recursive: true, force: true });
});

describe('output about a database never contains its password', () => {
  for (const url of refusedUrls) {
    test(`no server answers: ${url}`, async () => {
      const error = await failureOf(openStore(url, { patienceMs: 0 }));
      assert.equal(error.code, 'STORE_UNAVAILABLE');
      assert.match(error.message, /postgres:\/\/127\.0\.0\.1:1/);
      assert.ok(!printed(error).includes(secret), printed(error));
    });
  }

  for (const url of unreadableUrls) {
    test(`the database URL is invalid: ${JSON.stringify(url)}`, async () => {
      const error = await failureOf(Client.open(url));
      assert.equal(error.code, 'DATABASE_URL_INVALID', printed(error));
      assert.ok(!printed(error).includes(secret), printed(error));
    });
  }

  test('an error about a password with special characters asks for percent-encoding', async () => {
    for (const url of ['postgres://app:a@b/c@h/db', 'postgres://app:a/b@h/db', 'postgres://app:50%@h/db']) {
      const { message } = await failureOf(Client.open(url));
      assert.match(message, /percent-encode special characters in the password/);
    }
  });

  test('an error from a server that refuses the password does not reveal it', async (t) => {
    const server = await testPostgres();
    if (typeof server === 'string') return t.skip(server);
    t.after(() => server.stop());
    const url = new URL(server.url);
    Object.assign(url, { username: 'nobody_of_this_name', password: secret });
    const error = await failureOf(openStore(url.href, { patienceMs: 0 }));
    assert.ok(!printed(error).includes(secret), printed(error));
  });
});

describe('output about a registry never contains its password', () => {
  for (const url of registryUrls) {
    test(`the registry URL is invalid: ${url}`, async () => {
      const error = await failureOf(Client.open('sqlite::memory:', { registry: url }));
      assert.equal(error.code, 'REGISTRY_URL_INVALID', printed(error));
      assert.ok(!printed(error).includes(secret), printed(error));
    });
  }
});

describe('the commands print no password of a database', { concurrency: 2 }, () => {
  for (const json of [[], ['--json']]) {
    test(`errors print none ${json.join('')}`, async () => {
      const urls = [unreadableUrls[0]!, unreadableUrls[4]!, 'app:Zx9Secret@h/db'];
      for (const url of urls) {
        const { stdout, stderr } = await runCli(dir, ['workflow', 'list', '--database', url, ...json]);
        assert.match(stdout + stderr, /DATABASE_URL_INVALID/);
        assert.ok(!(stdout + stderr).includes(secret), stdout + stderr);
      }
      const { stdout, stderr } = await runCli(dir, ['workflow', 'list', '--registry', registryUrls[0]!, ...json]);
      assert.ok(!(stdout + stderr).includes(secret), stdout + stderr);
    });
  }

  test('the first line of a runner prints none', async (t) => {
    const server = await testPostgres();
    if (typeof server === 'string') return t.skip(server);
    t.after(() => server.stop());
    const url = new URL(server.url);
    if (url.password !== '') return t.skip('the server asks for its own password');
    url.password = secret; // the server of the tests accepts every local user
    const runner = startCli(dir, ['runner', '--json', '--database', `${url.href}?schema=secrets_${process.pid}`]);
    const ready = JSON.parse(await runner.line('stdout', '"ready"')) as { readonly database: string };
    runner.child.kill('SIGTERM');
    const { stdout, stderr } = await runner.ended;
    assert.equal(ready.database, `postgres://${url.host}${url.pathname}?schema=secrets_${process.pid}`);
    assert.ok(!(stdout + stderr).includes(secret), stdout + stderr);
  });

  test('a misspelt option is reported without its value', async () => {
    const { stdout, stderr } = await runCli(dir, ['workflow', 'list', `--databse=postgres://app:${secret}@h/db`]);
    assert.match(stderr, /--databse/);
    assert.ok(!(stdout + stderr).includes(secret), stdout + stderr);
  });

  test('an uncaught error of a program prints none', async () => {
    const open = pathToFileURL(join(root, 'src', 'index.ts')).href;
    const script = `const { Runner } = await import('${open}'); await Runner.open('${unreadableUrls[0]}');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    await new Promise((resolve) => child.on('close', resolve));
    const report = stderr.slice(stderr.indexOf('CloacinaError'));
    assert.match(report, /DATABASE_URL_INVALID/);
    assert.ok(!report.includes(secret), report);
  });

  test('the help says where to put a URL with a password', async () => {
    const { stdout } = await runCli(dir, ['--help']);
    assert.match(stdout.replaceAll(/\s+/g, ' '), /CLOACINA_DATABASE.*password|password.*CLOACINA_DATABASE/);
  });
});
