/** A packaged workflow with a wide map, runners that load it, and an observer of its runs. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Client } from '../../src/index.ts';
import { release, tempFolder } from '../../src/testing/engine-rig.ts';
import type { Cleanup } from '../../src/testing/engine-rig.ts';
import { runCli, startCli } from '../cli/run-cli.ts';
import type { Started } from '../cli/run-cli.ts';

/** The output of an item of the map. */
export interface Item {
  readonly item: number;
  readonly index: number;
  readonly attempt: number;
  /** The process that ran it, and the runner of that process. */
  readonly pid: number;
  readonly runner: number;
  /** The runner of the first attempt, as its step remembers. */
  readonly first: number;
}

export type Run = Pick<Item, 'item' | 'attempt' | 'pid' | 'runner'>;

export interface Wide {
  readonly items: number;
  /** The duration of each item. */
  readonly ms: number;
  /** The item that ends its process the first time it runs. */
  readonly fatal?: number;
}

const source = `
import { setTimeout } from 'node:timers/promises';
import { workflow } from 'cloacina';

const runner = process.ppid;
const { pid } = process;
const wide = workflow('wide');
const items = wide.map(
  'items',
  { over: ({ input }) => Array.from({ length: input.items }, (_, i) => i), retry: { attempts: 3, delay: '50ms' } },
  async ({ item, index, input, step, attempt }) => {
    const first = await step('first', () => runner);
    await fetch(input.witness, { method: 'POST', body: JSON.stringify({ item, attempt, pid, runner }) });
    if (item === input.fatal && attempt === 1) process.kill(pid, 'SIGKILL');
    await setTimeout(input.ms);
    return { item, index, attempt, pid, runner, first };
  },
);
export default wide.returns(items);
`;

/** A runner in a separate process, by the command line. */
export interface RunnerProcess {
  readonly pid: number;
  /** The id of the runner in the database. */
  readonly id: string;
  kill(): Promise<void>;
}

/** A database and a registry with the package in it. */
export class Place {
  readonly #t: Cleanup;
  readonly #folder: string;
  readonly #where: readonly string[];
  readonly #witness: string;
  readonly client: Client;
  /** Every run of an item, as the item reported it. */
  readonly runs: readonly Run[];

  private constructor(
    t: Cleanup,
    folder: string,
    where: readonly string[],
    client: Client,
    { url, runs }: { readonly url: string; readonly runs: readonly Run[] },
  ) {
    this.#t = t;
    this.#folder = folder;
    this.#where = where;
    this.#witness = url;
    this.client = client;
    this.runs = runs;
  }

  static async open(t: Cleanup, database: string): Promise<Place> {
    const folder = tempFolder(t);
    const registry = `file:${join(folder, 'packages')}`;
    const where = ['--database', database, '--registry', registry];
    const client = await Client.open(database, { registry });
    release(t, () => client.close());
    await client.registry.register(await (packed ??= pack(folder)));
    return new Place(t, folder, where, client, await openWitness(t));
  }

  /** Resolves once the runner can run the package. */
  async openRunner(slots: number): Promise<RunnerProcess> {
    const started: Started = startCli(this.#folder, [
      'runner',
      '--json',
      '--concurrency',
      String(slots),
      ...this.#where,
    ]);
    const kill = async (): Promise<void> => {
      if (started.child.exitCode !== null || started.child.signalCode !== null) return;
      const ended = once(started.child, 'exit');
      started.child.kill('SIGKILL');
      await ended;
    };
    release(this.#t, kill);
    const ready = JSON.parse(await started.line('stdout', '"ready"')) as { readonly runner: string };
    await started.line('stdout', '"package.loaded"');
    return { pid: started.child.pid!, id: ready.runner, kill };
  }

  async start(wide: Wide): Promise<{ readonly id: string; readonly output: Promise<readonly Item[]> }> {
    const handle = await this.client.start('wide', { ...wide, witness: this.#witness });
    const output = handle.result().then((result) => result.output as unknown as readonly Item[]);
    output.catch(() => undefined); // waiting callers get the error
    return { id: handle.id, output };
  }

  /** The number of runs of each item, in the order of the items. */
  counts(items: number): readonly number[] {
    const runs = Map.groupBy(this.runs, ({ item }) => item);
    return Array.from({ length: items }, (_, item) => runs.get(item)?.length ?? 0);
  }
}

let packed: Promise<Uint8Array> | undefined;

/** The package as built from its project. */
async function pack(folder: string): Promise<Uint8Array> {
  const project = join(folder, 'project');
  mkdirSync(project);
  const about = { name: 'helped', version: '1.0.0', type: 'module', cloacina: { entry: 'index.mjs' } };
  writeFileSync(join(project, 'package.json'), JSON.stringify(about));
  writeFileSync(join(project, 'index.mjs'), source);
  const { code, stderr } = await runCli(folder, ['package', 'pack', 'project', '-o', 'helped.cloacina']);
  assert.equal(code, 0, stderr);
  return readFileSync(join(folder, 'helped.cloacina'));
}

/** Receives a report of every run at once, independently of the runner. */
async function openWitness(t: Cleanup): Promise<{ readonly url: string; readonly runs: readonly Run[] }> {
  const runs: Run[] = [];
  const server = createServer((request, response) => {
    const hear = async (): Promise<void> => {
      runs.push(JSON.parse(await text(request)) as Run);
      response.end();
    };
    hear().catch(() => response.destroy()); // its runner was killed during the report
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  release(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, runs };
}
