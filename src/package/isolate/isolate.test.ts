import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { CloacinaError } from '../../core/error.ts';
import type { TaskHost } from '../../engine/workflow-code.ts';
import {
  callOf,
  completed,
  definition,
  failed,
  hostOf,
  isAlive,
  lost,
  open,
  openSource,
  packageFolder,
  until,
} from '../../testing/isolate-rig.ts';
import type { Line } from '../../testing/isolate-rig.ts';
import type { IsolateOptions } from './isolate.ts';
import { ProcessLimit } from './process-limit.ts';

/** Tasks from which the other tests build their packages: one returns its process id, one never ends. */
const saysPid = `w.task('pid', () => process.pid);\n`;
const waits = `w.task('wait', () => new Promise(() => { setInterval(() => {}, 1000); console.log('waiting'); }));\n`;

function waitingIn(lines: readonly Line[]): number {
  return lines.filter((line) => line.message === 'waiting').length;
}

describe('engine.md: a task in an isolate behaves as one in the process', { concurrency: 2 }, () => {
  test('a task sees its input, needs, item and identity, and its result comes back', async (t) => {
    const { code } = open(
      t,
      `w.task('all', ({ input, needs, item, index, executionId, workflow, task, attempt, idempotencyKey, schedule }) =>
        ({ input, needs, item, index, executionId, workflow, task, attempt, idempotencyKey, slot: schedule.slot.getTime() }));`,
    );
    const call = callOf('all', {
      input: '{"a":"ä☃"}',
      needs: [
        ['x', '[1]'],
        ['y', '"☃"'],
      ],
      item: 3,
      itemValue: '{"i":1}',
      attempt: 2,
      schedule: { name: 's', slot: 1000, isCatchUp: false },
    });
    assert.deepEqual(await completed(code.run(call, hostOf())), {
      input: { a: 'ä☃' },
      needs: { x: [1], y: '☃' },
      item: { i: 1 },
      index: 3,
      executionId: call.executionId,
      workflow: 'w',
      task: 'all',
      attempt: 2,
      idempotencyKey: 'key',
      slot: 1000,
    });
  });

  test('errors come back with their code, cause, stack and retry policy', async (t) => {
    const { code, dir } = open(
      t,
      `import { NonRetryableError, RetryAfterError } from 'cloacina';
      w.task('plain', () => { throw Object.assign(new TypeError('bad', { cause: new Error('inner') }), { code: 'E_BAD' }); });
      w.task('string', () => { throw 'oops'; });
      w.task('final', () => { throw new NonRetryableError('no use'); });
      w.task('later', () => { throw new RetryAfterError('2s'); });
      w.task('json', () => ({ at: new Date(0) }));`,
    );
    const plain = await failed(code.run(callOf('plain'), hostOf()));
    assert.equal(plain.retryable, true);
    assert.deepEqual([plain.error.name, plain.error.code, plain.error.message], ['TypeError', 'E_BAD', 'bad']);
    assert.equal(plain.error.cause?.message, 'inner');
    assert.ok(plain.error.stack?.includes(join(dir, 'code', 'index.mjs')) ?? false, plain.error.stack);
    assert.match((await failed(code.run(callOf('string'), hostOf()))).error.message, /threw "oops"/);
    assert.equal((await failed(code.run(callOf('final'), hostOf()))).retryable, false);
    assert.equal((await failed(code.run(callOf('later'), hostOf()))).retryAfter, 2000);
    const json = await failed(code.run(callOf('json'), hostOf()));
    assert.equal(json.error.code, 'NOT_SERIALIZABLE');
    assert.match(json.error.message, /output of json\.at/);
  });

  test('a stack names the original source by the source map', async (t) => {
    const { code, dir } = openSource(
      t,
      `import{workflow as n}from"cloacina";export const w=n("w");w.task("t",()=>{throw new Error("mapped")});\n//# sourceMappingURL=index.mjs.map\n`,
    );
    // the error is created at line 1 column 74 of the bundle, which is line 7 column 9 of the source
    const map = { version: 3, sources: ['../source/orders.ts'], names: [], mappings: 'yEAMQ' };
    writeFileSync(join(dir, 'code', 'index.mjs.map'), JSON.stringify(map));
    const { error } = await failed(code.run(callOf('t'), hostOf()));
    assert.match(error.stack ?? '', /source[\\/]orders\.ts:7:9/);
  });

  test('when, over, input and until are called like a task', async (t) => {
    const { code } = open(
      t,
      `w.task('a', { when: ({ input }) => input.go }, () => 1);
      w.map('m', { over: ({ needs, input }) => [1, input.n] }, ({ item }) => item);
      w.child('c', 'other', { input: () => ({ to: 'child' }) });
      w.sleep('s', { until: () => new Date(5) });
      w.task('bad', { when: () => { throw new Error('undecided'); } }, () => 1);`,
    );
    const input = '{"go":true,"n":2}';
    assert.equal(await completed(code.ask('when', callOf('a', { input }))), true);
    assert.deepEqual(await completed(code.ask('over', callOf('m', { input }))), [1, 2]);
    assert.deepEqual(await completed(code.ask('input', callOf('c'))), { to: 'child' });
    assert.equal(await completed(code.ask('until', callOf('s'))), 5);
    const bad = await failed(code.ask('when', callOf('bad')));
    assert.deepEqual([bad.retryable, bad.error.message], [false, 'undecided']);
  });

  test('input is parsed by the schema in the package', async (t) => {
    const { isolate } = openSource(
      t,
      `import { workflow } from 'cloacina';
      const input = { '~standard': { version: 1, vendor: 'own', validate: (value) => typeof value.n === 'number'
        ? { value: { n: value.n, filled: true } } : { issues: [{ message: 'n must be a number', path: ['n'] }] } } };
      export const strict = workflow('strict', { input });
      strict.task('a', () => 1);`,
    );
    const code = isolate.code('strict');
    assert.deepEqual(await code.parseInput('{"n":1}', 1_000_000, false), {
      status: 'valid',
      input: '{"n":1,"filled":true}',
    });
    const issues = [{ path: 'n', message: 'n must be a number' }];
    assert.deepEqual(await code.parseInput('{"n":"x"}', 1_000_000, true), { status: 'invalid', issues });
  });

  test('steps, logs and progress reach the host of their own call', async (t) => {
    const { code } = open(
      t,
      `w.task('t', async ({ step, log, progress, input }) => {
        log.warn('begun', { n: input.n });
        progress(0.5, 'half');
        log.info(42);
        const a = await step('one', () => ({ n: input.n }));
        const b = await step('known', () => 'never called');
        return [a, b];
      });`,
    );
    const seen: unknown[] = [];
    const host = (who: number): TaskHost =>
      hostOf({
        stepResult: (name) => Promise.resolve(name === 'known' ? `"kept ${who}"` : undefined),
        saveStep: async (name, result) => void seen.push([who, 'save', name, result]),
        log: (level, message, data) => void seen.push([who, level, message, data]),
        progress: (done, text) => void seen.push([who, done, text]),
      });
    const runs = [1, 2].map((n) => completed(code.run(callOf('t', { input: `{"n":${n}}` }), host(n))));
    assert.deepEqual(await Promise.all(runs), [
      [{ n: 1 }, 'kept 1'],
      [{ n: 2 }, 'kept 2'],
    ]);
    for (const n of [1, 2]) {
      assert.deepEqual(
        seen.filter((entry) => Array.isArray(entry) && entry[0] === n),
        [
          [n, 'warn', 'begun', `{"n":${n}}`],
          [n, 0.5, 'half'],
          [n, 'info', '42', null],
          [n, 'save', 'one', `{"n":${n}}`],
        ],
      );
    }
  });

  test("a task has no database, and the error says so (durability.md, The caller's transaction)", async (t) => {
    const { code } = open(t, `w.task('t', (ctx) => ctx.transaction(() => 1));`);
    const transaction = (): Promise<string> => Promise.resolve('"never"');
    const { error, retryable } = await failed(code.run(callOf('t'), hostOf({ transaction })));
    assert.deepEqual([error.code, retryable], ['TRANSACTION_UNAVAILABLE', false]);
    assert.match(error.message, /package/);
  });

  test('a step that the engine refuses throws in the task', async (t) => {
    const { code } = open(t, `w.task('t', ({ step }) => step('one', () => 1));`);
    const gone = Object.assign(new Error('given up'), { code: 'GONE' });
    const outcome = await failed(code.run(callOf('t'), hostOf({ saveStep: () => Promise.reject(gone) })));
    assert.deepEqual([outcome.error.code, outcome.error.message], ['GONE', 'given up']);
  });

  test('an abort fires the signal of its own call, with its reason', async (t) => {
    const { code, lines } = open(
      t,
      `w.task('t', ({ signal }) => new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        console.log('waiting');
      }));`,
    );
    const [first, second] = [new AbortController(), new AbortController()];
    const one = code.run(callOf('t'), hostOf({ signal: first.signal }));
    const two = code.run(callOf('t'), hostOf({ signal: second.signal }));
    await until('both wait', () => waitingIn(lines) === 2);
    first.abort(new CloacinaError('TASK_TIMED_OUT', 'too slow'));
    const { error } = await failed(one);
    assert.deepEqual([error.code, error.message], ['TASK_TIMED_OUT', 'too slow']);
    second.abort(new CloacinaError('TASK_CANCELLED', 'cancelled'));
    assert.equal((await failed(two)).error.code, 'TASK_CANCELLED');
    const before = await failed(code.run(callOf('t'), hostOf({ signal: second.signal })));
    assert.equal(before.error.code, 'TASK_CANCELLED', 'a signal that fired before the task read it');
  });

  test('values of several megabytes pass, and one over maxPayload is refused', async (t) => {
    const { code } = open(t, `w.task('echo', ({ input }) => input);`);
    const input = JSON.stringify({ text: '"ä\n'.repeat(500_000) });
    const call = callOf('echo', { input, maxPayload: 10_000_000 });
    const outcome = await code.run(call, hostOf());
    assert.ok(outcome.status === 'completed' && outcome.output === input);
    const refused = await failed(code.run({ ...call, maxPayload: 1_048_576 }, hostOf()));
    assert.deepEqual([refused.error.code, refused.retryable], ['PAYLOAD_TOO_LARGE', false]);
  });

  test('registry.md: many calls at once share messages, and each gets its own answer', async (t) => {
    const { code } = open(t, `w.task('t', async ({ input }) => { await null; return input.n * 2; });`);
    const all = Array.from({ length: 1000 }, (_, n) =>
      completed(code.run(callOf('t', { input: `{"n":${n}}` }), hostOf())),
    );
    assert.deepEqual(
      await Promise.all(all),
      Array.from({ length: 1000 }, (_, n) => n * 2),
    );
  });
});

