import { setTimeout as wait } from 'node:timers/promises';
import { Runner } from 'cloacina';
import { onboarding } from './onboarding.ts';

// its children come along
await using runner = await Runner.open('sqlite::memory:', { workflows: [onboarding] });

const deliveredAt = new Date(Date.now() + 1000).toISOString();
const execution = await runner.start(onboarding, {
  name: 'Ada',
  email: 'ada@example.org',
  laptop: { model: 'X1', deliveredAt },
});

await wait(300);
for (const { id, workflow, status } of (await runner.executions.list()).items) {
  const { parent } = await runner.executions.get(id);
  console.log(workflow, status, parent === null ? '' : `(task '${parent.task}' of ${parent.id})`);
}

console.log((await execution.result()).output);
