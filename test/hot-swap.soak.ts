import assert from 'node:assert/strict';
import { test } from 'node:test';
import { swapUnderLoad } from './swap/hot-swap.ts';

test('registry.md, Hot swap: 200 swaps leave memory within 20 % of the start', async (t) => {
  const swapped = await swapUnderLoad(200);
  t.diagnostic(JSON.stringify(swapped));
  assert(swapped.rssEndMb <= swapped.rssStartMb * 1.2, `from ${swapped.rssStartMb} MB to ${swapped.rssEndMb} MB`);
  assert.equal(swapped.loaded, 1);
});
