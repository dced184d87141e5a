import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { Client as PgClient } from 'pg';
import { Client, Runner, unchecked, workflow } from '../src/index.ts';
import type { AnyWorkflow } from '../src/index.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';

/** Tables that grow with the work: none of our statements may read one from its first to its last row. */
const large: ReadonlySet<string> = new Set(['executions', 'task_executions', 'events', 'execution_tags']);
const rows = 20_000;

interface Sent {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** Records the statements that all clients of this process send from now on. */
function recorded(t: TestContext): Map<string, Sent> {
  const sent = new Map<string, Sent>();
  // oxlint-disable-next-line typescript/unbound-method -- it is called with its client
  const query = PgClient.prototype.query as (this: PgClient, ...args: readonly unknown[]) => unknown;
  const spy = function spy(this: PgClient, config: unknown, ...rest: readonly unknown[]): unknown {
    const { text, values } = (typeof config === 'object' && config !== null ? config : {}) as Partial<Sent>;
    if (text !== undefined && /^\s*(select|with|insert|update|delete)\b/i.test(text)) {
      sent.set(text, { text, values: values ?? [] });
    }
    return query.call(this, config, ...rest);
  };
  PgClient.prototype.query = spy as typeof PgClient.prototype.query;
  t.after(() => (PgClient.prototype.query = query as typeof PgClient.prototype.query));
  return sent;
}

interface Plan {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly Plans?: readonly Plan[];
}

function scans(plan: Plan): string[] {
  const own =
    plan['Node Type'] === 'Seq Scan' && large.has(plan['Relation Name'] ?? '') ? [plan['Relation Name']!] : [];
  return [...own, ...(plan.Plans ?? []).flatMap(scans)];
}

function workflows(): AnyWorkflow[] {
  const item = workflow('item', { input: unchecked<{ n: number }>() });
  const w = workflow('w', { concurrency: { limit: 5 } });
  const first = w.task('first', async ({ step, log }) => {
    log.info('begun');
    return step('s', () => 1);
  });
  const each = w.map('each', { needs: { first }, over: () => [1, 2, 3] }, ({ item: n }) => n);
  const kid = w.child('kid', item.returns(item.task('a', ({ input }) => input.n)), { input: () => ({ n: 1 }) });
  const go = w.wait('go', { signal: 'go', timeout: '1h' });
  const far = w.sleep('far', { for: '50ms' });
  w.task('last', { needs: { each, kid, go, far } }, () => 'done');
  return [w, item];
}

/** Everything that a runner and a client do, so that all statements are sent once. */
async function work(url: string): Promise<void> {
  const all = workflows();
  const [w] = all as [AnyWorkflow];
  await using runner = await Runner.open(url, { workflows: all, lease: '1s', retention: '1s' });
  await using client = await Client.open(url);
  const handles = await client.startMany(w, [{}, {}]);
  const tagged = await runner.start(w, {}, { tags: { env: 'prod', team: 'a' }, idempotencyKey: 'k' });
  for (const { id } of [...handles, tagged]) await client.signal(id, 'go', null);
  await Promise.all([...handles, tagged].map((handle) => handle.outcome()));
  const late = await client.start(w, {}, { startAt: '1h' });
  await client.pause(late.id);
  await client.resume(late.id);
  await client.cancel(late.id);
  await client.retry(late.id);
  await client.cancel(late.id);
  await client.fork(tagged.id, { from: 'last' });
  for (const filter of [{}, { status: 'failed' }, { workflow: 'w' }, { tags: { env: 'prod' } }] as const) {
    await client.executions.list({ limit: 10, ...filter });
  }
  await client.executions.get(tagged.id);
  await client.executions.events(tagged.id);
  await client.executions.logs(tagged.id);
}

async function filled(admin: PgClient, schema: string): Promise<void> {
  const id = `'00000000-0000-7000-8000-' || lpad(i::text, 12, '0')`;
  const from = `from generate_series(1, ${rows}) as n(i)`;
  await admin.query(`
    insert into ${schema}.executions (id, tenant, workflow, build_id, status, epoch, created_at, ended_at, input, input_parsed, root_id)
      select ${id}, 'tenant' || i % 50, 'old', 'embedded/old/1', 'completed', 1, i, extract(epoch from now()) * 1000, '{}', 1, ${id} ${from};
    insert into ${schema}.task_executions (execution_id, task, item, status, attempt, charged_attempts, epoch)
      select ${id}, 'a', -1, 'completed', 1, 1, 1 ${from};
    insert into ${schema}.events (execution_id, seq, type, at) select ${id}, 1, 'execution.created', i ${from};
    insert into ${schema}.execution_tags (tenant, name, value, created_at, execution_id)
      select 'tenant' || i % 50, 'env', 'prod', i, ${id} ${from};`);
}

const server = await testPostgres();
const skip = typeof server === 'string' ? server : false;
const base = typeof server === 'string' ? '' : server.url;

describe('postgresql.md: the plans of statements', { skip }, () => {
  for (const isAnalysed of [true, false]) {
    it(`no statement reads a large table as a whole, ${isAnalysed ? 'analysed' : 'never analysed'}`, async (t) => {
      const schema = `plans_${isAnalysed}_${process.pid}`;
      const url = `${base}?schema=${schema}`;
      await (await Client.open(url)).close();
      const admin = new PgClient(base);
      await admin.connect();
      t.after(() => admin.end());
      await filled(admin, schema);
      if (isAnalysed) await admin.query('analyze');
      const sent = recorded(t);
      await work(url);
      const ours = [...sent.values()].filter(({ text }) => text.includes(schema));
      assert.ok(ours.length > 40, `${ours.length} statements were seen`);
      const found: string[] = [];
      for (const { text, values } of ours) {
        const explained = await admin.query<{ 'QUERY PLAN': readonly [{ readonly Plan: Plan }] }>(
          `explain (format json) ${text}`,
          [...values],
        );
        const [{ Plan: plan }] = explained.rows[0]!['QUERY PLAN'];
        for (const table of new Set(scans(plan))) found.push(`${table}: ${text.replaceAll(/\s+/g, ' ').slice(0, 200)}`);
      }
      assert.deepEqual(found, []);
    });
  }
});
