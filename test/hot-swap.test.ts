import assert from 'node:assert/strict';
import { test } from 'node:test';
import { swapUnderLoad } from './swap/hot-swap.ts';

test('registry.md, Hot swap: versions change under load without a gap, and each execution ends on its own version', async (t) => {
  const swapped = await swapUnderLoad(20);
  t.diagnostic(JSON.stringify(swapped));
  assert(swapped.versions >= 20, `${swapped.versions} versions ran executions`);
  assert.equal(swapped.loaded, 1);
});
