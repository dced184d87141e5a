import { setTimeout } from 'node:timers/promises';
import type { Client } from '../../src/index.ts';
import type { Random } from '../simulation/random.ts';

const lanes = 6;
const pauseMs = 80;
const mostLimited = 100;
const mostPending = 500;
const sampleMs = 1000;
const names = ['chain', 'chain', 'limited', 'signalled', 'once', 'parent', 'wide'] as const;

/** Starts executions continuously, as a web application would, whatever happens to the database meanwhile. */
export class Load {
  readonly #acknowledged: Map<string, string>;
  readonly #client: Client;
  readonly #random: Random;
  readonly #lanes: Promise<void>[];
  readonly #signals: Promise<void>[] = [];
  #on = true;
  #isBehind = false;
  #sampledAt = -Infinity;

  /** Acknowledged starts are added to `acknowledged`; each of them has to end. */
  constructor(client: Client, random: Random, acknowledged: Map<string, string>) {
    this.#acknowledged = acknowledged;
    this.#client = client;
    this.#random = random;
    this.#lanes = Array.from({ length: lanes }, () => this.#lane());
  }

  /** Stops starting; resolves once every expected signal has been taken. */
  async end(): Promise<void> {
    this.#on = false;
    await Promise.all(this.#lanes);
    await Promise.all(this.#signals);
  }

  async #lane(): Promise<void> {
    while (this.#on) {
      const name = this.#random.pick(names);
      try {
        if ((await this.#backlog()) || (name === 'limited' && (await this.#limitedWait()))) continue;
        const { id } = await this.#client.start(name, {}, { priority: this.#random.below(3) });
        this.#acknowledged.set(id, name);
        if (name === 'signalled') this.#signals.push(this.#signal(id, this.#random.below(3000)));
      } catch (error) {
        if (!isAway(error)) throw error;
      } finally {
        await setTimeout(pauseMs);
      }
    }
  }

  /** True if the runners, most of which a storm keeps down, are behind: a longer backlog would outlast the storm. */
  async #backlog(): Promise<boolean> {
    if (performance.now() - this.#sampledAt >= sampleMs) {
      this.#sampledAt = performance.now();
      const { items } = await this.#client.executions.list({ status: 'pending', limit: mostPending });
      this.#isBehind = items.length === mostPending;
    }
    return this.#isBehind;
  }

  /** The limit admits two at once; a higher rate would leave a backlog long after the storm */
  async #limitedWait(): Promise<boolean> {
    const filter = { workflow: 'limited', status: 'pending', limit: mostLimited } as const;
    return (await this.#client.executions.list(filter)).items.length === mostLimited;
  }

  async #signal(id: string, afterMs: number): Promise<void> {
    await setTimeout(afterMs);
    for (;;) {
      try {
        await this.#client.signal(id, 'go', 1);
        return;
      } catch (error) {
        // a signal sent without an answer has been taken, and the execution may have ended because of it
        if (codeOf(error) === 'EXECUTION_ENDED') return;
        if (!isAway(error)) throw error;
      }
      await setTimeout(pauseMs);
    }
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error ? Reflect.get(error, 'code') : undefined;
}

/** The database was away for longer than a call waits for it, or the answer was lost. */
function isAway(error: unknown): boolean {
  return codeOf(error) === 'STORE_UNAVAILABLE' || codeOf(error) === 'OUTCOME_UNKNOWN';
}
