import { DatabaseSync } from 'node:sqlite';
import { Client, Runner, unchecked, workflow } from '../src/index.ts';
import { heap } from './figures.ts';
import { inFolder, median } from './measure.ts';

/** Items/s of a map over `items` items, each durable on its own. */
export async function mapRate(items: number): Promise<number> {
  const made = workflow('wide');
  made.map('m', { over: () => Array.from({ length: items }, (_, i) => i) }, ({ item }) => item + 1);
  return inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [made] });
    const from = performance.now();
    await runner.execute(made);
    return (items / (performance.now() - from)) * 1000;
  });
}

/** Ms for one task, then a number of parallel tasks, then one that needs them all. */
export async function fanOutAndIn(width: number): Promise<number> {
  const made = workflow('fan');
  const first = made.task('first', () => 1);
  const middle = Array.from({ length: width }, (_, i) =>
    made.task(`m${i}`, { needs: { first } }, ({ needs }) => needs.first + i),
  );
  const needs = Object.fromEntries(middle.map((task, i) => [`m${i}`, task]));
  const done = made.returns(made.task('last', { needs }, ({ needs: given }) => Object.keys(given).length));
  return inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [done] });
    const taken: number[] = [];
    for (let i = 0; i < 5; i++) {
      const from = performance.now();
      await runner.execute(done);
      taken.push(performance.now() - from);
    }
    return median(taken);
  });
}

/** Executions that sleep until the same second: ms from that second until the last of them has ended. */
export async function sleepersWake(count: number): Promise<number> {
  const made = workflow('sleeper', { input: unchecked<{ until: number }>() });
  made.sleep('nap', { until: ({ input }) => input.until });
  return inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [made] });
    const until = Date.now() + 35_000 + count / 4;
    const handles = await runner.startMany(
      made,
      Array.from({ length: count }, () => ({ until })),
    );
    await Promise.all(handles.map((handle) => handle.outcome()));
    return Date.now() - until;
  });
}

/** Ms from a signal until the waiting task has received it, in the same process. */
export async function signalToResume(times: number): Promise<number> {
  const made = workflow('gate');
  const go = made.wait('go', { signal: 'go' });
  let arrived: (at: number) => void = () => undefined;
  made.task('after', { needs: { go } }, () => arrived(performance.now()));
  return inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [made] });
    const taken: number[] = [];
    for (let i = 0; i < times; i++) {
      const handle = await runner.start(made);
      while ((await runner.executions.get(handle.id)).status !== 'waiting')
        await new Promise((resolve) => setTimeout(resolve, 2));
      const there = new Promise<number>((resolve) => (arrived = resolve));
      const from = performance.now();
      await runner.signal(handle.id, 'go', 1);
      taken.push((await there) - from);
    }
    return median(taken);
  });
}

export interface ListFigures {
  /** By the kind of query. */
  readonly pagesMs: Readonly<Record<string, number>>;
  /** MB of heap that a runner takes while all of them wait. */
  readonly waitingMb: number;
}

/** The cost of a page of 50 on a database with many executions, and the cost to a runner of as many waiting ones. */
export async function listing(count: number): Promise<ListFigures> {
  return inFolder(async (folder) => {
    const url = `sqlite:${folder}/bench.db`;
    const made = workflow('listed');
    made.wait('never', { signal: 'never' });
    {
      await using runner = await Runner.open(url, { workflows: [made] });
      await runner.start(made, {}, { tags: { batch: '0' } });
      while ((await runner.executions.list({ status: 'waiting' })).items.length < 1)
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
    fill(`${folder}/bench.db`, count);
    const before = heap();
    const runner = await Runner.open(url, { workflows: [made] });
    await new Promise((resolve) => setTimeout(resolve, 1000)); // the poll of an idle runner
    const waitingMb = Math.max(0, (heap() - before) / 2 ** 20); // smaller differences are noise
    await using client = await Client.open(url);
    const page = async (options: Parameters<typeof client.executions.list>[0]): Promise<number> => {
      const taken: number[] = [];
      for (let i = 0; i < 9; i++) {
        const from = performance.now();
        const { items } = await client.executions.list({ limit: 50, ...options });
        taken.push(performance.now() - from);
        if (items.length === 0) throw new Error(`nothing is listed for ${JSON.stringify(options)}`);
      }
      return median(taken);
    };
    let after: string | null = null;
    for (let i = 0; i < 20; i++)
      after = (await client.executions.list({ limit: 1000, ...(after === null ? {} : { after }) })).next;
    const pagesMs = {
      'the newest': await page({}),
      'the failed': await page({ status: 'failed' }),
      'of a workflow and a state': await page({ workflow: 'listed', status: 'waiting' }),
      'with a tag': await page({ tags: { batch: '7' } }),
      'after 20,000 others': await page({ after: after! }),
    };
    await runner.close();
    return { pagesMs, waitingMb };
  });
}

/** Copies the one existing execution, some copies failed or tagged: the rows of a year without running them. */
function fill(file: string, count: number): void {
  const database = new DatabaseSync(file);
  const { id } = database.prepare('select id from executions').get() as { id: string };
  database.exec(`create temp table copies as with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})
    select substr('${id}', 1, 24) || printf('%012x', i) as id, i from n`);
  const names = database
    .prepare(`select name from pragma_table_info('executions')`)
    .all()
    .map((row) => String(row['name']));
  const own: Record<string, string> = {
    id: 'copies.id',
    root_id: 'copies.id',
    created_at: 'source.created_at + copies.i',
    status: "case when copies.i % 1000 = 7 then 'failed' else source.status end",
    ended_at: 'case when copies.i % 1000 = 7 then source.created_at + copies.i end',
  };
  const values = names.map((name) => own[name] ?? `source.${name}`);
  database.exec(
    `insert into executions (${names.join(', ')}) select ${values.join(', ')} from copies, executions source where source.id = '${id}'`,
  );
  database.exec(
    `insert into execution_tags select 'default', 'batch', (copies.i % 5000) || '', e.created_at, e.id from copies join executions e on e.id = copies.id where copies.i % 50 = 7`,
  );
  database.close();
}
