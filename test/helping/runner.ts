/**
 * A runner process of `helping.test.ts`: database, slots, queues. It prints a line when it is ready, and the result of
 * the execution that it is told to start.
 */
import { writeSync } from 'node:fs';
import { Runner } from '../../src/index.ts';
import { queued, wide } from './workflows.ts';

const [database = '', slots = '', queues = '', start = '', input = ''] = process.argv.slice(2);
const nothing = (): void => undefined;
const runner = await Runner.open(database, {
  workflows: [wide, queued],
  concurrency: Number(slots),
  queues: queues.split(','),
  logger: { debug: nothing, info: nothing, warn: nothing, error: nothing },
});
const handle = start === '' ? undefined : await runner.start(start, JSON.parse(input));
writeSync(1, `${JSON.stringify({ pid: process.pid, id: handle?.id })}\n`);
