import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

export interface Charge {
  readonly id: string;
  readonly cents: number;
}

/**
 * A payment provider on 127.0.0.1. As real ones do, it takes an `idempotency-key` and charges once for each. It makes
 * the first charge, and loses the answer: the caller cannot know whether it was charged.
 */
export async function openPaymentServer() {
  const charges = new Map<string, Charge>();
  let requests = 0;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    requests++;
    const key = String(request.headers['idempotency-key']);
    const { cents } = (await json(request)) as { readonly cents: number };
    const charge = charges.get(key) ?? { id: `ch_${charges.size + 1}`, cents };
    charges.set(key, charge);
    if (requests === 1) request.socket.destroy();
    else response.setHeader('content-type', 'application/json').end(JSON.stringify(charge));
  }

  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    charges,
    get requests(): number {
      return requests;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
