import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { Client } from 'pg';
import { messageOf } from '../../../core/foreign/error-text.ts';
import { LeaseMemory } from './lease-memory.ts';
import { Connections, beginText, closeHard } from '../connections.ts';
import type { LeaseReport, LeaseThreadData } from './lease-keeper.ts';
import { renewOn, steadyNow } from './renewal-statement.ts';

// Renews the lease of a runner whose event loop may be blocked by its tasks. It observes that loop: one that is blocked
// for too long is given up like a dead process.

class LeaseThread {
  readonly #data: LeaseThreadData;
  readonly #memory: LeaseMemory;
  readonly #connections: Connections;
  #codes: readonly string[];
  #client: Client | undefined;
  #seenTurns: number;
  #turnedAt = performance.now();
  #warned = false;
  #closed = false;
  #wake: () => void = () => undefined;

  constructor(data: LeaseThreadData, connections: Connections) {
    this.#data = data;
    this.#memory = new LeaseMemory(data.memory);
    this.#connections = connections;
    this.#codes = data.buildIds;
    this.#seenTurns = this.#memory.turns;
  }

  runs(codes: readonly string[]): void {
    this.#codes = codes;
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  async keep(): Promise<void> {
    const { leaseMs } = this.#data;
    await this.#sleep(leaseMs / 3); // it has just been registered
    for (let failures = 0; !this.#closed;) {
      const before = performance.now();
      try {
        if (this.#mayRenew()) await this.#renew();
        failures = 0;
      } catch (error) {
        failures++;
        if (!this.#closed) say({ said: 'failed', message: messageOf(error) });
        await this.#drop();
      }
      // the first retries after a failure follow quickly: another host, or a new connection, may answer at once
      const pause = failures > 0 && failures <= 10 ? leaseMs / 30 : leaseMs / 3;
      await this.#sleep(Math.max(10, pause - (performance.now() - before)));
    }
    await this.#drop();
  }

  /** Returns false once a runner is blocked, or cannot write, for too long: other runners then take its work. */
  #mayRenew(): boolean {
    const { leaseMs, stallMs } = this.#data;
    const stalledMs = this.#stalledFor();
    if (stalledMs > leaseMs) {
      this.#warn(stalledMs);
      return stalledMs <= stallMs;
    }
    // a blocked loop cannot receive an answer that has arrived
    const { waitsSince } = this.#memory;
    return waitsSince === null || stalledMs > turnsMs || steadyNow() - waitsSince <= leaseMs;
  }

  /** Returns the time for which the loop has been blocked, ms. */
  #stalledFor(): number {
    if (this.#memory.turns !== this.#seenTurns) {
      this.#seenTurns = this.#memory.turns;
      this.#turnedAt = performance.now();
      this.#warned = false;
    }
    return performance.now() - this.#turnedAt;
  }

  /** Warns at once, since the blocked loop may never turn again; the runner's own logger repeats it once it does. */
  #warn(stalledMs: number): void {
    const { runner, stallMs } = this.#data;
    const isGivenUp = stalledMs > stallMs;
    if (this.#warned && !isGivenUp) return;
    this.#warned = true;
    const { attempts } = this.#memory;
    say({ said: 'stalled', stalledMs: Math.round(stalledMs), attempts });
    const what = isGivenUp ? 'its lease is no longer renewed' : `it keeps its lease for ${stallMs} ms`;
    const running = attempts.length === 0 ? 'no attempt' : attempts.join(', ');
    const still = `the event loop of runner ${runner} has been blocked for ${Math.round(stalledMs)} ms`;
    try {
      writeSync(2, `cloacina warn: ${still}; ${what}; running: ${running}\n`); // a console would go through that loop
    } catch {
      // stderr has no reader
    }
  }

  async #renew(): Promise<void> {
    const { text, runner, leaseMs } = this.#data;
    const client = (this.#client ??= await this.#connect());
    // an unanswered renewal is given up before the next is due
    const deadlineMs = Math.ceil(leaseMs / 4);
    const around = async (part: string): Promise<void> => {
      const asked = { text: part, query_timeout: deadlineMs };
      if (this.#connections.pooled) await client.query(asked);
    };
    await around(beginText(deadlineMs));
    const renewal = await renewOn(client, text, { runner, leaseMs, buildIds: this.#codes }, deadlineMs);
    await around('commit');
    if (!this.#closed) say({ said: 'renewed', renewal });
  }

  async #connect(): Promise<Client> {
    const client = await this.#connections.connect();
    client.on('end', () => {
      if (this.#client === client) this.#client = undefined;
    });
    return client;
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) await closeHard(client);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = (): void => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** A healthy loop signals four times a second. */
const turnsMs = 1000;

function say(saying: LeaseReport): void {
  parentPort?.postMessage(saying, []);
}

const data = workerData as LeaseThreadData;
const thread = new LeaseThread(data, await Connections.load(data.place, data.deadlineMs));
parentPort?.on('message', (codes: readonly string[] | null) => {
  if (codes === null) thread.close();
  else thread.runs(codes);
});
await thread.keep();
parentPort?.close();
