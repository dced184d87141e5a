import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TaskError } from '../../core/task-error.ts';
import { callOf, completed, failed, hostOf, open, openSource } from '../../testing/isolate-rig.ts';

describe('engine.md, states: the error of a package keeps its fields', () => {
  test('the parts of an AggregateError, the root of its causes and a numeric code come back', async (t) => {
    const { code } = open(
      t,
      `w.task('any', () => Promise.any([Promise.reject(new TypeError('eu: 503')), Promise.reject('us: 504')]));
      w.task('deep', () => {
        let error = new Error('root');
        for (let i = 0; i < 40; i++) error = new Error('because ' + i, { cause: error });
        throw Object.assign(error, { code: 11000 });
      });
      w.task('step', ({ step }) => step('s', () => Promise.any([Promise.reject(new Error('in the step'))])));`,
    );
    const { error: any } = await failed(code.run(callOf('any'), hostOf()));
    assert.equal(any.name, 'AggregateError');
    assert.deepEqual(
      any.errors?.map(({ message }) => message),
      ['eu: 503', 'a task threw "us: 504"'],
    );
    const { error: deep } = await failed(code.run(callOf('deep'), hostOf()));
    assert.equal(deep.code, '11000');
    let last = deep;
    while (last.cause !== undefined) last = last.cause;
    assert.equal(last.message, 'root');
    const { error: step } = await failed(code.run(callOf('step'), hostOf()));
    assert.equal(step.errors?.[0]?.message, 'in the step');
  });
});

describe('registry.md, Isolation: a refused access is named, with the path', () => {
  test('the message, the stack and the fields say what a package may not do', async (t) => {
    const { code } = open(
      t,
      `import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
      import { readFile, writeFile } from 'node:fs/promises';
      import { execFileSync } from 'node:child_process';
      import { createRequire } from 'node:module';
      import { Worker } from 'node:worker_threads';
      w.task('write', () => writeFile('/tmp/report.csv', 'x'));
      w.task('writeSync', () => writeFileSync('/tmp/report.csv', 'x'));
      w.task('read', () => readFileSync('/etc/passwd'));
      w.task('spawn', () => execFileSync('ls'));
      w.task('worker', () => { new Worker('1', { eval: true }); });
      w.task('link', () => symlinkSync('/tmp/a', '/tmp/b'));
      w.task('native', () => process.dlopen({ exports: {} }, '/tmp/x.node'));
      w.task('cause', () => readFile('/etc/passwd').catch((cause) => { throw new Error('no config', { cause }); }));
      w.task('part', () => Promise.any([readFile('/etc/passwd')]));
      w.task('own', () => { throw Object.assign(new Error('door is shut'), { code: 'ERR_ACCESS_DENIED', permission: 'FileSystemRead' }); });`,
    );
    const errorOf = async (task: string): Promise<TaskError> => (await failed(code.run(callOf(task), hostOf()))).error;
    const page = "; see 'Isolation' in docs/packages.md";
    for (const [task, message, permission, resource] of [
      ['write', 'a package may not write files: /tmp/report.csv', 'FileSystemWrite', '/tmp/report.csv'],
      ['writeSync', 'a package may not write files: /tmp/report.csv', 'FileSystemWrite', '/tmp/report.csv'],
      ['read', 'a package may read its own files only: /etc/passwd', 'FileSystemRead', '/etc/passwd'],
      ['spawn', 'a package may not start processes: ls', 'ChildProcess', 'ls'],
      ['worker', 'a package may not start worker threads', 'WorkerThreads', undefined],
      ['link', 'a package may not use fs.symlink', undefined, undefined],
      ['native', 'a package may not load native modules', undefined, undefined],
    ] as const) {
      const error = await errorOf(task);
      assert.deepEqual([error.message, error.permission, error.resource], [message + page, permission, resource]);
      assert.match(error.stack ?? '', /^Error(?: \[\w+\])?: a package may .+ docs\/packages\.md\n +at /);
    }
    assert.match((await errorOf('cause')).cause?.message ?? '', /^a package may read its own files only: .etc.passwd;/);
    assert.match((await errorOf('part')).errors?.[0]?.message ?? '', /^a package may read its own files only: /);
    assert.equal((await errorOf('own')).message, 'door is shut');
  });

  test('code that is refused while it loads is named in the same way, with its place', async (t) => {
    const { isolate, dir } = openSource(
      t,
      `import{readFileSync as r}from"node:fs";r("/etc/passwd");\n//# sourceMappingURL=index.mjs.map\n`,
    );
    // every place of the bundle is line 7 column 9 of the source
    const map = { version: 3, sources: ['../source/src/orders.ts'], names: [], mappings: 'AAMQ' };
    writeFileSync(join(dir, 'code', 'index.mjs.map'), JSON.stringify(map));
    await assert.rejects(isolate.describe(), {
      code: 'PACKAGE_LOAD_FAILED',
      message:
        "sample v1.0.0 did not load: src/orders.ts:7:9: a package may read its own files only: /etc/passwd; see 'Isolation' in docs/packages.md",
    });
  });
});

describe('engine.md, attempts: retry.when of a package decides, at once or by a promise', () => {
  test('a promise of false and a rejection end the task, and the process lives on', async (t) => {
    const { code, deaths } = open(
      t,
      `const retry = (when) => ({ retry: { when } });
      const fail = () => { throw new Error('card declined'); };
      w.task('no', retry(async () => false), fail);
      w.task('down', retry(async () => { throw new Error('policy service down'); }), fail);
      w.task('yes', retry(async () => true), fail);
      w.task('fine', () => 1);`,
    );
    const retryable: unknown[] = [];
    for (const task of ['no', 'down', 'yes']) {
      const outcome = await failed(code.run(callOf(task), hostOf()));
      assert.equal(outcome.error.message, 'card declined');
      retryable.push(outcome.retryable);
    }
    assert.deepEqual(retryable, [false, false, true]);
    assert.equal(await completed(code.run(callOf('fine'), hostOf())), 1);
    assert.deepEqual(deaths, []);
  });
});
