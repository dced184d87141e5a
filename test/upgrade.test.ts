import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { root } from '../scripts/tool.ts';
import { Client, Runner } from '../src/open.ts';
import { endAll, runCli, startCli } from './cli/run-cli.ts';

/**
 * `released/VERSION.cloacina` is `released/tour`, packed by that version of Cloacina. The files never change: packages
 * that users packed then must run on every later version. A release adds its own: `cloacina package pack
 * test/released/tour -o test/released/VERSION.cloacina`.
 */
const released = join(root, 'test', 'released');
const files = readdirSync(released).filter((name) => name.endsWith('.cloacina'));

const { version: ownVersion } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

const grants = { env: ['TOUR_TOKEN'] };
const input = { numbers: [1, 2, 3] };
const output = {
  words: ['one', 'two', 'three'],
  again: 2,
  half: 7.5,
  approved: { by: 'ada' },
  never: 'skipped',
  given: 'given up',
  named: 'tour/report',
  hasKey: true,
};

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloacina-upgrade-'));
});
after(() => {
  endAll();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** This checkout with another version number. */
function checkoutOf(version: string): string {
  const home = join(folder, `cloacina-${version}`);
  for (const part of ['bin', 'src']) cpSync(join(root, part), join(home, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'), 'junction');
  const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as object;
  writeFileSync(join(home, 'package.json'), JSON.stringify({ ...about, version }));
  return home;
}

describe('packages of every released version run on this one', { concurrency: 1 }, () => {
  test('a package of the version of this checkout is among them', () => {
    assert.ok(files.includes(`${ownVersion}.cloacina`), `released/${ownVersion}.cloacina does not exist`);
  });

  for (const file of files) {
    test(file, async () => {
      const place = join(folder, file);
      const registry = `file:${join(place, 'packages')}`;
      await using runner = await Runner.open(`sqlite:${join(place, 'app.db')}`, { registry, grants });
      await runner.registry.register(readFileSync(join(released, file)));
      const { id } = await runner.start('tour', input);
      await runner.signal(id, 'approved', { by: 'ada' });
      assert.deepEqual((await runner.handle<unknown>(id).result()).output, output);
      await assert.rejects(runner.start('tour', { numbers: 1 }), { code: 'INPUT_INVALID' });
    });
  }
});

describe('an upgrade to a later version of Cloacina', { concurrency: 1 }, () => {
  for (const version of ['0.2.0', '1.0.0']) {
    test(`${version} runs the packages of this version and resumes their open executions`, async () => {
      const place = join(folder, version);
      const url = `sqlite:${join(place, 'app.db')}`;
      const registry = `file:${join(place, 'packages')}`;
      const args = ['--database', url, '--registry', registry];
      const packed = join(folder, `${version}.cloacina`);
      const own = await runCli(folder, ['package', 'pack', join(released, 'tour'), '-o', packed]);
      assert.equal(own.code, 0, own.stderr);

      const runner = await Runner.open(url, { registry, grants });
      await runner.registry.register(readFileSync(packed));
      const { id } = await runner.start('tour', input);
      for await (const { type, task } of runner.executions.watch(id)) {
        if (type === 'task.waiting' && task === 'approval') break;
      }
      await runner.close();

      const home = checkoutOf(version);
      assert.equal((await runCli(folder, ['--version'], '', home)).stdout, version);
      const later = startCli(folder, ['runner', ...args, '--allow-env', 'TOUR_TOKEN', '--json'], '', home);
      await later.line('stdout', 'package.loaded');
      await using client = await Client.open(url);
      await client.signal(id, 'approved', { by: 'ada' });
      assert.deepEqual((await client.handle<unknown>(id).result()).output, output);

      const again = await client.start('tour', input);
      await client.signal(again.id, 'approved', { by: 'ada' });
      assert.deepEqual((await client.handle<unknown>(again.id).result()).output, output);
      later.child.kill('SIGKILL');
      await later.ended;
    });
  }

  test('a runner reports once at its start how many packages and open executions it cannot run', async () => {
    const place = join(folder, 'unable');
    const url = `sqlite:${join(place, 'app.db')}`;
    const registry = `file:${join(place, 'packages')}`;
    const strict = join(folder, 'strict');
    cpSync(join(released, 'tour'), strict, { recursive: true });
    const about = JSON.parse(readFileSync(join(strict, 'package.json'), 'utf8')) as { readonly cloacina: object };
    const engine = { cloacina: '~0.1.0' };
    writeFileSync(join(strict, 'package.json'), JSON.stringify({ ...about, cloacina: { ...about.cloacina, engine } }));
    const packed = join(folder, 'strict.cloacina');
    assert.equal((await runCli(folder, ['package', 'pack', strict, '-o', packed])).code, 0);
    await using client = await Client.open(url, { registry });
    await client.registry.register(readFileSync(packed));
    await client.start('tour', input);
    await client.start('tour', input);

    const args = ['runner', '--database', url, '--registry', registry];
    const later = startCli(folder, args, '', checkoutOf('0.2.1'));
    const warning = await later.line('stderr', 'cannot run here');
    assert.match(
      warning,
      /1 package, 2 open executions cannot run here: tour v1\.0\.0 \(ENGINE_UNSUPPORTED, 2 executions\)$/,
    );
    later.child.kill('SIGKILL');
    const { stderr } = await later.ended;
    assert.equal(stderr.match(/cannot run here/g)?.length, 1);
  });
});
