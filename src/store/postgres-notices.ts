import { randomUUID } from 'node:crypto';
import type { Pool, PoolClient } from 'pg';
import type { PostgresPlace } from './postgres-url.ts';

/** Where notices do not come (a pooler swallows them), somebody looks after this time all the same. */
const blindMs = 500;
/** The safety net where they do. */
const lookMs = 5000;
const reconnectMs = 1000;

/** Wake-ups between processes by LISTEN and NOTIFY, sent after a commit and not inside it, gathered. */
export class Notices {
  readonly #pool: Pool;
  readonly #channel: string;
  readonly #self = randomUUID();
  #client: PoolClient | undefined;
  #retry: NodeJS.Timeout | undefined;
  #news = true;
  #lastLook = 0;
  #telling: Promise<void> | undefined;
  #tellAgain = false;
  #heard = false;
  #closed = false;

  constructor(pool: Pool, place: PostgresPlace) {
    this.#pool = pool;
    this.#channel = `cloacina_${place.schema ?? 'public'}`;
  }

  /** Begins to listen, and finds out by a notice of its own whether notices come. */
  async listen(): Promise<void> {
    if (this.#closed) return;
    try {
      const client = await this.#pool.connect();
      this.#client = client;
      client.on('notification', ({ payload }) => {
        if (payload === this.#self) this.#heard = true;
        else this.#news = true;
      });
      client.on('error', () => this.#lost());
      client.on('end', () => this.#lost());
      await client.query(`listen "${this.#channel.replaceAll('"', '""')}"`);
      await client.query('select pg_notify($1, $2)', [this.#channel, this.#self]);
    } catch {
      this.#lost();
    }
  }

  /** Whether somebody else committed since the last call; true now and then, where notices may have been lost. */
  changed(): boolean {
    const now = performance.now();
    const due = now - this.#lastLook > (this.#heard ? lookMs : blindMs);
    if (!this.#news && !due) return false;
    this.#news = false;
    this.#lastLook = now;
    return true;
  }

  /** Something was committed here. */
  tell(): void {
    this.#tellAgain = true;
    this.#telling ??= this.#tell();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#telling;
    const client = this.#client;
    this.#client = undefined;
    client?.release(true);
  }

  async #tell(): Promise<void> {
    while (this.#tellAgain && !this.#closed) {
      this.#tellAgain = false;
      try {
        await this.#pool.query('select pg_notify($1, $2)', [this.#channel, this.#self]);
      } catch {
        break; // the others look by themselves before long
      }
    }
    this.#telling = undefined;
  }

  /** The connection is gone: what was said meanwhile may have been missed. */
  #lost(): void {
    const client = this.#client;
    this.#client = undefined;
    this.#heard = false;
    this.#news = true;
    client?.removeAllListeners();
    client?.on('error', () => undefined);
    client?.release(true);
    if (this.#closed) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.listen(), reconnectMs).unref();
  }
}
