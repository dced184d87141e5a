import { Client as PgClient } from 'pg';
import { Client, Runner, workflow } from '../src/index.ts';
import type { AnyWorkflow } from '../src/index.ts';
import { loadEmbedded } from '../src/engine/client/start.ts';
import { openStore } from '../src/store/open.ts';
import { run } from '../src/store/script.ts';
import type { Script } from '../src/store/script.ts';
import type { Claim, Store } from '../src/store/store.ts';
import { sampleRunner } from '../src/testing/samples.ts';
import { inFolder, median, round } from './measure.ts';
import { durablePostgres } from './postgres.ts';

/** The size of the database: all of it grows with `executions`. */
export interface Scale {
  readonly executions: number;
  readonly tenants: number;
  readonly workflows: number;
  readonly schedules: number;
  readonly definitions: number;
  readonly runners: number;
}

export const fullScale: Scale = {
  executions: 1_200_000,
  tenants: 1000,
  workflows: 20,
  schedules: 10_000,
  definitions: 10_000,
  runners: 100,
};

/** How a query makes the numbers from 1 to n. */
interface Numbers {
  readonly from: (n: number) => string;
  readonly padded: (number: string) => string;
}

const postgresNumbers: Numbers = {
  from: (n) => `generate_series(1, ${n}) as n(i)`,
  padded: (number) => `lpad(cast(${number} as text), 12, '0')`,
};
const sqliteNumbers: Numbers = {
  from: (n) => `(with recursive c(i) as (select 1 union all select i + 1 from c where i < ${n}) select i from c) n`,
  padded: (number) => `printf('%012d', ${number})`,
};

/** Ten of a hundred executions have not ended: half of them are pending, half wait for a time. */
function statements(scale: Scale, { from, padded }: Numbers, buildIds: readonly string[], now: number): string[] {
  const { executions, tenants, workflows, schedules, definitions, runners } = scale;
  const tenant = `'tenant' || (i % ${tenants})`;
  const flow = (i: string): string => `'w' || ((${i} / ${tenants}) % ${workflows})`;
  const builds = buildIds.map((id, at) => `when 'w${at}' then '${id}'`).join(' ');
  // independent of the tenant and of the workflow
  const kind = `((i + i / ${tenants}) % 100)`;
  const status = `case when ${kind} < 5 then 'pending' when ${kind} < 10 then 'waiting' when ${kind} < 15 then 'failed' else 'completed' end`;
  const ended = `case when ${kind} < 10 then null else ${now} - 100000000 + i * 10 end`;
  return [
    `insert into executions (id, tenant, workflow, build_id, status, epoch, created_at, wake_at, ended_at, input, input_parsed, output, root_id, tags)
     select '00000000-0000-7000-8000-' || ${padded('i')}, tenant, workflow, case workflow ${builds} end, status, 0, ${now} - 200000000 + i * 10,
       case when status = 'waiting' then ${now} + 3600000 + i end, ended, '{"n":1}', 1, case when status = 'completed' then '{"ok":true}' end,
       '00000000-0000-7000-8000-' || ${padded('i')}, null
     from (select i, ${tenant} as tenant, ${flow('i')} as workflow, ${status} as status, ${ended} as ended from ${from(executions)}) r`,
    `insert into task_executions (execution_id, task, item, status, attempt, charged_attempts, epoch, started_at, ended_at, output)
     select '00000000-0000-7000-8000-' || ${padded('i')}, 'a', -1, 'completed', 1, 1, 1, ${now}, ${now}, '{"ok":true}' from ${from(executions)}`,
    `insert into events (execution_id, seq, type, at) select '00000000-0000-7000-8000-' || ${padded('i')}, 1, 'execution.created', ${now} from ${from(executions)}`,
    `insert into execution_tags (tenant, name, value, created_at, execution_id)
     select ${tenant}, 'env', case when i % 3 = 0 then 'prod' else 'test' end, ${now} - 200000000 + i * 10, '00000000-0000-7000-8000-' || ${padded('i')} from ${from(executions)}`,
    `insert into builds (build_id, workflow, spec, written_at) select 'embedded/w' || (i % ${workflows}) || '/old' || i, 'w' || (i % ${workflows}), '{"tasks":[]}', ${now} from ${from(definitions)}`,
    `insert into schedules (id, tenant, owner, name, workflow, input, rule, anchor, enabled, cursor, next_at, created_at, updated_at)
     select 's' || i, ${tenant}, '', 's' || i, 'w0', '{}', '{"every":3600000,"timezone":"UTC","overlap":"skip","catchup":"latest","jitter":0,"window":null}', ${now}, 1, ${now}, ${now} + 86400000 + i, ${now}, ${now} from ${from(schedules)}`,
    `insert into runners (id, name, host, pid, registered_at) select 'far' || i, 'far' || i, 'host' || i, i, ${now} from ${from(runners)}`,
    `insert into runner_leases (runner, renewed_at, lease_until) select 'far' || i, ${now}, ${now} + 86400000 from ${from(runners)}`,
  ];
}

