import { IdempotencyConflictError, InputInvalidError, Runner } from 'cloacina';
import { salesReport } from './sales-report.ts';
import type { ReportInput } from './sales-report.ts';

await using runner = await Runner.open('sqlite::memory:', { workflows: [salesReport] });

// what has a default may be left out
const one = await runner.execute(salesReport, { region: 'north', month: '2026-09' });
console.log(one.output);

// what is wrong never becomes an execution
try {
  await runner.start('sales-report', { region: 'east', month: '2026-13' });
} catch (error) {
  if (!(error instanceof InputInvalidError)) throw error;
  for (const { path, message } of error.issues) console.log(`refused: ${path}, ${message}`);
}

// all of them in one transaction, or none; tags find them again
const october = { month: '2026-10', top: 1, exclude: 'rug,shelf' };
const inputs: ReportInput[] = [
  { region: 'north', ...october },
  { region: 'south', ...october },
  { region: 'west', ...october, currency: 'USD' },
];
const batch = await runner.startMany(salesReport, inputs, { tags: { batch: 'month-end' }, priority: -1 });
for (const execution of batch) console.log((await execution.result()).output);
const { items } = await runner.executions.list({ tags: { batch: 'month-end' }, status: 'completed' });
console.log(`${items.length} completed with the tag batch=month-end`);

// whoever asks twice gets the same execution; whoever asks for something else under that key is told
const options = { idempotencyKey: 'north 2026-11', priority: 10 };
const asked = await runner.start(salesReport, { region: 'north', month: '2026-11' }, options);
const again = await runner.start(salesReport, { region: 'north', month: '2026-11' }, options);
console.log('asked twice, one execution:', asked.id === again.id);
try {
  await runner.start(salesReport, { region: 'north', month: '2026-11', top: 10 }, options);
} catch (error) {
  if (!(error instanceof IdempotencyConflictError)) throw error;
  console.log(error.code, error.executionId === asked.id);
}
