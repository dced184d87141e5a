import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/** The fate of the next commit of a task's transaction. */
export type Fate =
  /** The server commits, and its answer is lost with the connection. */
  | 'unanswered'
  /** It never reaches the server: the connection breaks before. */
  | 'unsent';

/** A message of the simple protocol that commits. */
const commit = Buffer.from('commit\0');
/** The beginning of the transaction of a task. */
const begun = Buffer.from('cloacina.task');

/** A proxy before a PostgreSQL server that breaks the connection of a task's transaction at its commit. */
export class CommitProxy {
  /** For the next commits of tasks, one each. */
  readonly fates: Fate[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: { readonly host: string; readonly port: number }) {
    this.#server = createServer((client) => {
      const upstream = connect(target);
      let isTask = false;
      let isLost = false;
      this.#keep(client, upstream);
      client.on('data', (data) => {
        isTask ||= data.includes(begun);
        const fate = isTask && data.includes(commit) ? this.fates.shift() : undefined;
        if (fate === 'unsent') {
          client.destroy();
          upstream.destroy();
          return;
        }
        isLost ||= fate === 'unanswered';
        upstream.write(data);
      });
      upstream.on('data', (data) => {
        if (isLost) client.destroy();
        else client.write(data);
      });
    });
  }

  static async open(url: string): Promise<CommitProxy> {
    const { hostname, port } = new URL(url);
    const proxy = new CommitProxy({ host: hostname, port: Number(port) });
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #keep(client: Socket, upstream: Socket): void {
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.end();
      });
    }
  }
}