describe('registry.md, Isolation: the process tier protects the host from a package', { concurrency: 2 }, () => {
  test('it reads its own folder and nothing else, writes nothing, and starts no process', async (t) => {
    const { code, dir } = open(
      t,
      `import { readFileSync, writeFileSync } from 'node:fs';
      import { spawnSync } from 'node:child_process';
      import { Worker } from 'node:worker_threads';
      w.task('own', () => readFileSync(new URL('./index.mjs', import.meta.url), 'utf8').length > 0);
      w.task('outside', ({ input }) => readFileSync(input.path, 'utf8'));
      w.task('write', () => writeFileSync(new URL('./x.txt', import.meta.url), 'x'));
      w.task('spawn', () => { const { error } = spawnSync(process.execPath, ['-v']); if (error) throw error; });
      w.task('worker', () => { new Worker('1', { eval: true }); });
      w.task('kill', () => process.kill(process.ppid, 0));`,
    );
    assert.equal(await completed(code.run(callOf('own'), hostOf())), true);
    const outside = mkdtempSync(join(tmpdir(), 'cloacina-outside-'));
    t.after(() => rmSync(outside, { recursive: true }));
    writeFileSync(join(outside, 'secret.txt'), 'secret');
    const input = JSON.stringify({ path: join(outside, 'secret.txt') });
    assert.equal((await failed(code.run(callOf('outside', { input }), hostOf()))).error.code, 'ERR_ACCESS_DENIED');
    const sibling = JSON.stringify({ path: `${dir}-sibling` });
    assert.equal(
      (await failed(code.run(callOf('outside', { input: sibling }), hostOf()))).error.code,
      'ERR_ACCESS_DENIED',
    );
    for (const task of ['write', 'spawn', 'worker', 'kill']) {
      assert.equal((await failed(code.run(callOf(task), hostOf()))).error.code, 'ERR_ACCESS_DENIED', task);
    }
  });

  test('node:sqlite is not available in any way', async (t) => {
    const { code } = open(
      t,
      `import { createRequire } from 'node:module';
      w.task('import', () => import('node:sqlite').then(() => 'open'));
      w.task('require', () => { createRequire(import.meta.url)('node:sqlite'); });
      w.task('builtin', () => { process.getBuiltinModule('node:sqlite').DatabaseSync; });
      w.task('restore', () => { process.getBuiltinModule = undefined; delete process.getBuiltinModule; });`,
    );
    for (const task of ['import', 'require', 'builtin']) {
      const { error } = await failed(code.run(callOf(task), hostOf()));
      assert.match(error.message, /'node:sqlite' cannot be imported in a package/, task);
    }
    assert.equal((await failed(code.run(callOf('restore'), hostOf()))).error.name, 'TypeError');
    const { isolate } = openSource(t, `import 'node:sqlite';\n${definition}`);
    await assert.rejects(isolate.describe(), /did not load: 'node:sqlite' cannot be imported in a package/);
  });

  test('it sees the granted names of the environment and no others', async (t) => {
    const { code } = open(t, `w.task('env', ({ env }) => [env, { ...process.env }, process.execArgv.length > 0]);`, {
      grants: { env: ['GRANTED', 'UNSET', 'NODE_OPTIONS'] },
      environment: { ...process.env, GRANTED: 'yes', OTHER: 'no', NODE_OPTIONS: '--allow-child-process' },
    });
    const [ctxEnv, all] = (await completed(code.run(callOf('env'), hostOf()))) as [object, Record<string, string>];
    assert.deepEqual(ctxEnv, { GRANTED: 'yes' });
    assert.equal(all['GRANTED'], 'yes');
    const allowed = new Set([
      'GRANTED',
      'TZ',
      'LANG',
      'LC_ALL',
      'LC_MESSAGES',
      ...(process.platform === 'win32' ? ['SystemRoot', 'windir'] : []),
    ]);
    // macOS adds __CF_USER_TEXT_ENCODING to every process
    const others = Object.keys(all).filter((name) => !allowed.has(name) && !name.startsWith('__CF'));
    assert.deepEqual(others, []);
  });

  test('it has the zone and the language of its runner', async (t) => {
    const { code } = open(
      t,
      `w.task('here', ({ env }) => [Intl.DateTimeFormat().resolvedOptions().timeZone, new Date(0).getHours(), (1.5).toLocaleString(), env]);`,
      { environment: { ...process.env, TZ: 'America/New_York', LC_ALL: 'de_DE.UTF-8' } },
    );
    const own = process.platform === 'win32' ? (1.5).toLocaleString() : '1,5';
    assert.deepEqual(await completed(code.run(callOf('here'), hostOf())), ['America/New_York', 19, own, {}]);
  });

  test("'cloacina' is supplied by the host, without the parts that run workflows", async (t) => {
    const { code } = open(
      t,
      `import { Runner, Client } from 'cloacina';
      w.task('run', () => Runner.open('sqlite::memory:'));
      w.task('connect', () => Client.open());`,
    );
    const { error } = await failed(code.run(callOf('run'), hostOf()));
    assert.match(error.message, /Runner\.open is not available inside a package/);
    assert.match((await failed(code.run(callOf('connect'), hostOf()))).error.message, /Client\.open is not available/);
  });

  test('every other export of cloacina can be imported inside', async () => {
    const [outside, inside] = await Promise.all([import('../../index.ts'), import('./guest-api.ts')]);
    const missing = Object.keys(outside).filter((name) => !(name in inside));
    assert.deepEqual(missing, ['defaultDatabase', 'defaultRegistry']);
  });

  test('its output goes to the logger line by line, cut and counted', async (t) => {
    const { code, lines } = open(
      t,
      `w.task('print', () => { console.log('one\\ntwo'); console.error('bad'); console.log('x'.repeat(20000)); });`,
    );
    await completed(code.run(callOf('print'), hostOf()));
    await until('all lines came', () => lines.length === 4);
    const of = (stream: string): string[] =>
      lines.filter((line) => line.data['stream'] === stream).map((line) => line.message);
    assert.deepEqual(of('stdout').slice(0, 2), ['one', 'two']);
    assert.equal(of('stdout')[2], `${'x'.repeat(8192)}... (cut)`);
    assert.deepEqual(of('stderr'), ['bad']);
    assert.equal(lines[0]?.data['package'], 'sample v1.0.0');
  });

  test('a package that replaces globals of JavaScript still answers', async (t) => {
    const { code } = open(
      t,
      `w.task('t', () => { globalThis.setImmediate = undefined; JSON.parse = () => 'x'; process.exit = () => {}; return 1; });
      w.task('lie', () => { JSON.stringify = () => 'not json'; return {}; });`,
    );
    assert.equal(await completed(code.run(callOf('t'), hostOf())), 1);
    assert.equal(await completed(code.run(callOf('t'), hostOf())), 1);
    assert.equal((await failed(code.run(callOf('lie'), hostOf()))).error.code, 'NOT_SERIALIZABLE');
  });

  test('garbage on the channel ends only the process that sent it', async (t) => {
    const { code } = open(
      t,
      `${saysPid}import { Socket } from 'node:net';
      import { writeSync } from 'node:fs';
      w.task('garbage', () => { writeSync(3, 'this is no frame at all'); return new Promise(() => {}); });
      function forge(header) {
        const body = Buffer.from(header);
        const prefix = Buffer.alloc(8);
        prefix.writeUInt32LE(body.length);
        writeSync(3, Buffer.concat([prefix, body]));
        return new Promise(() => {});
      }
      w.task('forge', () => forge('[[{"kind":"completed","id":"x"}]]'));
      w.task('up', () => forge('[[{"kind":"up"}]]'));
      w.task('watch', ({ step }) => { forge('[' + Array(500).fill('[{"kind":"watch","id":1}]') + ']'); return step('s', () => 1); });`,
    );
    const { error: twice } = await lost(code.run(callOf('up'), hostOf()));
    assert.match(twice.message, /it started twice/);
    const { signal } = new AbortController();
    const watching = { ...hostOf(), signal };
    assert.equal(await completed(code.run(callOf('watch', { alone: true }), watching)), 1);
    assert.equal(getEventListeners(signal, 'abort').length, 1, 'repeated calls are kept once');
    for (const task of ['garbage', 'forge']) {
      const { error, alone } = await lost(code.run(callOf(task), hostOf()));
      assert.match(error.message, /it sent an invalid message/);
      assert.equal(alone, true);
    }
    assert.equal(typeof (await completed(code.run(callOf('pid'), hostOf()))), 'number');
  });
});

