import { Client } from 'pg';
import { newId } from '../src/engine/id.ts';
import type { AnyWorkflow } from '../src/index.ts';
import type { ExecutionRelease, NewEvent, Transition } from '../src/store/transition.ts';
import { executionParams } from '../src/store/executions/executions.ts';
import { openStore } from '../src/store/open.ts';
import { arraysOf, rowsFrom } from '../src/store/postgres/arrays.ts';
import type { ArrayColumns } from '../src/store/postgres/arrays.ts';
import { eventArrays, executionArrays, taskArrays, taskRows } from '../src/store/postgres/commit/batch-rows.ts';
import { record, withId } from './bare.ts';

type Table = { readonly name: string; readonly columns: ArrayColumns; readonly conflict: string };

const { lets: _lets, ...event } = eventArrays;
const ending: ArrayColumns = { id: 'text', status: 'text', ended_at: 'bigint', output: 'json' };

const made: Table = { name: 'executions', columns: executionArrays, conflict: '' };
const events: Table = { name: 'events', columns: event, conflict: '' };
const tasks: Table = {
  name: 'task_executions',
  columns: taskArrays,
  conflict: `on conflict (execution_id, task, item) do update set status = excluded.status, attempt = excluded.attempt, charged_attempts = excluded.charged_attempts,
    epoch = excluded.epoch, started_at = excluded.started_at, ended_at = excluded.ended_at, output = excluded.output`,
};

/** One statement that writes the rows of every table and nothing else: no fence, no batch number, no conditions. */
class Writer {
  readonly #client: Client;
  readonly #rows = new Map<Table, readonly (readonly unknown[])[]>();
  #ends: readonly (readonly unknown[])[] = [];

  constructor(client: Client) {
    this.#client = client;
  }

  add(table: Table, rows: readonly (readonly unknown[])[]): this {
    if (rows.length > 0) this.#rows.set(table, rows);
    return this;
  }

  end(rows: readonly (readonly unknown[])[]): this {
    this.#ends = rows;
    return this;
  }

  async write(): Promise<void> {
    const values: unknown[] = [];
    const parts = Array.from(this.#rows, ([{ name, columns, conflict }, rows]) => {
      const source = rowsFrom(columns, values.length + 1, 'r');
      values.push(...arraysOf(columns, rows));
      return `insert into ${name} (${Object.keys(columns).join(', ')}) select * from ${source} ${conflict}`;
    });
    if (this.#ends.length > 0) {
      const source = rowsFrom(ending, values.length + 1, 'r');
      values.push(...arraysOf(ending, this.#ends));
      parts.push(`update executions e set status = r.status, ended_at = r.ended_at, output = r.output, owner = null
        from ${source} where e.id = r.id`);
    }
    const last = parts.pop()!;
    const before = parts.map((part, at) => `w${at} as (${part})`).join(', ');
    const name = [...this.#rows.keys()].map((table) => table.name).join(' ') + (this.#ends.length > 0 ? ' end' : '');
    await this.#client.query({ name, text: before === '' ? last : `with ${before} ${last}`, values });
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
  const row = (id: string, e: NewEvent): unknown[] => [
    id,
    e.seq,
    e.type,
    e.at,
    e.task,
    e.item,
    e.attempt,
    runner,
    e.data,
  ];
  await new Writer(client)
    .add(
      made,
      transitions.flatMap(({ create }) => (create === null ? [] : [executionParams(create, runner)])),
    )
    .add(tasks, taskRows(transitions))
    .add(
      events,
      transitions.flatMap((one) => [...one.events, ...(one.release?.events ?? [])].map((e) => row(one.id, e))),
    )
    .end(transitions.flatMap(({ id, release }) => (release === null ? [] : [endRow(id, release)])))
    .write();
}

function endRow(id: string, { status, endedAt, output }: ExecutionRelease): unknown[] {
  return [id, status, endedAt, output];
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
        made,
        creates.map((one) => executionParams(one, null)),
      )
      .add(
        events,
        creates.map(({ id, createdAt }) => [id, 1, 'execution.created', createdAt, null, null, null, null, null]),
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
