import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { describe, it } from 'node:test';
import { release } from '../../testing/engine-rig.ts';
import { hostIdentity, isProcessGone } from './host-identity.ts';

const knowsStartTimes = process.platform === 'linux';

describe('durability.md, Death and adoption: a dead process of the same host is detected at once', () => {
  it('this process is alive and always has the same start time', () => {
    const identity = hostIdentity();
    assert.deepEqual(identity, hostIdentity());
    assert.equal(identity.pid, process.pid);
    assert.equal(isProcessGone(identity), false);
  });

  it('an ended process is dead', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'exit');
    assert.equal(isProcessGone({ pid: child.pid!, pidStarted: null }), true);
  });

  it('another process with the same id is not the original one', { skip: !knowsStartTimes }, () => {
    assert.equal(isProcessGone({ pid: process.pid, pidStarted: '1' }), true);
  });

  it('a process without a known start time counts as alive if its id is alive', () => {
    assert.equal(isProcessGone({ pid: process.pid, pidStarted: null }), false);
    assert.equal(isProcessGone({ pid: process.ppid, pidStarted: null }), false);
  });

  it('a zombie is dead although kill succeeds for it', { skip: !knowsStartTimes }, async (t) => {
    // a program replaces the shell and never reaps the child that it inherits; the child ends with its input, after that
    const script = 'cat <&3 >/dev/null & echo $!; exec sleep 30 3<&-';
    const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore', 'pipe'] });
    release(t, () => {
      parent.kill('SIGKILL');
    });
    const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
    const pid = Number(String(line));
    // the 22nd field; the name in parentheses before it may contain blanks
    const stat = (): string[] => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    const zombie = { pid, pidStarted: stat()[19]! };
    const since = performance.now();
    const program = (): string => readFileSync(`/proc/${parent.pid}/comm`, 'utf8').trim();
    while (program() !== 'sleep' && performance.now() - since < 5000)
      await new Promise((resolve) => setImmediate(resolve));
    (parent.stdio[3] as Writable).end();
    while (stat()[0] !== 'Z' && performance.now() - since < 5000) await new Promise((resolve) => setImmediate(resolve));
    assert.doesNotThrow(() => process.kill(pid, 0), 'kill answers for it');
    assert.equal(isProcessGone(zombie), true);
  });
});
