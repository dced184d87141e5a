import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { tempFolder } from '../../testing/engine-rig.ts';
import { makeFolder } from './folder.ts';

describe('a folder that is made with those above it', () => {
  it('gives the topmost that was missing', (t) => {
    const top = tempFolder(t);
    assert.equal(makeFolder(join(top, 'a', 'b', 'c')), join(top, 'a'));
    assert.equal(makeFolder(join(top, 'a', 'b', 'd')), join(top, 'a', 'b', 'd'));
    assert.equal(makeFolder(join(top, 'a', 'b', 'c')), undefined);
    assert.ok(existsSync(join(top, 'a', 'b', 'c')));
  });

  it('is refused with the word of the system where a file is in the way', (t) => {
    const top = tempFolder(t);
    writeFileSync(join(top, 'file'), '');
    assert.throws(() => makeFolder(join(top, 'file')), { code: 'EEXIST' });
    assert.throws(() => makeFolder(join(top, 'file', 'a')), { code: 'ENOTDIR' });
  });

  it('is refused at once where none can be made', { skip: process.platform !== 'linux' }, () => {
    assert.throws(() => makeFolder('/proc/nope/deeper'), { code: 'ENOENT' });
  });
});
