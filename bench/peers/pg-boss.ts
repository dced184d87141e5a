import { PgBoss } from 'pg-boss';
import { Countdown, Waiting } from './peer.ts';
import type { Peer } from './peer.ts';

type Payload = { readonly id: number; readonly value: number };

/**
 * Wakes its workers by LISTEN and NOTIFY and fetches full batches without a pause, which its reference recommends for
 * low latency. A pipeline is a chain of three jobs in three queues.
 */
export async function openPgBoss(url: string, backlog: number): Promise<Peer> {
  const countdown = new Countdown(backlog);
  const waiting = new Waiting();
  const boss = new PgBoss({ connectionString: url, useListenNotify: true });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  for (const queue of ['trivial', 'extract', 'transform', 'load']) await boss.createQueue(queue, { notify: true });
  const options = { localConcurrency: 4, batchSize: 100, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
  await boss.insert(
    'trivial',
    Array.from({ length: backlog }, () => ({ data: {} })),
  );
  const from = performance.now();
  await boss.work('trivial', options, async (jobs) => {
    for (const _ of jobs) countdown.ran();
    return Promise.resolve();
  });
  await countdown.done;
  const backlogMs = performance.now() - from;
  await boss.work<Payload>('extract', options, async (jobs) => {
    await Promise.all(jobs.map(({ data }) => boss.send('transform', { ...data, value: 3 })));
  });
  await boss.work<Payload>('transform', options, async (jobs) => {
    await Promise.all(jobs.map(({ data }) => boss.send('load', { ...data, value: data.value * 2 })));
  });
  await boss.work<Payload>('load', options, async (jobs) => {
    for (const { data } of jobs) waiting.ended(data.id);
    return Promise.resolve();
  });
  return {
    backlogMs,
    pipeline: () => waiting.run((id) => boss.send('extract', { id, value: 0 })),
    close: () => boss.stop({ graceful: false }),
  };
}
