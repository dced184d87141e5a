import { Runner } from 'cloacina';
import { exchangeRate } from './exchange-rate.ts';

const flow = exchangeRate({
  bank: async (pair) => {
    if (pair !== 'EUR/USD') throw new Error('the bank is closed');
    return 1.09;
  },
  broker: async (pair) => {
    if (pair !== 'EUR/GBP') throw new Error(`the broker does not trade ${pair}`);
    return 0.84;
  },
  last: (pair) => (pair === 'EUR/JPY' ? { rate: 162.5, from: '2026-10-30' } : undefined),
});

await using runner = await Runner.open('sqlite::memory:', { workflows: [flow] });

const executions = await runner.startMany(
  flow,
  ['EUR/USD', 'EUR/GBP', 'EUR/JPY', 'EUR/XXX'].map((pair) => ({ pair })),
);
for (const execution of executions) {
  const outcome = await execution.outcome();
  const { input, tasks } = await runner.executions.get(execution.id);
  console.log(input, tasks.map(({ name, status }) => `${name}: ${status}`).join(', '));
  console.log('  ', outcome.status === 'completed' ? outcome.output : outcome.error?.message);
}
