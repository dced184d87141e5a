import { appendFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type * as Cloacina from '../../src/index.ts';

export interface Place {
  readonly database: string;
  /** Receives `began`, a line for each attempt that begins; attempts end once the file `go` exists. */
  readonly folder: string;
}

export interface Opened {
  readonly runner: Cloacina.Runner;
  readonly work: Cloacina.WorkflowRef<string, { n: number }>;
  /** Warnings and errors. */
  readonly logged: string[];
}

/** Opens a runner with a copy of the library. */
export async function openWith(library: typeof Cloacina, name: string, { database, folder }: Place): Promise<Opened> {
  const flow = library.workflow('slow', { input: library.unchecked<{ n: number }>() });
  const task = flow.task('wait', { retry: { attempts: 5, delay: 10 } }, async ({ input, signal }) => {
    appendFileSync(join(folder, 'began'), `${input.n}\n`);
    while (!existsSync(join(folder, 'go'))) await setTimeout(10, undefined, { signal });
    return name;
  });
  const work = flow.returns(task);
  const logged: string[] = [];
  const log = (_: object, message: string): void => void logged.push(message);
  const logger = { debug: () => undefined, info: () => undefined, warn: log, error: log };
  const runner = await library.Runner.open(database, { name, workflows: [work], lease: '2s', logger });
  return { runner, work, logged };
}
