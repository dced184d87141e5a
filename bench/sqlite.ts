import { Runner } from '../src/index.ts';
import type { AnyWorkflow } from '../src/index.ts';
import { bareLimit } from './bare.ts';
import { endedStart, memoryPerExecution, registerToDone } from './figures.ts';
import { fanOutAndIn, listing, mapRate, signalToResume, sleepersWake } from './graph.ts';
import { inFolder, median, rate } from './measure.ts';
import type { Rate } from './measure.ts';
import { isolateRoundTrip, packaged } from './packaged.ts';
import { Report } from './report.ts';
import { chain, shapes } from './scenarios.ts';

export const sqliteWidths: readonly number[] = [1, 32, 1000];

/**
 * Throughput on SQLite: every scenario on a database file with full durability, beside the bare limit of the same run.
 */
export async function sqliteReport(quick: boolean): Promise<Report> {
  const report = new Report();
  const totals = new Map(
    quick
      ? [
          [1, 100],
          [32, 2000],
          [1000, 3000],
        ]
      : [
          [1, 1000],
          [32, 20_000],
          [1000, 20_000],
        ],
  );
  const all = shapes();
  const bare = await bareLimit(all.pipeline, sqliteWidths, totals);
  const embedded = new Map<string, ReadonlyMap<number, Rate>>();
  for (const [name, workflow] of Object.entries(all)) embedded.set(name, await rates(workflow, totals));
  for (const [name, byWidth] of embedded) report.row(name, byWidth);
  report.row(
    'bare limit of pipeline',
    new Map(Array.from(bare.perSecond, ([width, perSecond]) => [width, { perSecond }])),
  );
  const inIsolate = await packaged(sqliteWidths, totals);
  report.row('packaged pipeline', inIsolate);

  const pipeline = embedded.get('pipeline')!;
  const shares: number[] = [];
  for (let i = 0; i < 3; i++) shares.push(await share(all.pipeline, quick ? 2000 : 10_000));
  report.figure('pipeline, 32 at once: share of the bare limit, run in turn', median(shares), '', 'at least 0.5');
  const four = `under ${(4 * bare.commitMs + 1).toFixed(2)} (4 bare commits + 1 ms)`;
  report.figure('pipeline, one at a time: median', pipeline.get(1)!.medianMs, 'ms', four);
  const packedShare = inIsolate.get(32)!.perSecond / pipeline.get(32)!.perSecond;
  report.figure('packaged pipeline, 32 at once: share of embedded', packedShare, '', 'at least 0.2');
  report.figure('task round trip into an isolate: median', await isolateRoundTrip(), 'ms', '');
  report.figure('live execution in memory', await memoryPerExecution(quick ? 2000 : 10_000), 'kB', 'under 10');
  report.figure(
    'register -> first execution done, warm runner: median',
    await registerToDone(quick ? 3 : 10),
    'ms',
    'under 500',
  );
  const ended = quick ? 10_000 : 100_000;
  report.figure(`runner start with ${ended} ended executions: median`, await endedStart(ended), 'ms', 'under 300');
  const shortest = await chainCost(10);
  for (const length of [10, 100, 1000]) {
    const cost = length === 10 ? shortest : await chainCost(length);
    report.figure(
      `cost of a task in a chain of ${length}`,
      cost,
      'ms',
      length === 1000 ? `at most ${(2 * shortest).toFixed(2)}` : '',
    );
  }

  report.figure('map of 10,000 items: items a second', await mapRate(quick ? 1000 : 10_000), '/s', '');
  report.figure('fan out to 1,000 tasks and in again: median', await fanOutAndIn(quick ? 100 : 1000), 'ms', '');
  report.figure('signal -> task after the wait begins: median', await signalToResume(quick ? 5 : 50), 'ms', '');
  const sleepers = quick ? 500 : 10_000;
  report.figure(
    `${sleepers} executions that wake in the same second: all done after`,
    await sleepersWake(sleepers),
    'ms',
    '',
  );
  const listed = quick ? 20_000 : 1_000_000;
  const pages = await listing(listed);
  for (const [what, ms] of Object.entries(pages.pagesMs)) {
    report.figure(`page of 50 of ${listed} executions, ${what}: median`, ms, 'ms', 'under 20');
  }
  report.figure(`memory that ${listed} waiting executions cost a runner`, pages.waitingMb, 'MB', '');

  return report;
}

/** The engine's share of the bare limit, measured one directly after the other. */
async function share(pipeline: AnyWorkflow, count: number): Promise<number> {
  const total = new Map([[32, count]]);
  const limit = (await bareLimit(pipeline, [32], total)).perSecond.get(32)!;
  const reached = await inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [pipeline] });
    return await rate(total.get(32)!, 32, () => runner.execute(pipeline));
  });
  return reached.perSecond / limit;
}

async function rates(workflow: AnyWorkflow, totals: ReadonlyMap<number, number>): Promise<ReadonlyMap<number, Rate>> {
  return inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [workflow] });
    const byWidth = new Map<number, Rate>();
    for (const width of sqliteWidths)
      byWidth.set(width, await rate(totals.get(width)!, width, () => runner.execute(workflow)));
    return byWidth;
  });
}

/** Chains one after another: the cost of one durable task of a chain, with no parallel work. */
async function chainCost(length: number): Promise<number> {
  return inFolder(async (folder) => {
    const workflow = chain(length);
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [workflow] });
    const costs: number[] = [];
    for (let i = 0; i < Math.ceil(1000 / length) + 1; i++) {
      const from = performance.now();
      await runner.execute(workflow);
      costs.push((performance.now() - from) / length);
    }
    return median(costs);
  });
}
