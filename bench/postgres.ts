import { Client as PgClient } from 'pg';
import { Client, Runner } from '../src/index.ts';
import { startedServer } from '../src/testing/postgres-server.ts';
import { median, rate } from './measure.ts';
import { bareInserts, bareRate, recorded } from './postgres-bare.ts';
import type { Recorded } from './postgres-bare.ts';
import { idle, several, wakeUps } from './postgres-runners.ts';
import { Report } from './report.ts';
import { shapes } from './scenarios.ts';

export const postgresWidths: readonly number[] = [1, 32, 500];

/** A new server with its default durability, or a sentence that says why there is none. */
export async function durablePostgres(): Promise<{ readonly url: string; stop(): Promise<void> } | string> {
  // the defaults of PostgreSQL
  const server = await startedServer({ fsync: 'on', shared_buffers: '128MB', max_wal_size: '1GB' });
  if (typeof server === 'string') return server;
  const client = new PgClient(server.url);
  await client.connect();
  for (const setting of ['fsync', 'full_page_writes', 'synchronous_commit']) {
    const { rows } = await client.query<Record<string, string>>(`show ${setting}`);
    if (rows[0]![setting] !== 'on') throw new Error(`${setting} is ${rows[0]![setting]}: such figures mean nothing`);
  }
  await client.end();
  return { url: server.url, stop: () => server.remove() };
}

/**
 * Throughput on a PostgreSQL server with `fsync` and `synchronous_commit` on, beside the bare limit of the same run.
 */
export async function postgresReport(server: string, quick: boolean): Promise<Report> {
  const report = new Report();
  const { pipeline, simple } = shapes();
  const url = `${server}?schema=bench`;
  const totals = new Map(
    quick
      ? [
          [1, 200],
          [32, 3000],
          [500, 5000],
        ]
      : [
          [1, 1000],
          [32, 20_000],
          [500, 20_000],
        ],
  );
  const recording = await recorded(url, pipeline);
  for (const [name, workflow] of Object.entries({ simple, pipeline })) {
    await using runner = await Runner.open(url, { workflows: [workflow] });
    await rate(200, 32, () => runner.execute(workflow));
    const byWidth = new Map();
    for (const width of postgresWidths)
      byWidth.set(width, await rate(totals.get(width)!, width, () => runner.execute(workflow)));
    report.row(name, byWidth);
  }
  const bare = new Map<number, { perSecond: number }>();
  for (const width of postgresWidths)
    bare.set(width, { perSecond: await bareRate(url, recording, width, totals.get(width)!) });
  report.row('bare limit of pipeline', bare);
  for (const width of [32, 500]) {
    const share = await shareOfBare(url, recording, width, quick ? 3000 : 10_000);
    report.figure(
      `pipeline, ${width} at once: share of the bare limit, run in turn`,
      share,
      '',
      width === 500 ? 'at least 0.5' : '',
    );
  }
  const many = await startManyShare(url, recording, quick ? 5 : 20);
  report.figure('startMany of 1,000: share of a loop that inserts the same rows', many, '', 'at least 0.6');
  await processes(report, url, quick);
  return report;
}

/** The engine's share of the bare limit, measured one directly after the other; the median of three. */
async function shareOfBare(url: string, recording: Recorded, width: number, total: number): Promise<number> {
  const { pipeline } = shapes();
  const shares: number[] = [];
  for (let i = 0; i < 3; i++) {
    const limit = await bareRate(url, recording, width, total);
    // opened after the bare loop, whose rows belong to an unknown runner and would be adopted
    await using runner = await Runner.open(url, { workflows: [pipeline] });
    await rate(200, 32, () => runner.execute(pipeline));
    shares.push((await rate(total, width, () => runner.execute(pipeline))).perSecond / limit);
  }
  return median(shares);
}

async function startManyShare(url: string, recording: Recorded, rounds: number): Promise<number> {
  await using client = await Client.open(url);
  const inputs = Array.from({ length: 1000 }, () => ({}));
  await client.startMany('pipeline', inputs);
  const shares: number[] = [];
  for (let i = 0; i < 3; i++) {
    const limit = await bareInserts(url, recording, 1000, rounds);
    const from = performance.now();
    for (let round = 0; round < rounds; round++) await client.startMany('pipeline', inputs);
    shares.push((rounds * 1_000_000) / (performance.now() - from) / limit);
  }
  await emptied(url);
  return median(shares);
}

/** Removes rows that no runner is to execute. */
async function emptied(url: string): Promise<void> {
  const client = new PgClient(url.split('?')[0]);
  await client.connect();
  await client.query(`delete from bench.executions where status = 'pending'`);
  await client.query('vacuum analyze bench.executions');
  await client.end();
}

async function processes(report: Report, url: string, quick: boolean): Promise<void> {
  const { startMs, signalMs } = await wakeUps(url, quick ? 20 : 100);
  report.figure('start in one process -> task begins in another: median', startMs, 'ms', 'under 10');
  report.figure('signal in one process -> task begins in another: median', signalMs, 'ms', 'under 10');
  for (const count of [1, 2, 4]) {
    const runners = count === 1 ? '1 runner' : `${count} runners, each a process`;
    const { own, backlog, paced } = await several(url, count, {
      own: quick ? 4000 : 20_000,
      atOnce: 32,
      backlog: quick ? 4000 : 20_000,
      pacedSeconds: quick ? 3 : 20,
    });
    report.figure(`pipelines, ${runners}, each starts its own, 32 at once`, own, '/s');
    report.figure(`pipelines, ${runners}, started by another process`, backlog, '/s');
    report.figure(`ten pipelines a second from another process, ${runners}: median`, paced.medianMs, 'ms');
    report.figure(`ten pipelines a second from another process, ${runners}: p99`, paced.p99Ms, 'ms');
  }
  const { statementsPerMinute, cpuMsPerSecond } = await idle(url, 10, quick ? 20 : 60);
  report.figure('ten idle runners, each a process: statements a minute in all', statementsPerMinute, '', 'under 150');
  report.figure('ten idle runners, each a process: CPU a second in all', cpuMsPerSecond, 'ms');
}
