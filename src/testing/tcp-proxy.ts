import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';

type Mode = 'pass' | 'hold' | 'swallow' | 'refuse';

/** Bytes that one side sent and the proxy has not forwarded; `end`: that side has sent all. */
interface Way {
  readonly from: Socket;
  readonly to: Socket;
  /** From the program to the server. */
  readonly isOutward: boolean;
  readonly held: (Buffer | 'end')[];
}

/**
 * A proxy between a program and a server with which a test breaks the network: connections stay open and carry nothing,
 * are cut, or are refused.
 */
export class TcpProxy {
  readonly #server: Server;
  readonly #target: () => number;
  readonly #ways = new Set<Way>();
  readonly #sockets = new Set<Socket>();
  #mode: Mode = 'pass';

  private constructor(target: () => number) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** To a port of this host, which is read at each connection. */
  static async open(target: () => number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy is closed');
    return address.port;
  }

  /** Forwards again; withheld bytes arrive late, as if TCP had retransmitted them. */
  pass(): void {
    this.#mode = 'pass';
    for (const way of this.#ways) flush(way);
  }

  /** Withholds bytes of the program, and forwards those of the server. */
  hold(): void {
    this.#mode = 'hold';
  }

  /** True if each of these texts is in the withheld bytes of one connection. */
  holds(...texts: readonly string[]): boolean {
    return [...this.#ways].some(({ isOutward, held }) => {
      const sent = Buffer.concat(held.filter((what) => what !== 'end')).toString('latin1');
      return isOutward && texts.every((text) => sent.includes(text));
    });
  }

  /** A black hole: every connection stays open, new ones are accepted, and nothing arrives at either side. */
  swallow(): void {
    this.#mode = 'swallow';
  }

  /** Cuts new connections at once; existing ones continue. */
  refuse(): void {
    this.#mode = 'refuse';
  }

  /** Cuts every connection, on both sides. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(near: Socket): void {
    if (this.#mode === 'refuse') {
      near.on('error', () => undefined);
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port: this.#target(), host: '127.0.0.1', allowHalfOpen: true });
    this.#forward({ from: near, to: far, isOutward: true, held: [] });
    this.#forward({ from: far, to: near, isOutward: false, held: [] });
  }

  #forward(way: Way): void {
    const { from, to, isOutward, held } = way;
    this.#ways.add(way);
    this.#sockets.add(from);
    const take = (what: Buffer | 'end'): void => {
      held.push(what);
      if (this.#mode !== 'swallow' && !(this.#mode === 'hold' && isOutward)) flush(way);
    };
    from.on('data', take);
    from.on('end', () => take('end'));
    from.on('error', () => undefined); // the close ends the rest
    from.on('close', () => {
      take('end');
      this.#sockets.delete(from);
      if (to.destroyed) this.#ways.delete(way);
    });
  }
}

function flush({ to, held }: Way): void {
  for (const what of held.splice(0)) {
    if (to.destroyed) return;
    if (what === 'end') to.end();
    else to.write(what);
  }
}
