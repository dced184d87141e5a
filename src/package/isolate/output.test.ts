import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import type { TaskHost } from '../../engine/workflow-code.ts';
import { callOf, completed, hostOf, lost, open, openSource, until } from '../../testing/isolate-rig.ts';
import type { Line, Opened } from '../../testing/isolate-rig.ts';

interface Logged {
  readonly level: string;
  readonly message: string;
  readonly data: unknown;
}

/** A host that keeps the log lines of its attempt. */
function keeping(): { readonly host: TaskHost; readonly logged: Logged[] } {
  const logged: Logged[] = [];
  const log: TaskHost['log'] = (level, message, data) => {
    logged.push({ level, message, data: data === null ? null : (JSON.parse(data) as unknown) });
  };
  return { host: hostOf({ log }), logged };
}

function opened(t: TestContext, tasks: string): Opened {
  return open(t, tasks, { isolateStallMs: 2000 });
}

const stdout = { stream: 'stdout' };
const stderr = { stream: 'stderr' };

/** The output that reached the logger of the runner, with the task that wrote it. */
function printed(lines: readonly Line[]): readonly (readonly [unknown, string])[] {
  return lines.filter(({ data }) => data['stream'] !== undefined).map(({ data, message }) => [data['task'], message]);
}

describe('engine.md, Events and logs: lines that a packaged task prints are log lines of its attempt', () => {
  test('console and the streams are kept in the order of ctx.log, and reach the logger with the execution', async (t) => {
    const { code, lines } = opened(
      t,
      `w.task('print', async ({ log }) => {
        console.log('one', { n: 1 });
        log.info('two');
        console.error('three\\nfour');
        process.stdout.write('fi');
        await null;
        process.stdout.write(Buffer.from('ve ☃\\n'));
        process.stdout.write('c2l4', 'base64', () => process.stdout.write('th'));
        await new Promise((resolve) => setTimeout(resolve, 5));
        console.log('');
      });`,
    );
    const { host, logged } = keeping();
    await completed(code.run(callOf('print', { item: 3, itemValue: '0' }), host));
    assert.deepEqual(logged, [
      { level: 'info', message: 'one { n: 1 }', data: stdout },
      { level: 'info', message: 'two', data: null },
      { level: 'warn', message: 'three', data: stderr },
      { level: 'warn', message: 'four', data: stderr },
      { level: 'info', message: 'five ☃', data: stdout },
      { level: 'info', message: 'sixth', data: stdout },
    ]);
    const first = lines.find(({ message }) => message === 'one { n: 1 }');
    const { pid, ...data } = first!.data;
    assert.equal(typeof pid, 'number');
    const { executionId: execution } = callOf('print');
    assert.deepEqual(
      [first!.level, data],
      ['info', { package: 'sample v1.0.0', stream: 'stdout', execution, task: 'print', item: 3, attempt: 1 }],
    );
    assert.equal(lines.find(({ message }) => message === 'three')?.level, 'warn');
  });

  test('tasks that run at once keep their lines apart, and the last one needs no line end', async (t) => {
    const { code } = opened(
      t,
      `const say = (name) => async () => {
        for (const part of ['1', '2', '\\n', '3']) { process.stdout.write(part.trim() === '' ? part : name + part); await new Promise(setImmediate); }
      };
      w.task('a', say('a'));
      w.task('b', say('b'));`,
    );
    const [a, b] = [keeping(), keeping()];
    await Promise.all([completed(code.run(callOf('a'), a.host)), completed(code.run(callOf('b'), b.host))]);
    assert.deepEqual(
      a.logged.map(({ message }) => message),
      ['a1a2', 'a3'],
    );
    assert.deepEqual(
      b.logged.map(({ message }) => message),
      ['b1b2', 'b3'],
    );
  });

  test('output while the code loads, or after the task ended, is of no task', async (t) => {
    const { code, lines } = openSource(
      t,
      `import { workflow } from 'cloacina';
      console.log('loading');
      export const w = workflow('w');
      w.task('leave', () => { setTimeout(() => console.log('late'), 20); console.log('now'); });`,
    );
    const { host, logged } = keeping();
    await completed(code.run(callOf('leave'), host));
    await until('the late line came', () => lines.length === 3);
    assert.deepEqual(
      new Map(printed(lines).map(([task, message]) => [message, task])),
      new Map<string, unknown>([
        ['loading', undefined],
        ['now', 'leave'],
        ['late', undefined],
      ]),
    );
    assert.deepEqual(
      logged.map(({ message }) => message),
      ['now'],
    );
  });

  test('a line before a crash or an endless loop is kept', async (t) => {
    const { code, deaths } = opened(
      t,
      `w.task('exit', () => { console.error('the reason'); process.exit(3); });
      w.task('loop', () => { console.log('before the loop'); for (;;); });`,
    );
    for (const [task, message] of [
      ['exit', 'the reason'],
      ['loop', 'before the loop'],
    ] as const) {
      const { host, logged } = keeping();
      await lost(code.run(callOf(task), host));
      assert.deepEqual(
        logged.map((line) => line.message),
        [message],
      );
    }
    assert.match(deaths[0]!.error.message, /exited with code 3\nthe reason$/);
  });

  test('an attempt prints 1,000 lines into its log, each cut, and the rest as output of no task', async (t) => {
    const { code, lines } = opened(
      t,
      `w.task('many', () => { console.log('x'.repeat(20_000)); for (let i = 1; i < 1005; i++) console.log('line ' + i); });`,
    );
    const { host, logged } = keeping();
    await completed(code.run(callOf('many'), host));
    assert.equal(logged.length, 1000);
    assert.equal(logged[0]!.message, `${'x'.repeat(8192)}... (cut)`);
    assert.equal(printed(lines).filter(([task]) => task === 'many').length <= 1000, true);
  });

  test('code that replaces the writing of a stream keeps its own way', async (t) => {
    const { code, lines } = opened(
      t,
      `w.task('own', () => {
        const { write } = process.stdout;
        process.stdout.write = (text, ...rest) => write.call(process.stdout, '> ' + text, ...rest);
        console.log('shown');
        process.stdout.write = write;
      });`,
    );
    const { host, logged } = keeping();
    await completed(code.run(callOf('own'), host));
    assert.deepEqual(
      logged.map(({ message }) => message),
      ['> shown'],
    );
    assert.deepEqual(printed(lines), [['own', '> shown']]);
  });
});
