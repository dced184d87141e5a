import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fullWorkflowName, kindOfSelector, parseWorkflowName } from './workflow-name.ts';

describe('registry.md, Names: a name of a workflow', () => {
  for (const [name, ...parts] of [
    ['etl', 'etl', null, null],
    ['shop/etl', 'etl', 'shop', null],
    ['@team/shop/etl', 'etl', '@team/shop', null],
    ['shop@1.0.0-beta.1/etl', 'etl', 'shop', '1.0.0-beta.1'],
    ['@team/shop@canary/etl', 'etl', '@team/shop', 'canary'],
    ['etl@1.0.0', 'etl@1.0.0', null, null],
    ['shop@/etl', 'etl', 'shop', ''],
  ] as const) {
    it(`'${name}' has the parts ${JSON.stringify(parts)}`, () => {
      const { workflow, package: from, at } = parseWorkflowName(name);
      assert.deepEqual([workflow, from, at], parts);
    });
  }

  it('an embedded workflow has a full name too', () => {
    assert.deepEqual([fullWorkflowName('shop', 'etl'), fullWorkflowName(null, 'etl')], ['shop/etl', 'embedded/etl']);
  });

  it('a version begins with a digit, a channel with a letter, and a digest has 12 hex digits at least', () => {
    const hex = 'a'.repeat(64);
    const texts = [
      '1.0.0',
      '0',
      `sha256:${hex}`,
      'sha256:abcdefabcdef',
      'sha256:abc',
      'live',
      'pre-release_2.x',
      '',
      '-x',
      'a/b',
    ];
    assert.deepEqual(texts.map(kindOfSelector), [
      'version',
      'version',
      'digest',
      'digest',
      'invalid',
      'channel',
      'channel',
      'invalid',
      'invalid',
      'invalid',
    ]);
  });
});
