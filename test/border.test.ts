import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Client, CloacinaError } from '../src/index.ts';
import { forger } from './border/forger.ts';
import { openPackaged } from './border/packaged.ts';
import type { Packaged } from './border/packaged.ts';

/** The bundled code of a schema library, as packages contain it. */
const schema = `const schema = { '~standard': { version: 1, vendor: 'own', validate: (value) => typeof value?.by === 'string'
  ? { value: { by: value.by, seen: true } } : { issues: [{ message: 'a name is needed', path: ['by'] }] } } };\n`;
const beginning = `import { workflow } from 'cloacina';\nconst w = workflow('w');\n`;

describe('registry.md, Limits: the schema of a packaged wait judges a signal', () => {
  it('an invalid signal is dropped with a warning, and the next one is taken as the schema parsed it', async (t) => {
    const wait = `const approved = w.wait('approved', { signal: 'approved', schema, timeout: '1m' });
      export const flow = w.returns(w.task('after', { needs: { approved } }, ({ needs }) => needs.approved));`;
    const { runner, logged } = await openPackaged(t, beginning + schema + wait);
    const handle = await runner.start('w');
    await runner.signal(handle.id, 'approved', { by: 7 });
    await runner.signal(handle.id, 'approved', { by: 'Ada' });
    const { output } = await handle.result();
    assert.deepEqual(output, { by: 'Ada', seen: true });
    const dropped = logged.filter(({ message }) => message.includes('does not fit the schema'));
    assert.equal(dropped.length, 1);
    await setTimeout(0);
    const again = await runner.start('w');
    await runner.signal(again.id, 'approved', { by: 'Bea' });
    assert.deepEqual((await again.result()).output, { by: 'Bea', seen: true }, 'the runner continues');
  });
});

const flow = (tasks: string): string => `${beginning}${forger}${tasks}\nexport { w };\n`;

/** The runner still runs new executions, and the package still answers. */
async function goesOn({ runner }: Packaged): Promise<void> {
  const handle = await runner.start('fine');
  assert.equal((await handle.result()).output, 42);
}

const fine = `const fine = workflow('fine');
const answer = fine.returns(fine.task('answer', () => 42));
export { answer };\n`;

describe('registry.md, Limits: a guest that exceeds a limit costs its process and no runner', () => {
  const forged: readonly (readonly [string, string, string, RegExp])[] = [
    [
      'an error of 6,000 causes is cut to the maximum of causes',
      `w.task('t', { retry: { attempts: 1 } }, () => {
        let error = { name: 'Error', code: 'DEEP', message: 'x' };
        let text = JSON.stringify(error);
        for (let i = 0; i < 6000; i++) text = '{"name":"Error","code":"DEEP","message":"m","cause":' + text + '}';
        for (const id of ids) frame('[[{"kind":"failed","id":' + id + ',"retryable":false,"retryAfter":null,"error":' + text + '}]]');
        return never();
      });`,
      'DEEP',
      /^m$/,
    ],
    [
      'items of 7,000 levels are NOT_SERIALIZABLE',
      `w.map('m', { over: () => { forge({ kind: 'completed' }, nested(7000)); return never(); } }, () => 1);`,
      'NOT_SERIALIZABLE',
      /more than 200 levels/,
    ],
    [
      'an output of 7,000 levels is NOT_SERIALIZABLE',
      `w.task('t', { retry: { attempts: 1 } }, () => { forge({ kind: 'completed' }, nested(7000)); return never(); });`,
      'NOT_SERIALIZABLE',
      /more than 200 levels/,
    ],
    [
      'an output over maxPayload ends the process',
      `w.task('t', { retry: { attempts: 1 } }, () => { forge({ kind: 'completed' }, '"' + 'x'.repeat(2000000) + '"'); return never(); });`,
      'TASK_CRASHED_RUNNER',
      /an answer of 2000002 bytes; the limit is 1048576/,
    ],
    [
      'the result of a step over maxPayload ends the process',
      `w.task('t', { retry: { attempts: 1 } }, () => { forge({ kind: 'save', ref: 1, name: 's' }, '"' + 'x'.repeat(2000000) + '"'); return never(); });`,
      'TASK_CRASHED_RUNNER',
      /result of a step of 2000002 bytes/,
    ],
    [
      'log data of more than 64 kB end the process',
      `w.task('t', { retry: { attempts: 1 } }, () => { forge({ kind: 'log', level: 'info', message: 'm' }, '"' + 'x'.repeat(70000) + '"'); return never(); });`,
      'TASK_CRASHED_RUNNER',
      /data of a log line of 70002 bytes/,
    ],
    [
      'a body of 60 MB ends the process',
      `w.task('t', { retry: { attempts: 1 } }, () => { forge({ kind: 'completed' }, '"' + 'x'.repeat(60000000) + '"'); return never(); });`,
      'TASK_CRASHED_RUNNER',
      /a body of 60000002 bytes; the limit is 8388608/,
    ],
    [
      'a header of 60 MB ends the process',
      `w.task('t', { retry: { attempts: 1 } }, () => { frame('[' + '{},'.repeat(20000000) + '{}]'); return never(); });`,
      'TASK_CRASHED_RUNNER',
      /a header of 60000004 bytes; the limit is 1048576/,
    ],
    [
      'a frame of 200,000 messages ends the process',
      `w.task('t', { retry: { attempts: 1 } }, () => { frame('[' + '[{}],'.repeat(200000) + '[{}]]'); return never(); });`,
      'TASK_CRASHED_RUNNER',
      /a frame of more than 8192 messages/,
    ],
    [
      'more than 100,000 items are MAP_TOO_LARGE',
      `w.map('m', { over: () => { forge({ kind: 'completed' }, '[' + '0,'.repeat(1000000) + '0]'); return never(); } }, () => 1);`,
      'MAP_TOO_LARGE',
      /more than 100000/,
    ],
  ];
  for (const [name, tasks, code, message] of forged) {
    it(name, { timeout: 60_000 }, async (t) => {
      const packaged = await openPackaged(t, flow(tasks) + fine);
      const outcome = await (await packaged.runner.start('w')).outcome();
      assert.equal(outcome.status, 'failed');
      assert.equal(outcome.error?.code, code, outcome.error?.message);
      assert.match(outcome.error?.message ?? '', message);
      await goesOn(packaged);
    });
  }
});

