import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** A proxy to a PostgreSQL server that counts every statement sent to it. */
export interface Counted {
  readonly url: string;
  /** Statements so far, including `begin` and `commit`. */
  statements(): number;
  close(): void;
}

/** `Query` and `Execute`: each is a statement that the server runs. */
const counted: ReadonlySet<number> = new Set(['Q'.charCodeAt(0), 'E'.charCodeAt(0)]);

export async function countStatements(url: string): Promise<Counted> {
  const target = new URL(url);
  let statements = 0;
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    const messages = new Messages((type) => {
      if (counted.has(type)) statements++;
    });
    near.on('data', (chunk) => messages.take(Buffer.from(chunk as Buffer)));
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => (sockets.delete(socket), near.destroy(), far.destroy()));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const through = new URL(url);
  through.port = String((server.address() as AddressInfo).port);
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { url: through.href, statements: () => statements, close };
}

/** Splits the bytes of a client into messages; the first message has no type. */
class Messages {
  readonly #onMessage: (type: number) => void;
  #rest = Buffer.alloc(0);
  #begun = false;

  constructor(onMessage: (type: number) => void) {
    this.#onMessage = onMessage;
  }

  take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const at = this.#begun ? 1 : 0;
      if (this.#rest.length < at + 4) return;
      const length = at + this.#rest.readInt32BE(at);
      if (this.#rest.length < length) return;
      if (this.#begun) this.#onMessage(this.#rest[0]!);
      this.#begun = true;
      this.#rest = this.#rest.subarray(length);
    }
  }
}
