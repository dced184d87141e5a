import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { Client } from '../src/index.ts';
import { median, round, systemMs } from './measure.ts';
import type { Rate } from './measure.ts';
import { benchClient } from './postgres-bare.ts';
import type { Answer, Asked } from './runner-process.ts';
import { countStatements } from './statement-count.ts';

type Of<What extends Answer['what']> = Extract<Answer, { readonly what: What }>;

/** A runner in a separate process. */
class RunnerProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open(url: string): Promise<RunnerProcess> {
    const opened = new RunnerProcess(fork(new URL('runner-process.ts', import.meta.url), [url]));
    await opened.next('ready');
    return opened;
  }

  /** The next message of that kind. */
  async next<What extends Answer['what']>(what: What): Promise<Of<What>> {
    return new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error('a runner process ended too early'));
      const heard = (answer: Answer): void => {
        if (answer.what !== what) return;
        this.#child.off('message', heard);
        this.#child.off('exit', ended);
        resolve(answer as Of<What>);
      };
      this.#child.on('message', heard);
      this.#child.once('exit', ended);
    });
  }

  async ask<What extends Asked['what'] & Answer['what']>(asked: Asked & { readonly what: What }): Promise<Of<What>> {
    const answer = this.next(asked.what);
    this.#child.send(asked);
    return answer;
  }

  async close(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.send({ what: 'close' } satisfies Asked);
    await exited;
  }
}

async function withRunners<T>(
  url: string,
  count: number,
  act: (runners: readonly RunnerProcess[]) => Promise<T>,
): Promise<T> {
  const runners = await Promise.all(Array.from({ length: count }, () => RunnerProcess.open(url)));
  try {
    return await act(runners);
  } finally {
    await Promise.all(runners.map((runner) => runner.close()));
  }
}

export interface WakeUps {
  /** Ms from `start()` in one process to the beginning of the task in another. */
  readonly startMs: number;
  readonly signalMs: number;
}

export async function wakeUps(url: string, times: number): Promise<WakeUps> {
  return await withRunners(url, 1, async ([runner]) => {
    await using client = await Client.open(url);
    const taken = async (act: () => Promise<unknown>): Promise<number> => {
      const began = runner!.next('began');
      const from = systemMs();
      const [{ at }] = await Promise.all([began, act()]);
      return at - from;
    };
    const starts: number[] = [];
    const signals: number[] = [];
    for (let i = 0; i < times; i++) {
      await setTimeout(5 + Math.random() * 50); // any phase of the runner's periodic work
      starts.push(await taken(() => client.start('woken')));
      const { id } = await client.start('gate');
      while ((await client.executions.get(id)).status !== 'waiting') await setTimeout(5);
      await setTimeout(Math.random() * 50);
      signals.push(await taken(() => client.signal(id, 'go')));
    }
    return { startMs: median(starts), signalMs: median(signals) };
  });
}

export interface Idle {
  /** Sum over all runners. */
  readonly statementsPerMinute: number;
  /** Ms of CPU a second, summed over all runners. */
  readonly cpuMsPerSecond: number;
}

export async function idle(url: string, count: number, seconds: number): Promise<Idle> {
  const counted = await countStatements(url);
  try {
    return await withRunners(counted.url, count, async (runners) => {
      await setTimeout(10_000); // start-up work does not count
      const cpu = async (): Promise<number> => {
        const answers = await Promise.all(runners.map((runner) => runner.ask({ what: 'cpu' })));
        return answers.reduce((sum, { ms }) => sum + ms, 0);
      };
      const [statements, ms] = [counted.statements(), await cpu()];
      await setTimeout(seconds * 1000);
      return {
        statementsPerMinute: Math.round((counted.statements() - statements) * (60 / seconds)),
        cpuMsPerSecond: round(((await cpu()) - ms) / seconds),
      };
    });
  } finally {
    counted.close();
  }
}

export interface Several {
  /** Pipelines a second if each runner starts its own, a fixed number at once. */
  readonly own: number;
  /** Pipelines a second that a client starts, 500 with each call, for any runner with room. */
  readonly backlog: number;
  /** A client starts ten a second and waits for each. */
  readonly paced: Pick<Rate, 'medianMs' | 'p99Ms'>;
}

export interface Amounts {
  readonly own: number;
  readonly atOnce: number;
  readonly backlog: number;
  readonly pacedSeconds: number;
}

export async function several(url: string, count: number, amounts: Amounts): Promise<Several> {
  await using client = await Client.open(url);
  return await withRunners(url, count, async (runners) => {
    await client.execute('pipeline');
    const total = Math.ceil(amounts.own / count);
    const from = performance.now();
    await Promise.all(runners.map((runner) => runner.ask({ what: 'rate', total, atOnce: amounts.atOnce })));
    const own = ((total * count) / (performance.now() - from)) * 1000;
    const backlog = await backlogRate(client, url, amounts.backlog);
    return { own: Math.round(own), backlog: Math.round(backlog), paced: await pacedRate(client, amounts.pacedSeconds) };
  });
}

/** Pipelines a second that other runners claim, from the first start until the last end. */
async function backlogRate(client: Client, url: string, total: number): Promise<number> {
  const from = performance.now();
  for (let started = 0; started < total; started += 500) {
    await client.startMany(
      'pipeline',
      Array.from({ length: 500 }, () => ({})),
    );
  }
  // one query for all, because one query for each would measure the queries
  const database = await benchClient(url);
  const open = `select exists (select 1 from executions where status = 'pending' or owner is not null) as open`;
  while ((await database.query<{ open: boolean }>(open)).rows[0]!.open) await setTimeout(10);
  const ms = performance.now() - from;
  await database.end();
  return (total / ms) * 1000;
}

async function pacedRate(client: Client, seconds: number): Promise<Pick<Rate, 'medianMs' | 'p99Ms'>> {
  const taken: number[] = [];
  const all: Promise<void>[] = [];
  for (let i = 0; i < seconds * 10; i++) {
    all.push(
      (async () => {
        const from = performance.now();
        await client.execute('pipeline');
        taken.push(performance.now() - from);
      })(),
    );
    await setTimeout(100);
  }
  await Promise.all(all);
  taken.sort((a, b) => a - b);
  return { medianMs: median(taken), p99Ms: round(taken[Math.floor(taken.length * 0.99)]!) };
}
