import { Client } from 'pg';
import { newId } from '../src/engine/id.ts';
import type { AnyWorkflow } from '../src/index.ts';
import type { ExecutionRelease, Transition } from '../src/store/transition.ts';
import { openStore } from '../src/store/open.ts';
import { arraysOf, rowsFrom } from '../src/store/postgres/arrays.ts';
import { createdEventRow, eventRow, events } from '../src/store/tables/events.ts';
import { newExecutionRow, newExecutions } from '../src/store/tables/executions.ts';
import { Columns } from '../src/store/tables/table.ts';
import type { Table } from '../src/store/tables/table.ts';
import { taskExecutions, taskOverwrite } from '../src/store/tables/task-executions.ts';
import { taskRows } from '../src/store/commit/batch-rows.ts';
import { record, withId } from './bare.ts';

type Ending = Pick<ExecutionRelease, 'status' | 'endedAt' | 'output'> & { readonly id: string };

const endings = new Columns<Ending>({ id: 'text', status: 'text', endedAt: 'bigint', output: 'json' });

/** One statement that writes the rows of every table and nothing else: no fence, no batch number, no conditions. */
class Writer {
  readonly #client: Client;
  readonly #tables: string[] = [];
  readonly #parts: string[] = [];
  readonly #values: string[] = [];

  constructor(client: Client) {
    this.#client = client;
  }

  add<R>(table: Table<R>, rows: readonly R[], conflict = ''): this {
    return this.#add(table, rows, table.name, (from) => `${table.into} select * from ${from} ${conflict}`);
  }

  end(rows: readonly Ending[]): this {
    const text = 'update executions e set status = r.status, ended_at = r.ended_at, output = r.output, owner = null';
    return this.#add(endings, rows, 'end', (from) => `${text} from ${from} where e.id = r.id`);
  }

  #add<R>(columns: Columns<R>, rows: readonly R[], name: string, text: (from: string) => string): this {
    if (rows.length === 0) return this;
    this.#tables.push(name);
    this.#parts.push(text(rowsFrom(columns, this.#values.length + 1, 'r')));
    this.#values.push(...arraysOf(columns, rows));
    return this;
  }

  async write(): Promise<void> {
    const parts = [...this.#parts];
    const last = parts.pop()!;
    const before = parts.map((part, at) => `w${at} as (${part})`).join(', ');
    const name = this.#tables.join(' ');
    const text = before === '' ? last : `with ${before} ${last}`;
    await this.#client.query({ name, text, values: this.#values });
  }
}

/** The commits of the engine for one execution, step by step, with the runner that made them. */
export interface Recorded {
  readonly runner: string;
  readonly steps: readonly Transition[];
}

export async function recorded(url: string, workflow: AnyWorkflow): Promise<Recorded> {
  const store = await openStore(url);
  const { steps, engine } = await record(store, workflow);
  await engine.close(0);
  await store.close();
  return { runner: engine.id, steps };
}

/** Executions a second of a loop that commits the rows of `width` executions at once, one statement a commit. */
export async function bareRate(
  url: string,
  { runner, steps }: Recorded,
  width: number,
  total: number,
): Promise<number> {
  const client = await benchClient(url);
  const rounds = Math.ceil(total / width);
  const from = performance.now();
  for (let round = 0; round < rounds; round++) {
    const ids = Array.from({ length: width }, () => newId(Date.now()));
    for (const step of steps) {
      const transitions = ids.map((id) => withId(step, id));
      await writeStep(client, runner, transitions);
    }
  }
  const ms = performance.now() - from;
  await client.end();
  return ((rounds * width) / ms) * 1000;
}

async function writeStep(client: Client, runner: string, transitions: readonly Transition[]): Promise<void> {
  await new Writer(client)
    .add(
      newExecutions,
      transitions.flatMap(({ create }) => (create === null ? [] : [newExecutionRow(create, runner)])),
    )
    .add(taskExecutions, taskRows(transitions), taskOverwrite)
    .add(
      events,
      transitions.flatMap((one) =>
        [...one.events, ...(one.release?.events ?? [])].map((event) => eventRow(one.id, event, runner)),
      ),
    )
    .end(transitions.flatMap(({ id, release }) => (release === null ? [] : [{ id, ...release }])))
    .write();
}

/**
 * Executions a second of a loop that inserts executions with their first event in one statement, as `startMany` does.
 */
export async function bareInserts(url: string, { steps }: Recorded, width: number, rounds: number): Promise<number> {
  const client = await benchClient(url);
  const create = steps[0]!.create!;
  const from = performance.now();
  for (let round = 0; round < rounds; round++) {
    const creates = Array.from({ length: width }, () => {
      const id = newId(Date.now());
      return { ...create, id, rootId: id, owned: false };
    });
    await new Writer(client)
      .add(
        newExecutions,
        creates.map((one) => newExecutionRow(one, null)),
      )
      .add(
        events,
        creates.map((one) => createdEventRow(one)),
      )
      .write();
  }
  const ms = performance.now() - from;
  await client.end();
  return ((rounds * width) / ms) * 1000;
}

/** A plain connection, in the schema of the URL. */
export async function benchClient(url: string): Promise<Client> {
  const place = new URL(url);
  const schema = place.searchParams.get('schema');
  place.searchParams.delete('schema');
  const client = new Client({ connectionString: place.href, options: `-c search_path=${schema}` });
  await client.connect();
  return client;
}