describe(
  'registry.md, Isolation: a task that harms its process costs only the work in that process',
  { concurrency: 2 },
  () => {
    const deadly: readonly (readonly [string, string, RegExp])[] = [
      ['process.exit', `() => process.exit(7)`, /exited with code 7/],
      ['process.abort', `() => process.abort()`, /ended by SIGABRT|exited with code (134|3221226505)/],
      [
        'an uncaught exception',
        `() => new Promise(() => setImmediate(() => { throw new Error('stray'); }))`,
        /exited with code 1[^]*Error: stray/,
      ],
      [
        'an unhandled rejection',
        `() => new Promise(() => void Promise.reject(new Error('floating')))`,
        /exited with code 1[^]*floating/,
      ],
    ];
    for (const [name, run, pattern] of deadly) {
      test(`durability.md, Poison suspects: ${name} is charged only if nothing else was in the process`, async (t) => {
        const { code, lines, deaths } = open(t, `w.task('die', ${run});\n${waits}${saysPid}`);
        const waiting = code.run(callOf('wait'), hostOf());
        await until('it waits', () => waitingIn(lines) === 1);
        const dying = code.run(callOf('die'), hostOf());
        const [first, second] = await Promise.all([lost(dying), lost(waiting)]);
        assert.match(first.error.message, pattern);
        assert.match(first.error.message, /with 2 calls in it/);
        assert.deepEqual([first.alone, second.alone], [false, false]);
        assert.equal((await lost(code.run(callOf('die'), hostOf()))).alone, true);
        assert.equal(typeof (await completed(code.run(callOf('pid'), hostOf()))), 'number', 'it is replaced');
        assert.deepEqual(
          deaths.map((death) => [death.reason, death.calls.length]),
          [
            ['exited', 2],
            ['exited', 1],
          ],
        );
      });
    }

    test('an endless loop is ended after isolateStall, and the error says so', async (t) => {
      const { code, deaths } = open(t, `w.task('loop', () => { for (;;); });\n${saysPid}`, { isolateStallMs: 500 });
      const { error, alone } = await lost(code.run(callOf('loop'), hostOf()));
      assert.match(error.message, /did not answer for 500 ms/);
      assert.equal(alone, true);
      assert.equal(deaths[0]?.reason, 'stalled');
      assert.equal(typeof (await completed(code.run(callOf('pid'), hostOf()))), 'number');
    });

    test('work that blocks for less than isolateStall, and a task that only waits, are left alone', async (t) => {
      const { code } = open(
        t,
        `w.task('block', () => { const end = Date.now() + 200; while (Date.now() < end); return 'done'; });
      w.task('idle', () => new Promise((resolve) => setTimeout(resolve, 900, 'done')));`,
        { isolateStallMs: 600 },
      );
      assert.equal(await completed(code.run(callOf('block'), hostOf())), 'done');
      assert.equal(await completed(code.run(callOf('idle'), hostOf())), 'done');
    });

    test('memory beyond the cap ends the process, and the error names the cap', async (t) => {
      const { code, deaths } = open(
        t,
        `w.task('eat', () => { const all = []; for (;;) all.push(new Array(1000).fill(all.length)); });`,
        { heapMb: 32 },
      );
      const { error } = await lost(code.run(callOf('eat'), hostOf()));
      assert.match(error.message, /ran out of memory \(its heap is capped at 32 MB; .* --package-memory\)/);
      assert.equal(deaths[0]?.reason, 'out_of_memory');
    });

    test('memory beside its heap is bounded too, without a turn of its event loop', async (t) => {
      if (process.platform !== 'linux') return t.skip('only Linux tells what another process holds');
      const { code, deaths } = open(
        t,
        `w.task('hoard', () => { const held = []; for (let i = 0; i < 60; i++) held.push(Buffer.alloc(50e6, 1)); return held.length; });
      w.task('borrow', () => Buffer.alloc(50e6, 1).length);`,
        { heapMb: 64, offHeapMb: 200 },
      );
      assert.equal(await completed(code.run(callOf('borrow'), hostOf())), 50e6);
      const { error, alone } = await lost(code.run(callOf('hoard'), hostOf()));
      assert.match(
        error.message,
        /ran out of memory \(it held \d+ MB, and may hold 64 MB of heap and 200 MB beside it/,
      );
      assert.deepEqual([alone, deaths[0]?.reason], [true, 'out_of_memory']);
      assert.equal(await completed(code.run(callOf('borrow'), hostOf())), 50e6);
    });

    test('code that outlives its task in an idle process is bounded like the task: memory', async (t) => {
      const { code, deaths } = open(
        t,
        `w.task('leave', () => { const held = []; setInterval(() => held.push(Buffer.alloc(20e6, 1)), 50); return 'done'; });\n${saysPid}`,
        { heapMb: 64, offHeapMb: 200 },
      );
      assert.equal(await completed(code.run(callOf('leave'), hostOf())), 'done');
      await until('it was ended', () => deaths.length === 1);
      assert.deepEqual([deaths[0]?.reason, deaths[0]?.calls], ['out_of_memory', []]);
      assert.equal(typeof (await completed(code.run(callOf('pid'), hostOf()))), 'number', 'it is replaced');
    });

    test('code that outlives its task in an idle process is bounded like the task: an endless loop', async (t) => {
      const { code, deaths } = open(
        t,
        `w.task('leave', () => { setTimeout(() => { for (;;); }, 50); return 'done'; });\n${saysPid}`,
        { isolateStallMs: 500 },
      );
      assert.equal(await completed(code.run(callOf('leave'), hostOf())), 'done');
      await until('it was ended', () => deaths.length === 1);
      assert.deepEqual([deaths[0]?.reason, deaths[0]?.calls], ['stalled', []]);
      assert.equal(typeof (await completed(code.run(callOf('pid'), hostOf()))), 'number', 'it is replaced');
    });

    test('a process killed from outside is replaced', async (t) => {
      const { code, lines } = open(t, waits + saysPid);
      const pid = await completed(code.run(callOf('pid'), hostOf()));
      const waiting = code.run(callOf('wait'), hostOf());
      await until('it waits', () => waitingIn(lines) === 1);
      process.kill(Number(pid), 'SIGKILL');
      const { error, alone } = await lost(waiting);
      assert.match(error.message, /SIGKILL|exited with code/);
      assert.equal(alone, true);
      assert.notEqual(await completed(code.run(callOf('pid'), hostOf())), pid);
    });

    test('a call marked alone has a process of its own, which ends with it', async (t) => {
      const { isolate, code, lines } = open(t, waits + saysPid + `w.task('die', () => process.exit(1));`);
      const shared = await completed(code.run(callOf('pid'), hostOf()));
      const waiting = code.run(callOf('wait'), hostOf());
      await until('it waits', () => waitingIn(lines) === 1);
      const own = await completed(code.run(callOf('pid', { alone: true }), hostOf()));
      assert.notEqual(own, shared);
      assert.equal((await lost(code.run(callOf('die', { alone: true }), hostOf()))).alone, true);
      await until('only the shared one is left', () => isolate.processes === 1);
      assert.equal(await completed(code.run(callOf('pid'), hostOf())), shared);
      await isolate.close();
      assert.equal((await lost(waiting)).alone, false);
    });

    test('engine.md, Attempts: giving up a call ends its process; other calls in it are lost and not charged', async (t) => {
      const { code, lines, deaths } = open(t, waits + saysPid);
      const call = callOf('wait');
      const [given, beside] = [code.run(call, hostOf()), code.run(callOf('wait'), hostOf())];
      await until('both wait', () => waitingIn(lines) === 2);
      code.abandon(callOf('wait'));
      code.abandon(call);
      assert.deepEqual([(await lost(given)).alone, (await lost(beside)).alone], [false, false]);
      assert.equal(deaths[0]?.reason, 'abandoned');
      assert.equal(typeof (await completed(code.run(callOf('pid'), hostOf()))), 'number');
    });

    test('giving up a call that has not begun costs no process', async (t) => {
      const { code } = open(t, saysPid);
      const call = callOf('pid');
      const [given, beside] = [code.run(call, hostOf()), code.run(callOf('pid'), hostOf())];
      code.abandon(call);
      assert.match((await lost(given)).error.message, /before a process was ready/);
      assert.equal(typeof (await completed(beside)), 'number');
    });
  },
);

describe(
  'registry.md, Hot swap: a version whose exports do not match its manifest is not used',
  { concurrency: 2 },
  () => {
    test('the exports are described, each workflow once', async (t) => {
      const { isolate } = openSource(
        t,
        `import { workflow } from 'cloacina';
      export const one = workflow('one');
      one.task('a', () => 1);
      export default one;
      export const two = workflow('two', { description: 'second' });
      two.task('b', () => 1);
      export const notOne = 42;`,
      );
      const specs = await isolate.describe();
      assert.deepEqual(
        specs.map((spec) => [spec.name, spec.description, spec.tasks.length]),
        [
          ['one', null, 1],
          ['two', 'second', 1],
        ],
      );
    });

    test('an error of code that throws on load keeps its stack and fails the waiting calls', async (t) => {
      const { isolate, code, dir } = openSource(t, `${definition}\nthrow new RangeError('no config');`);
      const waiting = code.run(callOf('a'), hostOf());
      await assert.rejects(isolate.describe(), (error: unknown) => {
        assert.ok(error instanceof CloacinaError && error.code === 'PACKAGE_LOAD_FAILED');
        assert.equal(error.message, 'sample v1.0.0 did not load: no config');
        assert.ok(error.cause instanceof Error && error.cause.name === 'RangeError');
        assert.ok(error.cause.stack?.includes(join(dir, 'code', 'index.mjs')) ?? false);
        return true;
      });
      const outcome = await failed(waiting);
      assert.deepEqual([outcome.error.code, outcome.retryable], ['PACKAGE_LOAD_FAILED', true]);
      assert.equal((await code.parseInput('{}', 1_000_000, false)).status, 'lost');
    });

    const unloadable: readonly (readonly [string, string, RegExp, Partial<IsolateOptions>?])[] = [
      ['ends its process', `process.exit(5);`, /exited with code 5/],
      ['never stops', `for (;;);`, /did not answer for 500 ms/],
      [
        'never finishes',
        `await new Promise(() => {});`,
        /took longer than 1\.5 s; a top-level await that never settles/,
        { startLimitMs: 1500 },
      ],
      [
        'breaks a rule of the graph',
        `import { workflow } from 'cloacina'; export const w = workflow('w');`,
        /has no task/,
      ],
      [
        'names two workflows alike',
        `import { workflow } from 'cloacina'; export const a = workflow('w'), b = workflow('w'); a.task('t', () => 1);`,
        /two workflows named 'w'/,
      ],
      ['imports a module that is not in the package', `import 'left-pad';`, /Cannot find package 'left-pad'/],
    ];
    for (const [name, source, pattern, options] of unloadable) {
      test(`a package that ${name} is not loaded`, async (t) => {
        const { isolate } = openSource(t, source, { isolateStallMs: 500, ...options });
        await assert.rejects(isolate.describe(), (error: unknown) => {
          assert.ok(error instanceof CloacinaError && error.code === 'PACKAGE_LOAD_FAILED', String(error));
          assert.match(error.message, pattern);
          return true;
        });
      });
    }

    test('a missing folder is a package that does not load, until the folder exists', async (t) => {
      const dir = packageFolder(t, `${definition}w.task('a', () => 1);`);
      renameSync(dir, `${dir}-away`);
      const { isolate, code } = openSource(t, '', { dir });
      for (let i = 0; i < 2; i++) {
        await assert.rejects(isolate.describe(), /sample v1\.0\.0 did not load: .*could not be started: ENOENT/);
        assert.equal((await failed(code.run(callOf('a'), hostOf()))).error.code, 'PACKAGE_LOAD_FAILED');
      }
      renameSync(`${dir}-away`, dir);
      assert.equal(await completed(code.run(callOf('a'), hostOf())), 1);
    });

    test('a folder whose path contains a * opens no other: the package does not load, and the error says why', async (t) => {
      if (process.platform === 'win32') return t.skip('Windows has no such names');
      const dir = packageFolder(t, `${definition}w.task('a', () => 1);`);
      const starred = join(dir, 'app*');
      mkdirSync(starred);
      renameSync(join(dir, 'code'), join(starred, 'code'));
      const { isolate } = openSource(t, '', { dir: starred });
      await assert.rejects(isolate.describe(), (error: unknown) => {
        assert.ok(error instanceof CloacinaError && error.code === 'PACKAGE_LOAD_FAILED', String(error));
        assert.ok(error.message.includes(`'${starred}' contains '*', which Node treats as a pattern`), error.message);
        return true;
      });
    });

    test('exports that differ from the manifest are refused, naming the workflows', async (t) => {
      const source = `${definition}w.task('a', () => 1);`;
      const { isolate } = openSource(t, source);
      const [spec] = await isolate.describe();
      const same = openSource(t, source, { workflows: [spec!] });
      assert.equal((await same.isolate.describe())[0]?.name, 'w');
      const other = openSource(t, source, { workflows: [{ ...spec!, name: 'v' }] });
      await assert.rejects(
        other.isolate.describe(),
        /does not export workflow 'v'.*exports workflow 'w', which its manifest does not list/,
      );
      const changed = openSource(t, source, { workflows: [{ ...spec!, fingerprint: 'else' }] });
      await assert.rejects(changed.isolate.describe(), /tasks of workflow 'w' are not those of its manifest/);
    });
  },
);

describe(
  'registry.md: isolates start on first use, stop when idle, and are bounded in number',
  { concurrency: 2 },
  () => {
    test('no process runs before the first call or after the idle time, and the next call starts a new one', async (t) => {
      const { isolate, code } = open(t, saysPid, { idleMs: 20 });
      assert.equal(isolate.processes, 0);
      const first = await completed(code.run(callOf('pid'), hostOf()));
      await until('it stopped', () => isolate.processes === 0);
      const second = await completed(code.run(callOf('pid'), hostOf()));
      assert.notEqual(first, second);
    });

    test('a process without calls makes room for another package', async (t) => {
      const room = new ProcessLimit(1);
      const [a, b] = [open(t, saysPid, { processLimit: room }), open(t, saysPid + waits, { processLimit: room })];
      await completed(a.code.run(callOf('pid'), hostOf()));
      const pid = await completed(b.code.run(callOf('pid'), hostOf()));
      assert.deepEqual([a.isolate.processes, b.isolate.processes], [0, 1]);
      const busy = b.code.run(callOf('wait'), hostOf());
      await until('it waits', () => waitingIn(b.lines) === 1);
      const queued = a.code.run(callOf('pid'), hostOf());
      assert.equal(await completed(b.code.run(callOf('pid'), hostOf())), pid, 'a busy process is not ended');
      await b.isolate.close();
      assert.equal((await lost(busy)).alone, false);
      assert.equal(typeof (await completed(queued)), 'number');
    });

    test('close ends every process and waits for it; calls after it are lost at once', async (t) => {
      const { isolate, code, lines, deaths } = open(t, waits + saysPid);
      const pid = Number(await completed(code.run(callOf('pid'), hostOf())));
      const calls = [code.run(callOf('wait'), hostOf()), code.run(callOf('wait', { alone: true }), hostOf())];
      await until('both wait', () => waitingIn(lines) === 2);
      await isolate.close();
      assert.equal(isAlive(pid), false);
      for (const call of calls) assert.match((await lost(call)).error.message, /the package was unloaded/);
      assert.equal((await lost(code.run(callOf('pid'), hostOf()))).alone, false);
      await assert.rejects(isolate.describe(), { code: 'ISOLATE_EXITED' });
      assert.deepEqual(deaths, []);
    });

    test('a close while the package loads ends it', async (t) => {
      const { isolate, code } = open(t, saysPid);
      const [described, call] = [isolate.describe(), code.run(callOf('pid'), hostOf())];
      const refused = assert.rejects(described, { code: 'ISOLATE_EXITED' });
      await isolate.close();
      await refused;
      assert.equal((await lost(call)).alone, false);
    });

    test('a signal to a group of processes does not end a task, which its host lets finish', async (t) => {
      if (process.platform === 'win32') return t.skip('Windows has no signals between processes');
      const slow = `w.task('slow', () => new Promise((resolve) => setTimeout(resolve, 200, 'done')));`;
      const { code } = open(t, saysPid + slow);
      const pid = Number(await completed(code.run(callOf('pid'), hostOf())));
      const running = code.run(callOf('slow'), hostOf());
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.kill(pid, signal);
      assert.equal(await completed(running), 'done');
    });

    const looping = `w.task('loop', () => { console.log('looping'); for (;;); });`;
    for (const [task, sign, end] of [
      ['wait', 'waiting', 'SIGKILL'],
      ['loop', 'looping', 'SIGKILL'],
      ['loop', 'looping', 'exit'],
    ] as const) {
      test(`a process whose task would ${task} for ever ends with its host (${end}), at any moment`, async (t) => {
        const { parent, until: printed } = startHost(t, `${waits}${saysPid}${looping}`, task);
        const pid = Number((await printed('pid ')).slice(4));
        await printed(sign);
        assert.ok(pid > 0 && isAlive(pid));
        const exited = once(parent, 'exit');
        if (end === 'exit') parent.stdin!.write('exit');
        else parent.kill(end);
        await exited;
        await until('the guest ended', () => !isAlive(pid));
      });
    }

    test('Ctrl-C in a terminal reaches the host alone, also while a process starts', async (t) => {
      if (process.platform === 'win32') return t.skip('Windows has no groups of processes');
      const { parent, until: printed } = startHost(t, saysPid, 'pid');
      await printed('starting');
      const interrupt = setInterval(() => process.kill(-parent.pid!, 'SIGINT'), 2);
      t.after(() => clearInterval(interrupt));
      assert.match(await printed('pid '), /^pid \d+$/);
    });
  },
);

/**
 * A host in its own process group that runs a task in an isolate; `until` returns the first line with a given
 * beginning.
 */
function startHost(
  t: TestContext,
  tasks: string,
  task: string,
): { readonly parent: ChildProcess; readonly until: (start: string) => Promise<string> } {
  const script = hostScript(packageFolder(t, definition + tasks), task);
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: process.platform !== 'win32',
  });
  t.after(() => parent.kill('SIGKILL'));
  const lines: string[] = [];
  const reading = createInterface({ input: parent.stdout }).on('line', (line) => lines.push(line));
  const find = async (start: string): Promise<string> => {
    for (;;) {
      const found = lines.find((line) => line.startsWith(start));
      if (found !== undefined) return found;
      await once(reading, 'line');
    }
  };
  return { parent, until: find };
}

/** Prints its steps and the process id of the guest on stdout; ends at once when its stdin receives data. */
function hostScript(dir: string, task: string): string {
  const url = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);
  return `
    import { Isolate } from ${url('./isolate.ts')};
    const none = () => undefined;
    const logger = { debug: none, info: (_, line) => console.log(line), warn: console.log, error: none };
    const isolate = new Isolate({ dir: ${JSON.stringify(dir)}, label: 'sample', logger });
    const host = { stepResult: none, saveStep: none, log: none, progress: none };
    const call = ${JSON.stringify(callOf('pid'))};
    process.on('SIGINT', none);
    process.stdin.on('data', () => process.exit(0));
    const first = isolate.code('w').run(call, host);
    console.log('starting');
    const { output } = await first;
    console.log('pid ' + output);
    void isolate.code('w').run({ ...call, task: ${JSON.stringify(task)} }, host);`;
}
