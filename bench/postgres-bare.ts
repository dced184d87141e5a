import { Client } from 'pg';
import { newId } from '../src/engine/id.ts';
import type { AnyWorkflow } from '../src/index.ts';
import type { LetGo, NewEvent, Transition } from '../src/store/batch.ts';
import { executionParams } from '../src/store/executions.ts';
import { openStore } from '../src/store/open.ts';
import { taskRows } from '../src/store/postgres-rows.ts';
import { record, withId } from './bare.ts';

type Type = 'text' | 'int' | 'bigint' | 'json';
type Table = { readonly name: string; readonly columns: Readonly<Record<string, Type>>; readonly conflict: string };

const execution: Readonly<Record<string, Type>> = {
  id: 'text',
  tenant: 'text',
  workflow: 'text',
  package: 'text',
  version: 'text',
  digest: 'text',
  code: 'text',
  status: 'text',
  owner: 'text',
  epoch: 'int',
  priority: 'int',
  created_at: 'bigint',
  wake_at: 'bigint',
  started_at: 'bigint',
  input: 'json',
  tags: 'text',
  idempotency_key: 'text',
  input_hash: 'text',
  limit_key: 'text',
  root_id: 'text',
  parent_id: 'text',
  parent_task: 'text',
  parent_item: 'int',
  schedule_id: 'text',
  schedule_name: 'text',
  slot: 'bigint',
  is_catch_up: 'int',
  input_parsed: 'int',
  retention: 'bigint',
};
const event: Readonly<Record<string, Type>> = {
  execution_id: 'text',
  seq: 'int',
  type: 'text',
  at: 'bigint',
  task: 'text',
  item: 'int',
  attempt: 'int',
  runner: 'text',
  data: 'json',
};
const task: Readonly<Record<string, Type>> = {
  execution_id: 'text',
  task: 'text',
  item: 'int',
  status: 'text',
  attempt: 'int',
  used: 'int',
  epoch: 'int',
  started_at: 'bigint',
  ended_at: 'bigint',
  wake_at: 'bigint',
  output: 'json',
  error: 'json',
  reason: 'text',
  cause: 'text',
  value: 'json',
};
const ending: Readonly<Record<string, Type>> = {
  id: 'text',
  status: 'text',
  ended_at: 'bigint',
  output: 'json',
};

const made: Table = { name: 'executions', columns: execution, conflict: '' };
const events: Table = { name: 'events', columns: event, conflict: '' };
const tasks: Table = {
  name: 'task_executions',
  columns: task,
  conflict: `on conflict (execution_id, task, item) do update set status = excluded.status, attempt = excluded.attempt, used = excluded.used,
    epoch = excluded.epoch, started_at = excluded.started_at, ended_at = excluded.ended_at, output = excluded.output`,
};

/** One statement that writes what each table has rows for, and nothing else: no fence, no number, no conditions. */
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
      const source = sources(columns, rows, values);
      return `insert into ${name} (${Object.keys(columns).join(', ')}) select * from ${source} ${conflict}`;
    });
    if (this.#ends.length > 0) {
      const source = sources(ending, this.#ends, values);
      parts.push(`update executions e set status = r.status, ended_at = r.ended_at, output = r.output, owner = null
        from ${source} as r(id, status, ended_at, output) where e.id = r.id`);
    }
    const last = parts.pop()!;
    const before = parts.map((part, at) => `w${at} as (${part})`).join(', ');
    const name = [...this.#rows.keys()].map((table) => table.name).join(' ') + (this.#ends.length > 0 ? ' end' : '');
    await this.#client.query({ name, text: before === '' ? last : `with ${before} ${last}`, values });
  }
}

function sources(
  columns: Readonly<Record<string, Type>>,
  rows: readonly (readonly unknown[])[],
  values: unknown[],
): string {
  const parts = Object.values(columns).map((type, at) => {
    const column = rows.map((row) => row[at]);
    values.push(type === 'json' ? JSON.stringify(column) : column);
    const parameter = `$${values.length}`;
    return type === 'json' ? `json_array_elements_text(${parameter}::json)` : `unnest(${parameter}::${type}[])`;
  });
  return `rows from (${parts.join(', ')})`;
}

/** What the engine commits for one execution, step by step, and who commits it. */
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

/** Executions a second of a loop that commits the rows of so many at once, one statement a commit. */
export async function bareRate(
  url: string,
  { runner, steps }: Recorded,
  width: number,
  total: number,
): Promise<number> {
  const client = await connect(url);
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
      transitions.flatMap((one) => [...one.events, ...(one.letGo?.events ?? [])].map((e) => row(one.id, e))),
    )
    .end(transitions.flatMap(({ id, letGo }) => (letGo === null ? [] : [endRow(id, letGo)])))
    .write();
}

function endRow(id: string, { status, endedAt, output }: LetGo): unknown[] {
  return [id, status, endedAt, output];
}

/** Executions a second of a loop that inserts so many at once as `startMany` does, with the first event, in one statement. */
export async function bareInserts(url: string, { steps }: Recorded, width: number, rounds: number): Promise<number> {
  const client = await connect(url);
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

async function connect(url: string): Promise<Client> {
  const place = new URL(url);
  const schema = place.searchParams.get('schema');
  place.searchParams.delete('schema');
  const client = new Client({ connectionString: place.href, options: `-c search_path=${schema}` });
  await client.connect();
  return client;
}
