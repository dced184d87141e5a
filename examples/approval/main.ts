import { Runner, SignalInvalidError } from 'cloacina';
import { expenses } from './expense.ts';

await using runner = await Runner.open('sqlite::memory:', { workflows: [expenses] });

const lunch = await runner.start(expenses, { employee: 'Ada', purpose: 'lunch with a customer', cents: 4250 });
console.log('lunch:', (await lunch.result()).output);

const flight = await runner.start(expenses, { employee: 'Ada', purpose: 'flight to Oslo', cents: 38_900 });
for await (const { type, task, data } of runner.executions.watch(flight.id)) {
  if (type === 'task.waiting') console.log(`flight: '${task}' waits`, data);
  if (type === 'execution.waiting') break; // nothing of it is left in memory
}
console.log('flight:', (await runner.executions.get(flight.id)).status);

// a wrong payload is refused where it is sent
try {
  await runner.signal(flight.id, 'decision', { approved: 'yes' });
} catch (error) {
  if (!(error instanceof SignalInvalidError)) throw error;
  for (const { path, message } of error.issues) console.log(`refused: ${path}, ${message}`);
}

await runner.signal(flight.id, 'decision', { approved: true, by: 'Grace' });
console.log('flight:', (await flight.result()).output);
