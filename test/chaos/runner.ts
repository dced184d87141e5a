/**
 * A runner of the chaos test: its parent kills it, stops it and cuts its network. It starts executions itself, like an
 * application with an embedded runner, until it is told to stop. It ends when its stdin ends.
 */
import { writeSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { Pool } from 'pg';
import { Runner } from '../../src/index.ts';
import type { Logger } from '../../src/index.ts';
import { chaosWorkflows, slots } from './workflows.ts';

const [database, diaryUrl, lease, stall] = process.argv.slice(2) as [string, string, string, string];

// not through the proxy: the record of a task must be true even if its runner has no network
const pool = new Pool({ connectionString: diaryUrl, max: 4, connectionTimeoutMillis: 5000 });
pool.on('error', () => undefined); // the user of a connection gets the error

// an outage is no fault of the task that writes its record
const write = async (text: string, values: readonly string[]): Promise<void> => {
  for (;;) {
    try {
      await pool.query(text, [...values]);
      return;
    } catch {
      await setTimeout(50);
    }
  }
};

const workflows = chaosWorkflows({
  begin: (run, execution, task) =>
    write(
      'insert into runs (run, execution, task, began) values ($1, $2, $3, clock_timestamp()) on conflict do nothing',
      [run, execution, task],
    ),
  end: (run) => write('update runs set ended = clock_timestamp() where run = $1', [run]),
});

const say =
  (level: string) =>
  (details: object, message: string): void => {
    writeSync(2, `${new Date().toISOString()} ${level} ${message} ${JSON.stringify(details, plain)}\n`);
  };
const logger: Logger = { debug: () => undefined, info: say('info'), warn: say('warn'), error: say('error') };

const runner = await Runner.open(database, { workflows, concurrency: slots, lease, stall, grace: '500ms', logger });
writeSync(1, 'ready\n');

// the load starts limited workflows, because it sees how many of them wait
const names = ['chain', 'chain', 'once', 'parent', 'wide'] as const;
const pauseMs = 250;
const resting = new AbortController();
const lane = start();
process.stdin.resume().once('data', () => void rest());
process.stdin.once('end', () => void close());
process.stdout.on('error', () => process.exit(1));

async function start(): Promise<void> {
  while (!resting.signal.aborted) {
    const name = names[Math.floor(Math.random() * names.length)]!;
    try {
      const { id } = await runner.start(name);
      writeSync(1, `started ${id} ${name}\n`);
    } catch (error) {
      const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
      if (code !== 'STORE_UNAVAILABLE' && code !== 'OUTCOME_UNKNOWN') writeSync(1, `fault ${String(error)}\n`);
    }
    await setTimeout(pauseMs);
  }
}

async function rest(): Promise<void> {
  resting.abort();
  await lane;
  writeSync(1, 'rests\n');
}

async function close(): Promise<void> {
  // the parent and the database may be gone, and then no other process ends this one
  globalThis.setTimeout(() => process.exit(1), 60_000).unref();
  resting.abort();
  await runner.close({ drain: '5s' });
  await pool.end();
}

function plain(_: string, value: unknown): unknown {
  return value instanceof Error ? `${value.name}: ${value.message}` : value;
}
