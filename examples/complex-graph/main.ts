import { Runner } from 'cloacina';
import { monthEnd } from './month-end.ts';

await using runner = await Runner.open('sqlite::memory:', { workflows: [monthEnd] });

const { executionId, output } = await runner.execute(monthEnd, { month: '2026-09' });

const [created, ...events] = await runner.executions.events(executionId);
for (const { type, task, at } of events) {
  if (type === 'task.completed' || type === 'task.skipped') {
    const note = type === 'task.skipped' ? ' (skipped)' : '';
    console.log(`${at - created!.at} ms`.padStart(8), `${task}${note}`);
  }
}
console.log(output);
