import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { tempFolder } from '../../testing/engine-rig.ts';
import { makeFolder } from './folder.ts';

describe('a folder is created with its missing parents', () => {
  it('the topmost created folder is returned', (t) => {
    const top = tempFolder(t);
    assert.equal(makeFolder(join(top, 'a', 'b', 'c')), join(top, 'a'));
    assert.equal(makeFolder(join(top, 'a', 'b', 'd')), join(top, 'a', 'b', 'd'));
    assert.equal(makeFolder(join(top, 'a', 'b', 'c')), undefined);
    assert.ok(existsSync(join(top, 'a', 'b', 'c')));
  });

  it("a file in the way is the system's error", (t) => {
    const top = tempFolder(t);
    writeFileSync(join(top, 'file'), '');
    assert.throws(() => makeFolder(join(top, 'file')), { code: 'EEXIST' });
    assert.throws(() => makeFolder(join(top, 'file', 'a')), { code: 'ENOTDIR' });
  });

  it('an impossible folder fails at once', { skip: process.platform !== 'linux' }, () => {
    assert.throws(() => makeFolder('/proc/nope/deeper'), { code: 'ENOENT' });
  });
});
