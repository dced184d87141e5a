/**
 * `npm run bench`: prints a table and writes `bench/results.json`; with `-- --readme` into the README too, with
 * `-- --quick` on fewer executions. Everything runs on a database file with full
 * durability, beside the bare limit: a loop in the same run that commits the same rows with the same group commit.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, platform, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Runner } from '../src/index.ts';
import type { AnyWorkflow } from '../src/index.ts';
import { bareLimit } from './bare.ts';
import { endedStart, memoryPerExecution, registerToDone } from './figures.ts';
import { fanOutAndIn, listing, mapRate, signalToResume, sleepersWake } from './graph.ts';
import { inFolder, median, rate } from './measure.ts';
import type { Rate } from './measure.ts';
import { isolateRoundTrip, packaged } from './packaged.ts';
import { chain, shapes } from './scenarios.ts';

const widths = [1, 32, 1000];
const quick = process.argv.includes('--quick');
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

interface Row {
  readonly what: string;
  readonly [column: string]: string | number;
}

const rows: Row[] = [];
const figures: { readonly figure: string; readonly value: number; readonly unit: string; readonly goal: string }[] = [];

const all = shapes();
const bare = await bareLimit(all.pipeline, widths, totals);
const embedded = new Map<string, ReadonlyMap<number, Rate>>();
for (const [name, workflow] of Object.entries(all)) embedded.set(name, await rates(workflow));
for (const [name, byWidth] of embedded) rows.push(row(name, byWidth));
rows.push({ what: 'bare limit of pipeline', ...columns((width) => ({ perSecond: bare.perSecond.get(width)! })) });
const inIsolate = await packaged(widths, totals);
rows.push(row('packaged pipeline', inIsolate));

const pipeline = embedded.get('pipeline')!;
const shares: number[] = [];
for (let i = 0; i < 3; i++) shares.push(await share());
figure('pipeline, 32 at once: share of the bare limit, run in turn', median(shares), '', 'at least 0.5');
const four = `under ${(4 * bare.commitMs + 1).toFixed(2)} (4 bare commits + 1 ms)`;
figure('pipeline, one at a time: median', pipeline.get(1)!.medianMs, 'ms', four);
const packedShare = inIsolate.get(32)!.perSecond / pipeline.get(32)!.perSecond;
figure('packaged pipeline, 32 at once: share of embedded', packedShare, '', 'at least 0.2');
figure('task round trip into an isolate: median', await isolateRoundTrip(), 'ms', '');
figure('live execution in memory', await memoryPerExecution(quick ? 2000 : 10_000), 'kB', 'under 10');
figure(
  'register -> first execution done, warm runner: median',
  await registerToDone(quick ? 3 : 10),
  'ms',
  'under 500',
);
const ended = quick ? 10_000 : 100_000;
figure(`runner start with ${ended} ended executions: median`, await endedStart(ended), 'ms', 'under 300');
const shortest = await chainCost(10);
for (const length of [10, 100, 1000]) {
  const cost = length === 10 ? shortest : await chainCost(length);
  figure(
    `cost of a task in a chain of ${length}`,
    cost,
    'ms',
    length === 1000 ? `at most ${(2 * shortest).toFixed(2)}` : '',
  );
}

figure('map of 10,000 items: items a second', await mapRate(quick ? 1000 : 10_000), '/s', '');
figure('fan out to 1,000 tasks and in again: median', await fanOutAndIn(quick ? 100 : 1000), 'ms', '');
figure('signal -> task after the wait begins: median', await signalToResume(quick ? 5 : 50), 'ms', '');
const sleepers = quick ? 500 : 10_000;
figure(`${sleepers} executions that wake in the same second: all done after`, await sleepersWake(sleepers), 'ms', '');
const listed = quick ? 20_000 : 1_000_000;
const pages = await listing(listed);
for (const [what, ms] of Object.entries(pages.pagesMs)) {
  figure(`page of 50 of ${listed} executions, ${what}: median`, ms, 'ms', 'under 20');
}
figure(`memory that ${listed} waiting executions cost a runner`, pages.waitingMb, 'MB', '');

const machine = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()}, Node ${process.version}`;
const report = text();
console.log(report);
const results = fileURLToPath(new URL('results.json', import.meta.url));
writeFileSync(results, `${JSON.stringify({ machine, at: new Date().toISOString(), rows, figures }, null, 2)}\n`);
if (process.argv.includes('--readme')) writeReadme();

/** What the engine reaches of what the database alone does, measured one right after the other. */
async function share(): Promise<number> {
  const total = new Map([[32, quick ? 2000 : 10_000]]);
  const limit = (await bareLimit(all.pipeline, [32], total)).perSecond.get(32)!;
  const reached = await inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [all.pipeline] });
    return await rate(total.get(32)!, 32, () => runner.execute(all.pipeline));
  });
  return reached.perSecond / limit;
}

async function rates(workflow: AnyWorkflow): Promise<ReadonlyMap<number, Rate>> {
  return inFolder(async (folder) => {
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { workflows: [workflow] });
    const byWidth = new Map<number, Rate>();
    for (const width of widths)
      byWidth.set(width, await rate(totals.get(width)!, width, () => runner.execute(workflow)));
    return byWidth;
  });
}

/** Chains one after another: what one task of a chain costs, durable, with nothing beside it. */
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

function row(what: string, byWidth: ReadonlyMap<number, Rate>): Row {
  return { what, ...columns((width) => byWidth.get(width)!) };
}

function columns(
  of: (width: number) => { perSecond: number; medianMs?: number; p99Ms?: number },
): Record<string, string | number> {
  const entries = widths.map((width) => {
    const { perSecond, medianMs, p99Ms } = of(width);
    const latency = medianMs === undefined ? '' : ` (median ${medianMs} ms, p99 ${p99Ms} ms)`;
    return [`${width} at once`, `${perSecond}/s${latency}`];
  });
  return Object.fromEntries(entries) as Record<string, string>;
}

function figure(name: string, value: number, unit: string, goal: string): void {
  figures.push({ figure: name, value: Math.round(value * 1000) / 1000, unit, goal });
}

function text(): string {
  const heads = widths.map((width) => `${width} at once`);
  return [
    `| | ${heads.join(' | ')} |`,
    `| --- | ${widths.map(() => '---').join(' | ')} |`,
    ...rows.map(({ what, ...rest }) => `| ${what} | ${Object.values(rest).join(' | ')} |`),
    '',
    '| figure | measured | goal |',
    '| --- | --- | --- |',
    ...figures.map(({ figure: name, value, unit, goal }) => `| ${name} | ${`${value} ${unit}`.trim()} | ${goal} |`),
    '',
    `Measured on ${machine}.`,
  ].join('\n');
}

function writeReadme(): void {
  const path = fileURLToPath(new URL('../README.md', import.meta.url));
  const readme = readFileSync(path, 'utf8');
  const [head, rest] = readme.split('<!-- bench -->') as [string, string];
  const tail = rest.slice(rest.indexOf('<!-- /bench -->'));
  writeFileSync(path, `${head}<!-- bench -->\n\n${report}\n\n${tail}`);
}
