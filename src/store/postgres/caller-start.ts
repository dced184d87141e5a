import { CloacinaError } from '../../core/error.ts';
import type { NewExecution } from '../transition.ts';
import { callerQuery } from './caller-transaction.ts';
import type { CallerQuery } from './caller-transaction.ts';
import { withKeyOf } from '../executions/create.ts';
import type { CreatedExecution } from '../executions/create.ts';
import { unlessKeyIsTaken } from '../commit/commit-texts.ts';
import { lockPinnedVersions } from '../commit/pinned-versions.ts';
import { durableText } from './connections.ts';
import { noticeChannel } from './notify.ts';
import { typeName } from './arrays.ts';
import { noticeOf } from './create-executions.ts';
import type { PostgresDriver } from './driver.ts';
import type { Script } from '../script.ts';
import { executionTags } from '../tables/execution-tags.ts';
import { newExecutionRow, newExecutions } from '../tables/executions.ts';
import type { Store } from '../store.ts';

const typed = newExecutions.list.map(({ name, type }) => `${name} ${typeName(type)}`).join(', ');

/**
 * `$1` executions as one JSON text, `$2` the id of their transaction, `$3` and `$4` the notice, which the database
 * sends when the caller commits. In any other transaction nothing is written.
 */
const insertText = `with given as (select ${newExecutions.names()} from json_to_recordset($1::json) as r(${typed})),
  made as (${newExecutions.into} select ${newExecutions.names()} from given where pg_current_xact_id()::text = $2
    ${unlessKeyIsTaken} returning id),
  marked as (${executionTags.into}
    select g.tenant, t.key, t.value, g.created_at, g.id from given g join made on made.id = g.id cross join lateral json_each_text(g.tags::json) t),
  told as (insert into events (execution_id, seq, type, at)
    select g.id, 1, 'execution.created', g.created_at from given g join made on made.id = g.id)
  select coalesce(json_agg(made.id), '[]')::text as ids, max(pg_notify($3, $4)::text) as said, max(${durableText}) as durable from made`;

/** Maximum length of the inserted JSON per statement, characters. */
const chunkLength = 8_388_608;

/** The PostgreSQL-only part of a store: starts within a caller's own transaction. */
export function callerStarts(driver: PostgresDriver): Pick<Store, 'createWithin'> {
  return {
    createWithin: async (tx, creates) => new CallerStart(driver, callerQuery(tx)).create(creates),
  };
}

/**
 * Creates executions, unowned, in a transaction of the caller: by the rules of `createExecutions`, through the caller's
 * own client. Database errors reach the caller unchanged, so that code which repeats transactions recognizes them.
 */
class CallerStart {
  readonly #driver: PostgresDriver;
  readonly #query: CallerQuery;

  constructor(driver: PostgresDriver, query: CallerQuery) {
    this.#driver = driver;
    this.#query = (text, values) => query(driver.qualified(text), values);
  }

  async create(creates: readonly NewExecution[]): Promise<CreatedExecution[]> {
    const [now] = await this.#query<{ xid: string }>('select pg_current_xact_id()::text as xid', []);
    const results = new Map<NewExecution, CreatedExecution>();
    for (const create of creates) {
      const existing = await this.#drive(withKeyOf(create));
      if (existing !== undefined) results.set(create, existing);
    }
    const fresh = creates.filter((create) => !results.has(create));
    // before anything is written: a caller who continues after an error has created none
    const pins = await this.#drive(lockPinnedVersions(this.#driver, fresh));
    const settled = new Map(fresh.map((create) => [create, pins.settled(create)]));
    let chunk = new Map<NewExecution, NewExecution>();
    let length = 0;
    const flush = async (): Promise<void> => {
      for (const [create, created] of await this.#insert(chunk, now!.xid)) results.set(create, created);
      chunk = new Map();
      length = 0;
    };
    for (const [create, as] of settled) {
      chunk.set(create, as);
      length += create.input.length + (create.tags?.length ?? 0) + 512;
      if (length > chunkLength) await flush();
    }
    if (chunk.size > 0) await flush();
    return creates.map((create) => results.get(create)!);
  }

  /** Inserts settled executions, keyed by the requested ones. */
  async #insert(
    settled: ReadonlyMap<NewExecution, NewExecution>,
    xid: string,
  ): Promise<Map<NewExecution, CreatedExecution>> {
    const rows = Array.from(settled.values(), (create) => {
      const values = newExecutions.params(newExecutionRow(create, null));
      return Object.fromEntries(newExecutions.list.map(({ name }, i) => [name, values[i]]));
    });
    const notice = [noticeChannel(this.#driver.schema), `caller ${noticeOf([...settled.values()])}`];
    const [answer] = await this.#query<{ ids: string }>(insertText, [JSON.stringify(rows), xid, ...notice]);
    const made = new Set(JSON.parse(answer!.ids) as string[]);
    const results = new Map<NewExecution, CreatedExecution>();
    for (const [create, { id, buildId, inputHash }] of settled) {
      const created = made.has(id) ? { id, created: true, buildId, inputHash } : await this.#drive(withKeyOf(create));
      // concurrent transactions with the same key wait for each other, so one with that key is there
      if (created === undefined) throw notOne();
      results.set(create, created);
    }
    return results;
  }

  /** Runs a script of selects with text parameters. */
  async #drive<T>(script: Script<T>): Promise<T> {
    let step = script.next();
    while (step.done !== true) {
      const { text, params } = step.value;
      step = script.next({ rows: await this.#query(text, params.map(String)), changes: 0 });
    }
    return step.value;
  }
}

function notOne(): CloacinaError {
  const why = 'it has not begun, it has already ended, or it is a pool, which runs statements on any connection';
  return new CloacinaError(
    'TRANSACTION_INVALID',
    `option 'tx': its statements are not in one open transaction (${why}); nothing was started`,
  );
}