function flows(count: number): AnyWorkflow[] {
  return Array.from({ length: count }, (_, i) => {
    const made = workflow(`w${i}`);
    made.task('a', () => 1);
    return made;
  });
}

async function timed(times: number, act: () => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let i = 0; i < times; i++) {
    const from = performance.now();
    await act();
    taken.push(performance.now() - from);
  }
  return median(taken);
}

/** The table of one database, as Markdown. */
async function table(
  title: string,
  url: string,
  scale: Scale,
  numbers: Numbers,
  analyse: (store: Store) => Promise<void>,
): Promise<string> {
  const rows: string[][] = [];
  const row = (what: string, ms: number, goal: string): void => void rows.push([what, `${round(ms)} ms`, goal]);
  const all = flows(scale.workflows);
  const buildIds = all.map((one) => loadEmbedded(one).buildId);
  const store = await openStore(url);
  const now = Date.now();
  const from = performance.now();
  for (const text of statements(scale, numbers, buildIds, now)) await store.write(() => once(text));
  await analyse(store);
  const madeIn = Math.round((performance.now() - from) / 1000);
  await store.registerRunner(sampleRunner('bench', { leaseUntil: now + 86_400_000 }));
  for (const count of [1, 5, scale.workflows]) {
    const claim = {
      runner: 'bench',
      now,
      limit: 100,
      buildIds: buildIds.slice(0, count),
      roots: null,
      limits: new Map(),
    };
    row(`claim of 100, ${count} workflows`, await timed(9, () => store.claim(claim)), 'under 20');
  }
  const claim: Claim = { runner: 'bench', now, limit: 100, buildIds, roots: null, limits: new Map() };
  row('look that finds something to claim', await timed(9, () => store.claimable(claim)), '');
  row(
    'look that finds nothing to claim',
    await timed(9, () => store.claimable({ ...claim, buildIds: ['embedded/x/1'] })),
    '',
  );
  row('renewal of a lease', await timed(9, () => store.renew({ runner: 'bench', leaseMs: 86_400_000, buildIds })), '');
  row('look for executions that wake', await timed(9, () => store.nextWake()), '');
  row('look for executions without an owner', await timed(3, () => store.releaseOrphans()), '');
  row(
    'look for executions on retired builds',
    await timed(3, () => store.executionsOnRetiredBuilds(buildIds, 100)),
    '',
  );
  await store.removeRunner('bench');
  await store.releaseOrphans();
  const client = await Client.open(url, { tenant: 'tenant7' });
  for (const [what, filter] of Object.entries(lists)) {
    row(`list: ${what}`, await timed(5, () => client.executions.list({ limit: 50, ...filter })), 'under 50');
  }
  await client.close();
  const opened = await timed(3, async () => {
    const runner = await Runner.open(url, { workflows: all, maxExecutions: 1, schedules: false });
    await runner.close();
  });
  row('Runner.open and close', opened, 'open under 500');
  await store.close();
  const size = `${scale.executions} executions, ${scale.tenants} tenants, ${scale.workflows} workflows`;
  return [
    `${title}: ${size}, made in ${madeIn} s`,
    '',
    '| call | median | goal |',
    '| --- | --- | --- |',
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
  ].join('\n');
}

const lists = {
  newest: {},
  completed: { status: 'completed' },
  failed: { status: 'failed' },
  running: { status: 'running' },
  'a workflow and a state': { workflow: 'w3', status: 'failed' },
  'a tag': { tags: { env: 'prod' } },
  'a tag and a state': { tags: { env: 'prod' }, status: 'failed' },
  'a tag and a state that few have': { tags: { env: 'prod' }, status: 'cancelled' },
  'a tag and a workflow': { tags: { env: 'prod' }, workflow: 'w3' },
} as const;

function* once(text: string): Script<void> {
  yield* run(text);
}

/** Measures what depends on the size of the database, on both databases. */
export async function scaleText(scale: Scale): Promise<string> {
  const texts: string[] = [];
  await inFolder(async (folder) => {
    texts.push(await table('SQLite', `sqlite:${folder}/scale.db`, scale, sqliteNumbers, async () => undefined));
  });
  const server = await durablePostgres();
  if (typeof server === 'string') texts.push(server);
  else {
    try {
      const url = `${server.url}?schema=scale`;
      texts.push(
        await table('PostgreSQL', url, scale, postgresNumbers, async () => {
          const client = new PgClient(server.url);
          await client.connect();
          await client.query('vacuum analyze');
          await client.end();
        }),
      );
    } finally {
      await server.stop();
    }
  }
  return texts.join('\n\n');
}
