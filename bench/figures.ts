import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Runner, workflow } from '../src/index.ts';
import { inFolder, median } from './measure.ts';
import { pack, withPackage } from './packaged.ts';
import { shapes } from './scenarios.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** kB of heap that an execution takes while its second task waits. */
export async function memoryPerExecution(count: number): Promise<number> {
  return inFolder(async (folder) => {
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const made = workflow('waiting');
    const first = made.task('first', () => ({ text: 'x'.repeat(100) }));
    made.task('second', { needs: { first } }, async ({ needs }) => {
      await gate;
      return needs.first.text.length;
    });
    const options = { workflows: [made], maxExecutions: count + 1, concurrency: count };
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, options);
    const before = heap();
    const executions = await Promise.all(Array.from({ length: count }, () => runner.start(made)));
    await sleep(1500);
    const used = (heap() - before) / count / 1024;
    open();
    await Promise.all(executions.map((execution) => execution.result()));
    return used;
  });
}

/** Bytes of used heap, after a collection. */
export function heap(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

/** Ms from passing a new version's bytes to the registry until an execution of it has completed. */
export async function registerToDone(times: number): Promise<number> {
  return withPackage(async (runner, folder) => {
    const taken: number[] = [];
    for (let i = 1; i <= times; i++) {
      const bytes = await pack(folder, `1.0.${i}`);
      const from = performance.now();
      await runner.registry.register(bytes);
      await runner.execute('single');
      taken.push(performance.now() - from);
    }
    return median(taken);
  });
}

/** Ms to open a runner on a database with many ended executions. */
export async function endedStart(count: number): Promise<number> {
  return inFolder(async (folder) => {
    const { pipeline } = shapes();
    const url = `sqlite:${folder}/bench.db`;
    {
      await using runner = await Runner.open(url, { workflows: [pipeline] });
      await runner.execute(pipeline);
    }
    copyExecutions(`${folder}/bench.db`, count);
    const taken: number[] = [];
    for (let i = 0; i < 5; i++) {
      const from = performance.now();
      await using runner = await Runner.open(url, { workflows: [pipeline] });
      taken.push(performance.now() - from);
      if ((await runner.executions.list({ limit: 1000 })).items.length < 1000)
        throw new Error('the executions are not there');
    }
    return median(taken);
  });
}

/** Copies one ended execution many times, with its tasks and events, without running the copies. */
function copyExecutions(file: string, count: number): void {
  const database = new DatabaseSync(file);
  const { id } = database.prepare('select id from executions').get() as { id: string };
  database.exec(`create temp table copies as with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})
    select substr('${id}', 1, 24) || printf('%012x', i) as id from n`);
  for (const [table, key] of [
    ['executions', 'id'],
    ['task_executions', 'execution_id'],
    ['events', 'execution_id'],
  ] as const) {
    const names = database
      .prepare(`select name from pragma_table_info('${table}')`)
      .all()
      .map((row) => String(row['name']));
    const values = names.map((name) => (name === key || name === 'root_id' ? 'copies.id' : `source.${name}`));
    database.exec(
      `insert into ${table} (${names.join(', ')}) select ${values.join(', ')} from copies, ${table} source where source.${key} = '${id}'`,
    );
  }
  database.close();
}