describe('registry.md, Limits: exports of a package are checked before use', () => {
  it('exports of 7,000 levels do not load', async (t) => {
    const specs = `'[{"name":"w","fingerprint":"f","x":' + nested(7000) + '}]'`;
    const source = `${forger}\nforge({ kind: 'loaded' }, ${specs});\nawait never();`;
    await assert.rejects(openPackaged(t, source), (error: unknown) => {
      assert.ok(error instanceof CloacinaError && error.code === 'PACKAGE_LOAD_FAILED');
      assert.match(error.message, /exports of more levels than a value may have/);
      return true;
    });
  });
});

describe('registry.md, Limits: an accidental violation fails its task with a code', () => {
  const deep = `JSON.parse(nested(4000))`;
  const mistakes: readonly (readonly [string, string, string, RegExp])[] = [
    [
      'twenty million items',
      `w.map('m', { over: () => new Array(20e6).fill(0) }, () => 1);`,
      'MAP_TOO_LARGE',
      /the items of map 'm' are 20000000, more than 100000/,
    ],
    [
      'items of 40 MB in all',
      `w.map('m', { over: () => new Array(80).fill('x'.repeat(500000)) }, () => 1);`,
      'MAP_TOO_LARGE',
      /40000241 bytes of JSON in total/,
    ],
    ['an output of 4,000 levels', `w.task('t', () => ${deep});`, 'NOT_SERIALIZABLE', /more than 200 levels/],
    ['an item of 4,000 levels', `w.map('m', { over: () => [${deep}] }, () => 1);`, 'NOT_SERIALIZABLE', /200 levels/],
    [
      'the result of a step of 4,000 levels',
      `w.task('t', { retry: { attempts: 1 } }, ({ step }) => step('s', () => ${deep}));`,
      'NOT_SERIALIZABLE',
      /200 levels/,
    ],
    [
      'an error with 50 causes of 100 kB each',
      `w.task('t', { retry: { attempts: 1 } }, () => {
        let error = new Error('first');
        for (let i = 0; i < 50; i++) error = new Error('last: ' + '\\u0001'.repeat(100000), { cause: error });
        throw error;
      });`,
      'TASK_FAILED',
      /^last: /,
    ],
    [
      'log lines and progress of 10 MB, and data with a path of that length',
      `w.task('t', { retry: { attempts: 1 } }, ({ log, progress }) => {
        const long = 'x'.repeat(10000000);
        log.info(long, { [long]: () => 1 });
        progress(1, long);
        throw Object.assign(new Error('last'), { code: 'LAST' });
      });`,
      'LAST',
      /last/,
    ],
  ];
  for (const [name, tasks, code, message] of mistakes) {
    it(`a package violates it: ${name}`, { timeout: 60_000 }, async (t) => {
      const packaged = await openPackaged(t, flow(tasks) + fine);
      const outcome = await (await packaged.runner.start('w')).outcome();
      assert.equal(outcome.status, 'failed');
      assert.equal(outcome.error?.code, code, outcome.error?.message);
      assert.match(outcome.error?.message ?? '', message);
      await goesOn(packaged);
    });
  }

  it('ten thousand items and twenty thousand log lines at once pass', async (t) => {
    const tasks = `const m = w.map('m', { over: () => Array.from({ length: 10000 }, (_, i) => i) }, ({ item }) => item);
      const lines = w.task('lines', ({ log }) => { for (let i = 0; i < 20000; i++) log.info('line ' + i); return 1; });
      export const whole = w.returns(w.task('all', { needs: { m, lines } }, ({ needs }) => needs.m.length + needs.lines));`;
    const { runner } = await openPackaged(t, flow(tasks));
    const { output } = await (await runner.start('w')).result();
    assert.equal(output, 10_001);
  });

  it("an input larger than the runner's own limit passes if no schema changes it", async (t) => {
    const { runner, database } = await openPackaged(t, flow(`w.task('t', ({ input }) => input.text.length);`));
    await using client = await Client.open(database, { maxPayload: 20_000_000 });
    const { id } = await client.start('w', { text: 'x'.repeat(9_000_000) });
    const { outputs } = await runner.handle(id).result();
    assert.deepEqual(outputs, { t: 9_000_000 });
  });
});
