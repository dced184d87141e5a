import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The result of one scenario: executions a second, and the latency of one. */
export interface Rate {
  readonly perSecond: number;
  readonly medianMs: number;
  readonly p99Ms: number;
}

/** Runs `one` `total` times, at most `atOnce` at the same time. */
export async function rate(total: number, atOnce: number, one: () => Promise<unknown>): Promise<Rate> {
  let started = 0;
  return rateWhile(() => started++ < total, atOnce, one);
}

/** Runs `one` repeatedly for the given time, at most `atOnce` at the same time. Started ones may finish afterwards. */
export async function rateFor(ms: number, atOnce: number, one: () => Promise<unknown>): Promise<Rate> {
  const until = performance.now() + ms;
  return rateWhile(() => performance.now() < until, atOnce, one);
}

async function rateWhile(goesOn: () => boolean, atOnce: number, one: () => Promise<unknown>): Promise<Rate> {
  const taken: number[] = [];
  const lane = async (): Promise<void> => {
    while (goesOn()) {
      const from = performance.now();
      await one();
      taken.push(performance.now() - from);
    }
  };
  const from = performance.now();
  await Promise.all(Array.from({ length: atOnce }, lane));
  const ms = performance.now() - from;
  taken.sort((a, b) => a - b);
  return {
    perSecond: Math.round((taken.length / ms) * 1000),
    medianMs: round(taken[taken.length >> 1]!),
    p99Ms: round(taken[Math.floor(taken.length * 0.99)]!),
  };
}

/** Ms of the monotonic clock that all processes of a host share. */
export function systemMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

export function median(values: readonly number[]): number {
  return round(values.toSorted((a, b) => a - b)[values.length >> 1]!);
}

/** Runs a function in a new folder, which is removed afterwards. */
export async function inFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-bench-'));
  try {
    return await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
