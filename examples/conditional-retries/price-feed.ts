import { NonRetryableError, RetryAfterError, unchecked, workflow } from 'cloacina';

/** Asks the supplier; given to the workflow, so that a test can answer in its place. */
export type Get = (path: string, signal: AbortSignal) => Promise<Response>;

class HttpError extends Error {
  readonly status: number;
  /** What is stored with the failed task, and what programs may rely on. */
  readonly code: string;
  constructor(status: number) {
    super(`the supplier answered ${status}`);
    this.status = status;
    this.code = `HTTP_${status}`;
  }
}

export function priceFeed(get: Get) {
  const feed = workflow('price-feed', { input: unchecked<{ product: string }>() });

  const price = feed.task(
    'price',
    {
      timeout: '10s',
      retry: {
        attempts: 5,
        delay: '500ms', // then 1 s, 2 s, 4 s, each varied by 25 %
        maxDelay: '30s',
        // what the supplier did wrong may pass; what we did wrong will be as wrong the next time
        when: (error) => !(error instanceof HttpError) || error.status >= 500,
      },
    },
    async ({ input, signal }) => {
      const response = await get(`/prices/${input.product}`, signal);
      if (response.status === 404) throw new NonRetryableError(`the supplier has no ${input.product}`);
      if (response.status === 429) throw new RetryAfterError(`${response.headers.get('retry-after') ?? 5} s`);
      if (!response.ok) throw new HttpError(response.status);
      return (await response.json()) as { cents: number };
    },
  );

  return feed.returns(price);
}
