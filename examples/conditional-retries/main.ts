import { Runner } from 'cloacina';
import { priceFeed } from './price-feed.ts';

/** A supplier with a bad day: what it answers to one request after another. */
const answers: Readonly<Record<string, readonly (() => Response)[]>> = {
  '/prices/lamp': [
    () => new Response(null, { status: 503 }),
    () => new Response(null, { status: 429, headers: { 'retry-after': '1' } }),
    () => Response.json({ cents: 4900 }),
  ],
  '/prices/desk': [() => new Response(null, { status: 404 })],
  '/prices/chair%': [() => new Response(null, { status: 400 })],
};
const asked = new Map<string, number>();

const prices = priceFeed(async (path) => {
  const n = asked.get(path) ?? 0;
  asked.set(path, n + 1);
  return answers[path]![n]!();
});

await using runner = await Runner.open('sqlite::memory:', {
  workflows: [prices],
  onEvent: ({ type, attempt, at, data }) => {
    if (type !== 'task.retrying') return;
    const next = data as { readonly at: string; readonly message: string };
    console.log(`  attempt ${attempt}: ${next.message}; the next one in ${Date.parse(next.at) - at} ms`);
  },
});

for (const product of ['lamp', 'desk', 'chair%']) {
  console.log(product);
  const execution = await runner.start(prices, { product });
  const outcome = await execution.outcome();
  if (outcome.status === 'completed') console.log('  costs', outcome.output.cents, 'cents');
  else console.log(`  ${outcome.status}: ${outcome.error?.message} (${outcome.error?.code})`);
}
