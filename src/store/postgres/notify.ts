import { createHash, randomUUID } from 'node:crypto';
import type { Client } from 'pg';
import { closeHard } from './connections.ts';
import type { Notice } from '../script.ts';

/** Where notices do not come (a pooler swallows them), somebody looks after this time all the same. */
const blindMs = 500;
/** A notice to oneself that has not come after so long will not come. */
const deafMs = 2000;
const reconnectMs = 1000;
/** Between two notices of one process: what happens within it is told by one. */
const spacingMs = 4;

/** Known to the driver, but not to its types. */
const answerWithin: object = { query_timeout: 5000 };

export interface NoticesOptions {
  readonly schema: string;
  readonly connect: () => Promise<Client>;
  /** Sends a statement on any connection. */
  readonly query: (text: string, values: readonly string[]) => Promise<void>;
}

/**
 * A notice as one statement: `$1` the channel, `$2` what is said. Its transaction is no change, so nobody waits until it is
 * on disk.
 */
const notifyText = `select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`;

/** The name of the channel of a schema; names of PostgreSQL have 63 bytes at most. */
export function noticeChannel(schema: string): string {
  const short =
    Buffer.byteLength(schema) <= 50 ? schema : createHash('sha256').update(schema).digest('hex').slice(0, 32);
  return `cloacina_${short}`;
}

/**
 * Wake-ups between processes by LISTEN and NOTIFY, sent after a commit and not inside it, gathered. Whether they come is
 * tried out by a notice to oneself; where they do not, whoever wants to know is told to look now and then.
 */
export class Notices {
  readonly #options: NoticesOptions;
  readonly #channel: string;
  readonly #self = randomUUID();
  readonly #listeners = new Set<(notice: Notice) => void>();
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #untold: Notice | undefined;
  #telling: Promise<void> | undefined;
  #spaced: NodeJS.Timeout | undefined;
  #listening: Promise<void> | undefined;
  #hears = false;
  #closed = false;

  constructor(options: NoticesOptions) {
    this.#options = options;
    this.#channel = noticeChannel(options.schema);
  }

  /** Calls a function whenever another process has committed something, or may have. */
  subscribe(listener: (notice: Notice) => void): () => void {
    this.#listeners.add(listener);
    this.#listening ??= this.#listen();
    return () => this.#listeners.delete(listener);
  }

  /** Something was committed here. */
  tell(notice: Notice): void {
    this.#untold = wider(this.#untold, notice);
    if (this.#spaced === undefined) this.#telling ??= this.#tell();
  }

  /** Other connections fell silent: this one may have too, and would never say so. */
  renew(): void {
    if (this.#client !== undefined) this.#lost(this.#client);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#spaced);
    await this.#listening;
    await this.#telling;
    // the last thing that was done here is told before this one goes
    if (this.#untold !== undefined) await this.#say(this.#untold);
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) await closeHard(client);
  }

  async #tell(): Promise<void> {
    const notice = this.#untold;
    this.#untold = undefined;
    if (notice !== undefined) await this.#say(notice);
    this.#telling = undefined;
    if (this.#closed) return;
    this.#spaced = setTimeout(() => {
      this.#spaced = undefined;
      if (this.#untold !== undefined) this.#telling ??= this.#tell();
    }, spacingMs).unref();
  }

  async #say(notice: Notice): Promise<void> {
    try {
      await this.#options.query(notifyText, [this.#channel, `${this.#self} ${notice}`]);
    } catch {
      // the database is away: the others look by themselves before long
    }
  }

  async #listen(): Promise<void> {
    try {
      const client = await this.#options.connect();
      this.#client = client;
      client.on('notification', ({ payload }) => this.#heard(payload ?? ''));
      client.on('end', () => this.#lost(client));
      await client.query({ text: `listen "${this.#channel.replaceAll('"', '""')}"`, ...answerWithin });
      // by another connection: what a pooler tells the very one that it lends out proves nothing
      await this.#options.query(notifyText, [this.#channel, `${this.#self} any`]);
      // from here on what is committed is heard of; before that it may have been missed
      this.#publish('all');
      this.#timer = setTimeout(() => this.#deaf(), deafMs).unref();
      if (this.#closed) await client.end().catch(() => undefined);
    } catch {
      this.#lost(this.#client);
    }
  }

  #heard(payload: string): void {
    const [from, notice] = payload.split(' ');
    if (from === this.#self) {
      this.#hears = true;
      clearTimeout(this.#timer);
    } else {
      this.#publish(notice === 'any' || notice === 'work' ? notice : 'all');
    }
  }

  /** Nothing is heard on this connection: whoever listens is told to look now and then, until something is. */
  #deaf(): void {
    if (this.#closed || this.#hears) return;
    this.#publish('all');
    this.#timer = setTimeout(() => this.#deaf(), blindMs).unref();
  }

  #publish(notice: Notice): void {
    if (this.#closed) return;
    for (const listener of this.#listeners) listener(notice);
  }

  /** The connection is gone: what was said meanwhile may have been missed. */
  #lost(client: Client | undefined): void {
    if (client !== this.#client) return;
    this.#client = undefined;
    this.#hears = false;
    client?.removeAllListeners();
    client?.on('error', () => undefined);
    void client?.end().catch(() => undefined);
    if (this.#closed) return;
    this.#publish('all');
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#listen(), reconnectMs).unref();
  }
}

/** The one of two notices that tells more. */
function wider(one: Notice | undefined, other: Notice): Notice {
  if (one === 'all' || other === 'all') return 'all';
  return one === 'work' ? one : other;
}
