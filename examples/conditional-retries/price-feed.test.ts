import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { testRunner } from 'cloacina/testing';
import { priceFeed } from './price-feed.ts';

/** Runs the workflow against a supplier that gives these answers, one after another. */
async function run(...answers: readonly Response[]) {
  const left = [...answers];
  const feed = priceFeed(async () => left.shift() ?? new Response(null, { status: 418 }));
  await using t = await testRunner({ workflows: [feed] });
  const from = t.now.getTime();
  const outcome = await t.run(feed, { product: 'lamp' });
  return { outcome, asked: answers.length - left.length, tookMs: t.now.getTime() - from };
}

const failed = (status: number): Response => new Response(null, { status });

describe('price-feed', () => {
  it('asks again after errors of the supplier, and waits longer each time', async () => {
    const { outcome, asked, tookMs } = await run(failed(503), failed(502), failed(503), Response.json({ cents: 4900 }));
    assert.deepEqual(outcome.status === 'completed' && outcome.output, { cents: 4900 });
    assert.equal(asked, 4);
    assert.ok(tookMs >= 3500 * 0.75 && tookMs <= 3500 * 1.25, `${tookMs} ms`);
  });

  it('waits as long as the supplier asks for', async () => {
    const busy = new Response(null, { status: 429, headers: { 'retry-after': '90' } });
    const { outcome, tookMs } = await run(busy, Response.json({ cents: 4900 }));
    assert.equal(outcome.status, 'completed');
    assert.equal(tookMs, 90_000);
  });

  it('does not ask again for what there is not', async () => {
    const { outcome, asked } = await run(failed(404), Response.json({ cents: 1 }));
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.message, 'the supplier has no lamp');
    assert.equal(asked, 1);
  });

  it('does not repeat a request that was wrong', async () => {
    const { outcome, asked } = await run(failed(400), Response.json({ cents: 1 }));
    assert.ok(outcome.status === 'failed');
    assert.deepEqual([outcome.task, outcome.error?.code], ['price', 'HTTP_400']);
    assert.equal(asked, 1);
  });

  it('gives up after five attempts', async () => {
    const { outcome, asked } = await run(...Array.from({ length: 9 }, () => failed(500)));
    assert.deepEqual(outcome.status === 'failed' && outcome.error?.code, 'HTTP_500');
    assert.equal(asked, 5);
  });
});
