import { CloacinaError } from '../core/error.ts';
import type { NewExecution } from './batch.ts';
import { callerQuery } from './caller-transaction.ts';
import type { CallerQuery } from './caller-transaction.ts';
import { executionParams, liveHeadText, pinnedTo } from './executions.ts';
import type { Created, LiveHead } from './executions.ts';
import { durableText } from './postgres-connection.ts';
import { noticeChannel } from './postgres-notices.ts';
import { executionArrays } from './postgres-rows.ts';
import type { PostgresDriver } from './postgres.ts';
import type { Store } from './store.ts';

const columns = Object.keys(executionArrays);
const names = columns.join(', ');
const typed = Object.entries(executionArrays)
  .map(([name, type]) => `${name} ${type === 'json' ? 'text' : type}`)
  .join(', ');

/**
 * `$1` executions as one JSON text, `$2` the transaction that they belong to, `$3` and `$4` the notice, which the database
 * sends when the caller commits. In any other transaction than that one nothing is written.
 */
const insertText = `with given as (select ${names} from json_to_recordset($1::json) as r(${typed})),
  made as (insert into executions (${names}) select ${names} from given where pg_current_xact_id()::text = $2
    on conflict (tenant, workflow, idempotency_key) where idempotency_key is not null do nothing returning id),
  marked as (insert into execution_tags (tenant, name, value, created_at, execution_id)
    select g.tenant, t.key, t.value, g.created_at, g.id from given g join made on made.id = g.id cross join lateral json_each_text(g.tags::json) t),
  told as (insert into events (execution_id, seq, type, at)
    select g.id, 1, 'execution.created', g.created_at from given g join made on made.id = g.id)
  select coalesce(json_agg(made.id), '[]')::text as ids, max(pg_notify($3, $4)::text) as said, max(${durableText}) as durable from made`;

const existingText = `select id, code, input_hash as hash from executions
  where tenant = $1 and workflow = $2 and idempotency_key = $3`;

/** Statements are bounded by the length of what they insert. */
const chunkLength = 8_388_608;

/** What of a store is for a PostgreSQL only: the caller may have a transaction of their own on it. */
export function postgresStarts(driver: PostgresDriver): Pick<Store, 'createWithin'> {
  return {
    createWithin: async (tx, creates) => new CallerStart(driver, callerQuery(tx)).create(creates),
  };
}

/**
 * Creates executions, unowned, in a transaction of the caller: by the same rules as `createExecutions`, by the caller's own
 * client. Errors of the database reach the caller as that client gives them, so that whatever repeats transactions there
 * knows them.
 */
class CallerStart {
  readonly #driver: PostgresDriver;
  readonly #query: CallerQuery;

  constructor(driver: PostgresDriver, query: CallerQuery) {
    this.#driver = driver;
    this.#query = (text, values) => query(driver.qualified(text), values);
  }

  async create(creates: readonly NewExecution[]): Promise<Created[]> {
    const [now] = await this.#query<{ xid: string }>('select pg_current_xact_id()::text as xid', []);
    const results = new Map<NewExecution, Created>();
    for (const create of creates) {
      const existing = await this.#existing(create);
      if (existing !== null) results.set(create, existing);
    }
    const heads = new Map<string, LiveHead | undefined>();
    let chunk: NewExecution[] = [];
    let length = 0;
    const flush = async (): Promise<void> => {
      for (const [create, created] of await this.#insert(chunk, now!.xid, heads)) results.set(create, created);
      chunk = [];
      length = 0;
    };
    for (const create of creates) {
      if (results.has(create)) continue;
      chunk.push(create);
      length += create.input.length + (create.tags?.length ?? 0) + 512;
      if (length > chunkLength) await flush();
    }
    if (chunk.length > 0) await flush();
    return creates.map((create) => results.get(create)!);
  }

  async #insert(
    creates: readonly NewExecution[],
    xid: string,
    heads: Map<string, LiveHead | undefined>,
  ): Promise<Map<NewExecution, Created>> {
    const pinned = new Map<NewExecution, NewExecution>();
    for (const create of creates) pinned.set(create, await this.#repinned(create, heads));
    const rows = Array.from(pinned.values(), (create) =>
      Object.fromEntries(executionParams(create, null).map((value, at) => [columns[at]!, value])),
    );
    const notice = [noticeChannel(this.#driver.schema), 'caller work'];
    const [answer] = await this.#query<{ ids: string }>(insertText, [JSON.stringify(rows), xid, ...notice]);
    const made = new Set(JSON.parse(answer!.ids) as string[]);
    const results = new Map<NewExecution, Created>();
    for (const [create, { id, code, inputHash }] of pinned) {
      const created = made.has(id) ? { id, created: true, code, inputHash } : await this.#existing(create);
      if (created === null) throw notOne();
      results.set(create, created);
    }
    return results;
  }

  /** The execution that has the key already. Who takes the same key at the same time waits for the other's end. */
  async #existing({ tenant, workflow, idempotencyKey }: NewExecution): Promise<Created | null> {
    if (idempotencyKey === null) return null;
    const [row] = await this.#query<{ id: string; code: string; hash: string | null }>(existingText, [
      tenant,
      workflow,
      idempotencyKey,
    ]);
    return row === undefined ? null : { id: row.id, created: false, code: row.code, inputHash: row.hash };
  }

  async #repinned(create: NewExecution, heads: Map<string, LiveHead | undefined>): Promise<NewExecution> {
    if (create.pin === null || !create.followsChannel) return create;
    const place = [create.tenant, create.pin.package, create.workflow];
    const key = JSON.stringify(place);
    if (!heads.has(key)) heads.set(key, (await this.#query<LiveHead>(liveHeadText, place))[0]);
    const head = heads.get(key);
    return head === undefined || head.digest === create.pin.digest ? create : pinnedTo(create, head);
  }
}

function notOne(): CloacinaError {
  const why = 'it has not begun, it has ended meanwhile, or it is a pool, whose statements run on any connection';
  return new CloacinaError(
    'TRANSACTION_INVALID',
    `option 'tx': its statements are not in one open transaction (${why}); nothing was started`,
  );
}
