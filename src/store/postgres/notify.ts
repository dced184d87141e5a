import { createHash, randomUUID } from 'node:crypto';
import type { Client } from 'pg';
import { closeHard } from './connections.ts';
import type { Notice } from '../script.ts';

/** Interval of polls if notices do not arrive (a pooler swallows them). */
const blindMs = 500;
/** Maximum wait for a notice to oneself. */
const deafMs = 2000;
const reconnectMs = 1000;
/** Minimum interval of notices of one process; commits within it share a notice. */
const spacingMs = 4;

/**
 * Interval of statements on the listening connection, which otherwise sends nothing: routers forget such a connection after
 * some minutes, and the system's own keepalive notices that after two hours.
 */
const checkMs = 60_000;
const answerMs = 5000;

export interface NoticesOptions {
  readonly schema: string;
  readonly connect: () => Promise<Client>;
  /** Sends a statement on any connection. */
  readonly query: (text: string, values: readonly string[]) => Promise<void>;
  /** Interval of checks whether the listening connection still carries anything; default a minute. */
  readonly checkMs?: number;
  /** Maximum wait for an answer on that connection; default 5 s. */
  readonly answerMs?: number;
}

/**
 * A notice as one statement: `$1` the channel, `$2` the payload. Its transaction changes nothing, so it does not wait
 * for the disk.
 */
const notifyText = `select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`;

/** Returns the channel name of a schema; PostgreSQL names have at most 63 bytes. */
export function noticeChannel(schema: string): string {
  const short =
    Buffer.byteLength(schema) <= 50 ? schema : createHash('sha256').update(schema).digest('hex').slice(0, 32);
  return `cloacina_${short}`;
}

/**
 * Wake-ups between processes by LISTEN and NOTIFY, sent after a commit and not inside it, and coalesced. A notice to
 * oneself tests whether they arrive; if not, subscribers are told to poll.
 */
export class Notices {
  readonly #options: NoticesOptions;
  readonly #channel: string;
  readonly #self = randomUUID();
  readonly #listeners = new Set<(notice: Notice) => void>();
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #check: NodeJS.Timeout | undefined;
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

  /** Calls a function after each commit of another process, or a possible one. */
  subscribe(listener: (notice: Notice) => void): () => void {
    this.#listeners.add(listener);
    this.#listening ??= this.#listen();
    return () => this.#listeners.delete(listener);
  }

  /** Announces a commit of this process. */
  tell(notice: Notice): void {
    this.#untold = wider(this.#untold, notice);
    if (this.#spaced === undefined) this.#telling ??= this.#tell();
  }

  /** Reconnects after other connections fell silent: a silent listener would not notice its own loss. */
  renew(): void {
    if (this.#client !== undefined) this.#lost(this.#client);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#check);
    clearTimeout(this.#spaced);
    await this.#listening;
    await this.#telling;
    // the last commit is announced before this process closes
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
      // the database is unavailable: other processes poll soon
    }
  }

  async #listen(): Promise<void> {
    try {
      const client = await this.#options.connect();
      this.#client = client;
      client.on('notification', ({ payload }) => this.#heard(payload ?? ''));
      client.on('end', () => this.#lost(client));
      await this.#ask(client, `listen "${this.#channel.replaceAll('"', '""')}"`);
      // by another connection: a pooler may deliver a notice to the connection that sent it, which proves nothing
      await this.#options.query(notifyText, [this.#channel, `${this.#self} any`]);
      // commits are noticed from here on; earlier ones may have been missed
      this.#publish('all');
      this.#timer = setTimeout(() => this.#deaf(), deafMs).unref();
      this.#checkLater(client);
      if (this.#closed) await client.end().catch(() => undefined);
    } catch {
      this.#lost(this.#client);
    }
  }

  /** A connection that gives no answer is replaced. */
  #checkLater(client: Client): void {
    if (this.#closed || client !== this.#client) return;
    clearTimeout(this.#check);
    this.#check = setTimeout(() => {
      this.#ask(client, 'select 1').then(
        () => this.#checkLater(client),
        () => this.#lost(client),
      );
    }, this.#options.checkMs ?? checkMs).unref();
  }

  async #ask(client: Client, text: string): Promise<void> {
    // the driver supports this option, but its types lack it
    const within: object = { query_timeout: this.#options.answerMs ?? answerMs };
    await client.query({ text, ...within });
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

  /** No notices arrive on this connection: subscribers are told to poll until they do. */
  #deaf(): void {
    if (this.#closed || this.#hears) return;
    this.#publish('all');
    this.#timer = setTimeout(() => this.#deaf(), blindMs).unref();
  }

  #publish(notice: Notice): void {
    if (this.#closed) return;
    for (const listener of this.#listeners) listener(notice);
  }

  /** The connection is lost: notices may have been missed. */
  #lost(client: Client | undefined): void {
    if (client !== this.#client) return;
    this.#client = undefined;
    this.#hears = false;
    client?.removeAllListeners();
    client?.on('error', () => undefined);
    if (client !== undefined) void closeHard(client);
    if (this.#closed) return;
    this.#publish('all');
    clearTimeout(this.#timer);
    clearTimeout(this.#check);
    this.#timer = setTimeout(() => void this.#listen(), reconnectMs).unref();
  }
}

/** Returns the notice that covers more. */
function wider(one: Notice | undefined, other: Notice): Notice {
  if (one === 'all' || other === 'all') return 'all';
  return one === 'work' ? one : other;
}
