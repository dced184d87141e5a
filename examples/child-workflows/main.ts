import { Runner } from 'cloacina';
import { onboarding } from './onboarding.ts';

// its children come along
await using runner = await Runner.open('sqlite::memory:', { workflows: [onboarding] });

const deliveredAt = new Date(Date.now() + 1500).toISOString();
const execution = await runner.start(onboarding, {
  name: 'Ada',
  email: 'ada@example.org',
  laptop: { model: 'X1', deliveredAt },
});

let opened = false;
for await (const { type, task } of runner.executions.watch(execution.id)) {
  if (type === 'task.completed' && task === 'accounts') opened = true;
  if (opened && type === 'execution.waiting') break; // for the laptop
}

const { items } = await runner.executions.list();
for (const { id, workflow, status } of items.toSorted((a, b) => a.workflow.localeCompare(b.workflow))) {
  const { parent } = await runner.executions.get(id);
  console.log(workflow, status, parent === null ? '' : `(task '${parent.task}' of ${parent.id})`);
}

console.log((await execution.result()).output);
