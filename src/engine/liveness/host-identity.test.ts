import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { release } from '../../testing/engine-rig.ts';
import { hostIdentity, isProcessGone } from './host-identity.ts';

const knowsStartTimes = process.platform === 'linux';

describe('durability.md: on one host a dead process is seen at once', () => {
  it('this process lives, and says so the same way every time', () => {
    const identity = hostIdentity();
    assert.deepEqual(identity, hostIdentity());
    assert.equal(identity.pid, process.pid);
    assert.equal(isProcessGone(identity), false);
  });

  it('a process that has ended is gone', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'exit');
    assert.equal(isProcessGone({ pid: child.pid!, pidStarted: null }), true);
  });

  it('another process under the same id is not the one that was', { skip: !knowsStartTimes }, () => {
    assert.equal(isProcessGone({ pid: process.pid, pidStarted: '1' }), true);
  });

  it('where no start time is known, a living id counts as alive', () => {
    assert.equal(isProcessGone({ pid: process.pid, pidStarted: null }), false);
    assert.equal(isProcessGone({ pid: process.ppid, pidStarted: null }), false);
  });

  it('a zombie is dead, though kill answers for it', { skip: !knowsStartTimes }, async (t) => {
    // a shell that is replaced by a program which never looks after the child that it inherits
    const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 30'], { stdio: ['ignore', 'pipe', 'ignore'] });
    release(t, () => {
      parent.kill('SIGKILL');
    });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(String(line));
    // the 22nd field; what comes before the name in parentheses may hold blanks
    const stat = (): string[] => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    const zombie = { pid, pidStarted: stat()[19]! };
    const since = performance.now();
    while (stat()[0] !== 'Z' && performance.now() - since < 5000) await new Promise((resolve) => setImmediate(resolve));
    assert.doesNotThrow(() => process.kill(pid, 0), 'kill answers for it');
    assert.equal(isProcessGone(zombie), true);
  });
});
