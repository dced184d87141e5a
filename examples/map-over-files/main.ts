import { fileURLToPath } from 'node:url';
import { Runner } from 'cloacina';
import { bankStatements } from './statements.ts';

const folder = process.argv[2] ?? fileURLToPath(new URL('./statements', import.meta.url));
const statements = bankStatements();

await using runner = await Runner.open('sqlite::memory:', { workflows: [statements] });

const { executionId, output } = await runner.execute(statements, { folder });
const { tasks } = await runner.executions.get(executionId);

console.log('items of the map:', tasks.find(({ name }) => name === 'add up')?.items);
console.log(`${output.files} files, ${output.lines} lines, ${(output.cents / 100).toFixed(2)} EUR`);
for (const { file, why } of output.refused) console.log(`left out: ${file}, ${why}`);
