import { Worker } from 'node:worker_threads';
import { isError } from '../../../core/foreign/realms.ts';
import { ownFile } from '../../../own-files.ts';
import type { LeaseKeeper, LeaseKept } from '../../runners/lease-keeper.ts';
import { LeaseMemory } from './lease-memory.ts';
import type { PostgresDriver } from '../driver.ts';
import { first } from '../../script.ts';
import type { Script } from '../../script.ts';
import { readClock, renewOn, renewalFrom, renewalParams, renewalText, steadyNow } from './renewal-statement.ts';
import type { RenewalRow } from './renewal-statement.ts';
import type { PostgresPlace } from '../url.ts';
import type { Renew, Renewal } from '../../runners/renewal.ts';
import type { Store } from '../../store.ts';

/** The start data of the thread. */
export interface LeaseThreadData extends Renew {
  readonly place: PostgresPlace;
  /** `renewalText` with qualified table names. */
  readonly text: string;
  readonly stallMs: number;
  readonly deadlineMs: number;
  readonly memory: SharedArrayBuffer;
}

/** Messages of the thread. */
export type LeaseReport =
  | { readonly said: 'renewed'; readonly renewal: Renewal }
  | { readonly said: 'failed'; readonly message: string }
  | { readonly said: 'stalled'; readonly stalledMs: number; readonly attempts: readonly string[] };

/** Interval at which the event loop signals that it turns, ms. */
const turnMs = 250;

/** Renews the lease of a runner on PostgreSQL: by one statement, from a thread with its own connection. */
export function postgresLease(
  driver: PostgresDriver,
  place: PostgresPlace,
): Pick<Store, 'renew' | 'keepLease' | 'readClock'> {
  return {
    renew: async (renewal) => {
      if (driver.pooled) {
        const text = driver.qualified(renewalText);
        return driver.once((client) => renewOn(client, text, renewal, driver.deadlineMs));
      }
      const sent = steadyNow();
      const row = await driver.statement<RenewalRow>(renewalText, renewalParams(renewal));
      return renewalFrom(row, sent, steadyNow());
    },
    readClock: () => readClock(() => driver.ask(serverTime)),
    keepLease: (lease) => new ThreadKeeper(driver, place, lease),
  };
}

function* serverTime(): Script<number> {
  const row = yield* first<{ now: number }>('select (extract(epoch from clock_timestamp()) * 1000)::bigint as now');
  return row!.now;
}

class ThreadKeeper implements LeaseKeeper {
  readonly #memory = new LeaseMemory();
  readonly #worker: Worker;
  readonly #turning: NodeJS.Timeout;
  readonly #ended = Promise.withResolvers<void>();
  #closing = false;

  constructor(driver: PostgresDriver, place: PostgresPlace, lease: LeaseKept) {
    const { runner, leaseMs, stallMs, buildIds } = lease;
    const text = driver.qualified(renewalText);
    const { buffer: memory } = this.#memory;
    const { deadlineMs } = driver;
    const workerData: LeaseThreadData = { place, text, runner, leaseMs, stallMs, buildIds, deadlineMs, memory };
    const file = ownFile('store/postgres/lease/lease-thread');
    this.#worker = new Worker(file, { workerData, name: 'cloacina-lease', stdin: false, env: process.env });
    this.#worker.unref();
    this.#worker.on('message', (saying: LeaseReport) => this.#heard(lease, saying));
    this.#worker.on('error', (error) => {
      if (!this.#closing) lease.onGone(isError(error) ? error : new Error(String(error)));
    });
    this.#worker.on('exit', (code) => {
      this.#ended.resolve();
      clearInterval(this.#turning);
      if (!this.#closing && code === 0) lease.onGone(new Error('the thread that keeps the lease has ended'));
    });
    this.#turning = setInterval(() => this.#memory.turn(), turnMs).unref();
  }

  runs(codes: readonly string[]): void {
    this.#worker.postMessage(codes, []);
  }

  waitsSince(at: number | null): void {
    this.#memory.waitsSince = at;
  }

  attempt(name: string): () => void {
    return this.#memory.attempt(name);
  }

  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#turning);
    this.#worker.postMessage(null, []);
    await this.#ended.promise;
  }

  #heard(lease: LeaseKept, saying: LeaseReport): void {
    if (this.#closing) return;
    if (saying.said === 'renewed') lease.onRenewal(saying.renewal);
    else if (saying.said === 'failed') lease.onFailure(new Error(saying.message));
    else lease.onStall(saying.stalledMs, saying.attempts);
  }
}
