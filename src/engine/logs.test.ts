import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { workflow } from '../index.ts';
import { openRig } from '../testing/engine-rig.ts';

describe('engine.md, events and logs: a line of ctx.log keeps all that it is given', () => {
  it('an error, a Date and a cycle lose neither themselves nor the rest of the line', async (t) => {
    const circular: Record<string, unknown> = { id: 7n };
    circular['self'] = circular;
    const w = workflow('w');
    const done = w.returns(
      w.task('t', ({ log }) => {
        log.error('bad', new Error('card declined'));
        log.error('bad', { order: 7, err: new TypeError('boom'), at: new Date(0), circular });
        log.info('big', { text: 'x'.repeat(70_000), order: 7 });
        (log.info as (message: unknown) => void)({ order: 7 });
      }),
    );
    const { client } = await openRig(t, { workflows: [done] });
    const { executionId } = await (await client.start(done)).outcome();
    const [first, second, third, fourth] = await client.executions.logs(executionId);
    assert.equal(Reflect.get(first!.data as object, 'message'), 'card declined');
    const { err, ...rest } = second!.data as Record<string, unknown>;
    assert.deepEqual(rest, { order: 7, at: '1970-01-01T00:00:00.000Z', circular: { id: '7n', self: '[circular]' } });
    assert.match(String(Reflect.get(err as object, 'stack')), /TypeError: boom\n +at .*logs\.test\.ts/);
    assert.equal(Reflect.get(third!.data as object, 'order'), 7);
    assert.deepEqual([fourth!.message, fourth!.data], ['{ order: 7 }', null]);
  });
});

describe('interfaces.md, Options of open: the default logger shows any value', () => {
  /** The output of the default logger on stderr. */
  function printed(code: string): string {
    const file = join(import.meta.dirname, 'logger.ts');
    const script = `import { stderrLogger } from ${JSON.stringify(file)};\n${code}`;
    const { stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stderr;
  }

  it('a BigInt, a cycle and a Date are shown in place', () => {
    const code = `const cycle = {}; cycle.self = cycle;
      stderrLogger.warn({ id: 7n, cycle, at: new Date(0), list: [1, 2n], name: 'w' }, 'said');`;
    const line =
      'cloacina warn: said id=7n cycle={"self":"[circular]"} at=1970-01-01T00:00:00.000Z list=[1,"2n"] name=w\n';
    assert.equal(printed(code), line);
  });

  it('an error is shown with its code, the reason below it and its stack', () => {
    const code = `const cause = new Error('self-signed certificate');
      stderrLogger.error({ error: Object.assign(new Error('fetch failed', { cause }), { code: 'E_X' }), n: 1 }, 'down');`;
    const lines = printed(code).split('\n');
    assert.equal(lines[0], 'cloacina error: down error="fetch failed: self-signed certificate" (E_X) n=1');
    assert.match(lines[1]!, /^ {4}at /);
  });

  it('the stack of an error with a code of Cloacina is left out', () => {
    const error = join(import.meta.dirname, '..', 'core', 'error.ts');
    const code = `const { CloacinaError } = await import(${JSON.stringify(error)});
      stderrLogger.error({ error: new CloacinaError('STORE_UNAVAILABLE', 'away') }, 'down');`;
    assert.equal(printed(code), 'cloacina error: down error="away" (STORE_UNAVAILABLE)\n');
  });
});
