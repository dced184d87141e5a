import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { Countdown, Waiting } from './peer.ts';
import type { Peer } from './peer.ts';

type Payload = { readonly id: number; readonly value: number };

/** Settings from the performance page of Graphile Worker. A pipeline is a chain of three jobs. */
export async function openGraphileWorker(url: string, backlog: number): Promise<Peer> {
  const countdown = new Countdown(backlog);
  const waiting = new Waiting();
  const logger = new Logger(() => () => undefined);
  const preset: GraphileConfig.Preset = {
    worker: {
      connectionString: url,
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
      logger,
    },
  };
  const utils = await makeWorkerUtils({ preset });
  await utils.migrate();
  await utils.addJobs(Array.from({ length: backlog }, () => ({ identifier: 'trivial', payload: {} })));
  const from = performance.now();
  const runner = await run({
    preset,
    noHandleSignals: true,
    taskList: {
      trivial: () => countdown.ran(),
      extract: async (payload, { addJob }) => {
        await addJob('transform', { ...(payload as Payload), value: 3 });
      },
      transform: async (payload, { addJob }) => {
        const { id, value } = payload as Payload;
        await addJob('load', { id, value: value * 2 });
      },
      load: (payload) => waiting.ended((payload as Payload).id),
    },
  });
  await countdown.done;
  const backlogMs = performance.now() - from;
  return {
    backlogMs,
    pipeline: () => waiting.run((id) => runner.addJob('extract', { id, value: 0 })),
    close: async () => {
      await runner.stop();
      await utils.release();
    },
  };
}
