import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nearNames } from './suggest.ts';

describe('suggested names', () => {
  const known = ['data_processing', 'nightly_report', 'billing', 'cleanup', 'simple_demo/data_processing'];

  it('a typo, a swap, another case, and a part of a name are recognised', () => {
    assert.equal(nearNames('biling', known)[0], 'billing');
    assert.equal(nearNames('billign', known)[0], 'billing');
    assert.equal(nearNames('BILLING', known)[0], 'billing');
    assert.deepEqual(nearNames('processing', known).toSorted(), ['data_processing', 'simple_demo/data_processing']);
  });

  it('at most three names are suggested, the nearest first, and no distant one', () => {
    assert.deepEqual(nearNames('a1', ['a2', 'a3', 'a4', 'a5']).length, 3);
    assert.equal(nearNames('abcdef', ['abcxyz', 'abcdeg'])[0], 'abcdeg');
    assert.deepEqual(nearNames('quarterly', known), []);
    assert.deepEqual(nearNames('x', []), []);
  });
});
