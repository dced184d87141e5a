import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { rolldown } from 'rolldown';
import { root } from '../scripts/tool.ts';
import { openStore } from '../src/store/open.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { runProgram } from './docs/steps.ts';

const server = await testPostgres();
let schemas = 0;

/** Runs a workflow, prints its output, and closes when its input ends. */
const runnerProgram = `
  import { Runner, workflow } from 'cloacina';
  const flow = workflow('ship');
  const sent = flow.task('send', () => 'sent');
  async function main() {
    const { DATABASE: url, REGISTRY: registry } = process.env;
    const runner = await Runner.open(url, { workflows: [flow.returns(sent)], lease: '1s', ...(registry ? { registry } : {}) });
    console.log('output', (await runner.execute('ship')).output);
    process.stdin.resume();
    await new Promise((resolve) => process.stdin.on('end', resolve));
    await runner.close();
    console.log('closed');
  }
  main().catch((error) => console.log('failed', error.code, error.message));`;

const publisherProgram = `
  import { readFile } from 'node:fs/promises';
  import { Client } from 'cloacina';
  async function main() {
    const client = await Client.open('sqlite::memory:', { registry: 'file:./packages' });
    const bytes = await readFile(process.env.PACKAGE);
    await client.registry.register(bytes).catch((error) => console.log('failed', error.code, error.message));
    await client.close();
  }
  main();`;

type Format = 'an ES module' | 'CommonJS without the URL of a module';

/** Bundles a program with the library into one file of an application, below its own package.json. */
async function bundled(t: Cleanup, format: Format, program: string): Promise<string> {
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'app', version: '99.0.0' }));
  writeFileSync(join(folder, 'app.js'), program);
  const isModule = format === 'an ES module';
  await using build = await rolldown({
    input: join(folder, 'app.js'),
    platform: 'node',
    external: ['pg', 'rolldown'],
    resolve: { alias: { cloacina: join(root, 'src', 'index.ts') } },
    tsconfig: false,
    logLevel: 'silent',
    // as esbuild does for CommonJS
    ...(isModule ? {} : { transform: { define: { 'import.meta.url': 'undefined' } } }),
  });
  const file = join(folder, 'out', isModule ? 'app.mjs' : 'app.cjs');
  await build.write({ file, format: isModule ? 'esm' : 'cjs', codeSplitting: false });
  return file;
}

async function run(file: string, env: NodeJS.ProcessEnv): Promise<string> {
  return (await runProgram(process.execPath, [file], dirname(file), { ...process.env, ...env })).output;
}

/** Writes the package `pg` of an application. */
function writePg(file: string, code: string): void {
  const folder = join(dirname(file), 'node_modules', 'pg');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'pg', version: '8.16.0', main: 'index.js' }));
  writeFileSync(join(folder, 'index.js'), code);
}

describe('operating.md, Bundled programs', () => {
  for (const format of ['an ES module', 'CommonJS without the URL of a module'] as const) {
    it(`a runner on SQLite runs from ${format}`, async (t) => {
      const file = await bundled(t, format, runnerProgram);
      assert.equal(await run(file, { DATABASE: 'sqlite:./app.db' }), 'output sent\nclosed\n');
    });

    it(`a runner on PostgreSQL keeps its lease by the event loop in ${format}, with a warning`, async (t) => {
      if (typeof server === 'string') return t.skip(server);
      const file = await bundled(t, format, runnerProgram);
      mkdirSync(join(dirname(file), 'node_modules'));
      symlinkSync(join(root, 'node_modules', 'pg'), join(dirname(file), 'node_modules', 'pg'), 'junction');
      const url = `${server.url}?schema=bundled_${process.pid}_${schemas++}`;
      const store = await openStore(url);
      release(t, () => store.close());
      const child = spawn(process.execPath, [file], { env: { ...process.env, DATABASE: url } });
      release(t, () => void child.kill());
      let output = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (text: Buffer) => (output += text.toString()));
      const ended = new Promise((resolve) => child.on('close', resolve));
      const leases = new Set<number>();
      while (leases.size < 4 && child.exitCode === null) {
        for (const { leaseUntil, dead } of await store.runners()) {
          assert.equal(dead, false);
          leases.add(leaseUntil);
        }
        await setTimeout(20);
      }
      child.stdin.end();
      await ended;
      assert.match(output, /output sent[^]*closed/);
      const [warning, ...others] = output.match(/^cloacina .*$/gm) ?? [];
      assert.match(warning ?? '', /warn: .*the event loop renews the lease.*a bundler put the library into.*external/);
      assert.deepEqual(others, []);
    });

    it(`packages need the files of the library: a runner with a registry does not open in ${format}`, async (t) => {
      const file = await bundled(t, format, runnerProgram);
      const output = await run(file, { DATABASE: 'sqlite::memory:', REGISTRY: 'file:./packages' });
      assert.match(output, /^failed LIBRARY_BUNDLED .*keep the package 'cloacina' external.*\n$/);
    });

    it(`a package is not judged by the version of the program: registering one is refused in ${format}`, async (t) => {
      const file = await bundled(t, format, publisherProgram);
      const packed = join(dirname(file), 'demo.cloacina');
      const cli = join(root, 'bin', 'cloacina.js');
      const project = join(root, 'examples', 'registry-execution-demo', 'simple-demo');
      const { exitCode, output } = await runProgram(
        process.execPath,
        [cli, 'package', 'pack', project, '-o', packed],
        root,
        process.env,
      );
      assert.equal(exitCode, 0, output);
      assert.match(await run(file, { PACKAGE: packed }), /^failed LIBRARY_BUNDLED .*\n$/);
    });
  }
});

describe('postgresql.md: the package pg', () => {
  const url = 'postgres://127.0.0.1:1/db';

  it('a missing package is DATABASE_DRIVER_MISSING', async (t) => {
    const file = await bundled(t, 'an ES module', runnerProgram);
    const output = await run(file, { DATABASE: url });
    assert.match(output, /^failed DATABASE_DRIVER_MISSING .*'pg', which is not installed: npm install pg\n$/);
  });

  for (const [what, code, reason] of [
    ['that throws', 'throw new Error("Dynamic require of events is not supported")', /Dynamic require of events/],
    ['that misses a package of its own', "require('pg-pool')", /Cannot find module 'pg-pool'/],
    ['that is no driver', 'module.exports = {}', /it has no Client and no Pool/],
  ] as const) {
    it(`a package ${what} is DATABASE_DRIVER_FAILED with the reason`, async (t) => {
      const file = await bundled(t, 'an ES module', runnerProgram);
      writePg(file, code);
      const output = await run(file, { DATABASE: url });
      assert.match(output, /^failed DATABASE_DRIVER_FAILED the package 'pg' could not be loaded: /);
      assert.match(output, reason);
      assert.doesNotMatch(output, /npm install pg/);
    });
  }
});

if (typeof server !== 'string') after(() => server.stop());
