/** The other processes of `processes.test.ts`: the first argument selects the role, each line on stdout is JSON. */
import { writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { Client, Runner } from '../../src/index.ts';
import { crashing, quick, silent, waiting } from './workflows.ts';

const [act = '', database = '', argument = ''] = process.argv.slice(2);
const say = (line: unknown): void => void writeSync(1, `${JSON.stringify(line)}\n`);

const acts: Readonly<Record<string, () => Promise<void>>> = {
  /** Starts executions of a workflow that only the runner has. */
  async start() {
    await using client = await Client.open(database);
    for (let i = 0; i < Number(argument); i++) {
      const { id } = await client.start('quick');
      say({ id });
      await setTimeout(10 + Math.random() * 20);
    }
  },
  async cancel() {
    await using client = await Client.open(database);
    const asked = Date.now();
    await client.cancel(argument);
    say({ asked });
  },
  /** Holds the database for a time, like a backup or a careless script. */
  async hold() {
    const db = new DatabaseSync(database.slice('sqlite:'.length));
    db.exec('begin immediate');
    say({ held: true });
    await setTimeout(Number(argument));
    db.exec('commit');
    db.close();
  },
  /** Opens a database at a given moment, and starts one execution in it. */
  async open() {
    await setTimeout(Math.max(0, Number(argument) - Date.now()));
    await using client = await Client.open(database);
    const { id } = await client.start(quick);
    say({ id });
  },
  /** A runner with tasks that never end: it is killed. */
  async crash() {
    const runner = await Runner.open(database, { workflows: [crashing], logger: silent });
    const { id } = await runner.start(crashing);
    say({ id });
  },
  /** Uses every feature, closes, and must then end on its own. */
  async leak() {
    const runner = await Runner.open(database, { workflows: [quick, waiting], logger: silent });
    await runner.execute(quick);
    const long = await runner.start(waiting);
    long.result().catch(() => undefined);
    await runner.start(quick, {}, { startAt: '1h' });
    const client = await Client.open(database);
    client
      .handle(long.id)
      .result()
      .catch(() => undefined);
    await client.close();
    await runner.close({ drain: 0 });
    say({ left: process.getActiveResourcesInfo().filter((kind) => kind !== 'PipeWrap') });
  },
  /** Bytes of a live execution that waits for a promise. */
  async memory() {
    const count = Number(argument);
    const runner = await Runner.open(database, {
      workflows: [waiting, quick],
      maxExecutions: 2 * count,
      concurrency: 2 * count,
      logger: silent,
    });
    const used = (): number => {
      for (let i = 0; i < 3; i++) globalThis.gc!();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const begin = async (n: number): Promise<void> => {
      const handles = await Promise.all(Array.from({ length: n }, () => runner.start(waiting, { order: 'A-1001' })));
      for (const handle of handles) handle.result().catch(() => undefined);
      // its commits follow those of the others
      await runner.execute(quick);
    };
    await begin(500);
    const before = used();
    await begin(count);
    say({ bytes: (used() - before) / count });
    process.exit(0);
  },
};

await acts[act]!();
