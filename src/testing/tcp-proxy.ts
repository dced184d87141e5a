import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';

type Mode = 'pass' | 'hold' | 'swallow' | 'refuse';

/** What was sent by one side and not forwarded yet; `end`: it has sent all. */
interface Way {
  readonly from: Socket;
  readonly to: Socket;
  /** From the program to the server. */
  readonly isOutward: boolean;
  readonly held: (Buffer | 'end')[];
}

/**
 * Stands between a program and a server, and lets a test break the network: connections that stay open and carry nothing,
 * that are cut, that are refused.
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

  /** To a port of this machine, which is asked for at each connection. */
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

  /** Forwards again; what was swallowed meanwhile arrives late, as if it had been sent again and again. */
  pass(): void {
    this.#mode = 'pass';
    for (const way of this.#ways) flush(way);
  }

  /** What the program sends is kept back, and what the server says arrives. */
  hold(): void {
    this.#mode = 'hold';
  }

  /** Whether each of these texts is in what is kept back of one and the same connection. */
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

  /** New connections are cut at once; those that there are go on. */
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
    from.on('error', () => undefined); // what is left to do is done when it closes
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
